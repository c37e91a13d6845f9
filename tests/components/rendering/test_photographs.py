"""Pictures: geometry against a sphere that can be computed by hand, every form drawn, light where it should be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from components.rendering.categories import CATEGORIES
from components.rendering.designs import design_items
from components.rendering.light import Finish, Lighting, shade
from components.rendering.meshes import Camera, mesh_of, project_mesh
from components.rendering.photographs import build_mesh, take_photograph
from components.rendering.surfaces import cushion, lathe, smooth, tube
from components.rendering.views import plan_view

FORMS = [(category, form) for category in CATEGORIES for form in category.forms]
SPHERE = cushion(1, 1, 1, round_=1.0, rows=40, segments=60)


def make_camera(side: int = 200) -> Camera:
    return Camera(elevation=0, roll=0, distance=1000, zoom=0.8, shift=(0, 0), middle=0.0, side=side)


def make_sphere() -> tuple:
    mesh = mesh_of([SPHERE])
    radius = float(np.ptp(mesh.vertices[:, 2])) / 2
    return mesh, radius, replace(make_camera(), middle=radius)


def test_a_sphere_is_seen_as_a_disc_with_the_normals_of_a_sphere():
    mesh, radius, camera = make_sphere()
    sight = project_mesh(mesh, np.eye(3), camera)
    pixels = radius * camera.zoom * camera.side
    assert len(sight.places) == pytest.approx(np.pi * pixels**2, rel=0.03)
    rows, columns = np.divmod(sight.places, camera.side)
    x, z = (columns - camera.side / 2) / pixels, (camera.side / 2 - rows) / pixels
    inside = x**2 + z**2 < 0.9
    expected = np.stack([x, -np.sqrt(np.clip(1 - x**2 - z**2, 0, 1)), z])[:, inside]
    cosine = np.einsum("ip,ip->p", sight.normals[:, inside], expected)
    assert cosine.min() > 0.99
    assert np.abs(sight.heights - (z + 1) * radius)[inside].max() < 0.03


def test_what_is_nearer_hides_what_is_behind():
    near, far = replace(SPHERE, slot=1).scaled(0.3, 0.3, 0.3).moved(y=-2), replace(SPHERE, slot=2)
    mesh = mesh_of([near, far])
    camera = replace(make_camera(), middle=float(mesh.vertices[:, 2].max() / 2))
    sight = project_mesh(mesh, np.eye(3), camera)
    rows, columns = np.divmod(sight.places, camera.side)
    middle = (np.abs(rows - 100) < 5) & (np.abs(columns - 100) < 5)
    assert set(sight.slots[middle]) == {1}
    assert set(project_mesh(mesh, np.diag([-1.0, -1.0, 1.0]), camera).slots) == {
        2
    }  # turned round, the small one is hidden


def test_the_side_towards_the_lamp_is_brighter():
    mesh, _, camera = make_sphere()
    sight = project_mesh(mesh, np.eye(3), camera)
    finish, grey = (Finish(gloss=0.0),), np.full((1, 3), 0.5)
    texture = np.full((8, 8, 3), 0.5, np.float32)
    columns = sight.places % camera.side
    for azimuth, sign in ((60, 1), (-60, -1)):
        light = Lighting(azimuth, 30, 0.8, 0.2, 0.0, 0.5)
        colours = shade(sight, texture, grey, finish, light, camera.toward)
        right, left = colours[:, columns > 110].mean(), colours[:, columns < 90].mean()
        assert sign * (right - left) > 0.1
        assert np.isfinite(colours).all()
        assert (colours >= 0).all()


def test_warm_light_is_redder_than_cold_light():
    mesh, _, camera = make_sphere()
    sight, texture = project_mesh(mesh, np.eye(3), camera), np.full((8, 8, 3), 0.5, np.float32)
    warm, cold = (
        shade(sight, texture, np.full((1, 3), 0.5), (Finish(),), Lighting(30, 40, 0.8, 0.2, kelvin, 0.5), camera.toward)
        for kelvin in (-0.8, 0.8)
    )
    assert (warm[0] / warm[2]).mean() > 1.3 * (cold[0] / cold[2]).mean()


@pytest.mark.parametrize(("category", "form"), FORMS, ids=[f"{c.name}-{f}" for c, f in FORMS])
def test_every_form_makes_a_whole_product_at_the_bounds_of_its_shape(category, form):
    rng = np.random.default_rng(1)
    for shape in (np.zeros(8), np.ones(8) * 0.999, rng.random(8), rng.random(8)):
        mesh = mesh_of(category.build(form, tuple(shape)))
        assert np.isfinite(mesh.vertices).all()
        assert np.linalg.norm(mesh.normals, axis=1) == pytest.approx(1, abs=1e-3)
        assert mesh.vertices[:, 2].min() == pytest.approx(0, abs=1e-6)
        assert len(mesh.faces) < 6000
        assert 0 in mesh.slots
    assert not np.allclose(
        mesh.vertices.max(0), mesh_of(category.build(form, tuple(rng.random(8)))).vertices.max(0), atol=1e-4
    )


def test_photographs_show_the_product_and_differ_from_view_to_view():
    items = design_items(12, seed=2)
    for item in items:
        mesh = build_mesh(item)
        pictures = [take_photograph(item, mesh, plan_view(item, view, seed=2, side=96)) for view in range(3)]
        assert pictures[0].shape == (96, 96, 3)
        for picture in pictures:
            assert picture.dtype == np.uint8
            assert max(picture.shape[:2]) == 96
            assert picture.std() > 8
        assert not np.array_equal(pictures[0][:60, :60], pictures[1][:60, :60])
        assert np.array_equal(pictures[1], take_photograph(item, mesh, plan_view(item, 1, seed=2, side=96)))


def test_paths_are_divided_evenly_and_keep_their_ends():
    path = np.array([(0.0, 0.0), (3.0, 0.0), (3.0, 1.0)])
    straight = smooth(np.array([(0.0, 0.0), (3.0, 0.0)]), 7)
    assert np.linalg.norm(np.diff(straight, axis=0), axis=1) == pytest.approx(0.5)
    curve = smooth(path, 20)
    assert curve[[0, -1]] == pytest.approx(path[[0, -1]])
    assert np.abs(curve - np.array([3, 0])).sum(1).min() < 0.15  # passes through the knot


def test_closed_surfaces_look_outwards():
    ring = np.linspace(0, 1, 9)
    for surface in (
        lathe(np.stack([np.full(9, 0.5), ring], 1)),
        tube(np.stack([ring, 0 * ring, 0 * ring], 1), 0.1, up=(0, 0, 1)),
        SPHERE,
    ):
        mesh = mesh_of([surface])
        middle = mesh.vertices.mean(0)
        outward = np.einsum("vi,vi->v", mesh.normals, mesh.vertices - middle)
        assert (outward > -1e-3).mean() > 0.95
