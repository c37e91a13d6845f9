"""Preprocessing against plain averages."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from components.shared.pictures.preprocessing import PreprocessingSpec, preprocess, resize
from support.factories.basics import make_picture


@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    side=st.integers(32, 128),
    fit=st.sampled_from(["pad", "crop", "stretch"]),
    seed=st.integers(0, 99),
)
@settings(max_examples=60)
def test_result_is_a_square_of_levels_that_were_there(height, width, side, fit, seed):
    rng = np.random.default_rng(seed)
    picture = rng.integers(100, 120, (height, width, 3)).astype(np.uint8)
    result = preprocess(picture, PreprocessingSpec(side=side, fit=fit, pad_level=7))
    assert result.shape == (side, side, 3)
    assert result.dtype == np.uint8
    assert result.flags.c_contiguous
    inner = result[(result != 7).any(axis=2)]
    assert len(inner)
    assert inner.min() >= picture.min()
    assert inner.max() <= picture.max()
    np.testing.assert_array_equal(
        result, preprocess(picture.copy(), PreprocessingSpec(side=side, fit=fit, pad_level=7))
    )


def test_shrinking_averages_areas():
    picture = make_picture(5, size=(256, 192))
    blocks = picture.reshape(48, 4, 64, 4, 3).mean(axis=(1, 3))
    assert np.abs(resize(picture, (64, 48)) - blocks).max() <= 0.51
    box = Image.fromarray(picture).resize((100, 77), Image.Resampling.BOX)
    assert np.abs(resize(picture, (100, 77)).astype(int) - np.asarray(box)).mean() < 6  # same filter, other edges


def test_padding_keeps_proportions_and_centre():
    picture = np.zeros((100, 50, 3), np.uint8)
    result = preprocess(picture, PreprocessingSpec(side=64))
    dark = (result == 0).all(axis=2)
    assert dark.all(axis=0).sum() == 32
    assert dark[:, 16:48].all()
    assert (result[:, :16] == 255).all()
    assert (result[:, 48:] == 255).all()


def test_cropping_keeps_the_centre_and_stretching_everything():
    picture = np.zeros((60, 180, 3), np.uint8)
    picture[:, 60:120] = 200
    assert (preprocess(picture, PreprocessingSpec(side=60, fit="crop")) == 200).all()
    stretched = preprocess(picture, PreprocessingSpec(side=60, fit="stretch"))
    assert (stretched[:, 20:40] == 200).all()
    assert (stretched[:, :20] == 0).all()


def test_a_picture_of_the_right_size_is_itself():
    picture = make_picture(1, size=(224, 224))
    np.testing.assert_array_equal(preprocess(picture, PreprocessingSpec()), picture)


def test_a_thin_line_does_not_vanish():
    picture = np.full((4, 1000, 3), 9, np.uint8)
    assert (preprocess(picture, PreprocessingSpec(side=32)) == 9).any()


@pytest.mark.parametrize("values", [{"side": 8}, {"fit": "squeeze"}, {"pad_level": 256}, {"version": 2}, {"colour": 1}])
def test_unknown_or_unbounded_specs_are_refused(values):
    with pytest.raises(ValidationError):
        PreprocessingSpec(**values)


def test_a_share_of_the_centre_and_pillows_filters_as_pretrained_networks_expect_them():
    picture = np.random.default_rng(0).integers(0, 256, (120, 90, 3), np.uint8)
    spec = PreprocessingSpec(side=32, fit="crop", crop=0.8, interpolation="bicubic")
    centre = picture[24:96, 9:81]
    expected = np.asarray(Image.fromarray(centre).resize((32, 32), Image.Resampling.BICUBIC))
    assert np.array_equal(preprocess(picture, spec), expected)


def test_fields_added_later_leave_earlier_specs_and_their_digests_alone():
    assert PreprocessingSpec().model_dump(mode="json") == {"version": 1, "side": 224, "fit": "pad", "pad_level": 255}
    added = PreprocessingSpec(crop=0.9, interpolation="bilinear")
    assert PreprocessingSpec.model_validate(added.model_dump(mode="json")) == added
