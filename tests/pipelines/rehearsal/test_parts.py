"""The parts of the rehearsal, each by itself."""

from __future__ import annotations

import collections
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import numpy as np
import pytest

from components.shared.files.tables import ITEMS, read_table
from components.shared.release.golden import embed_pictures
from components.shared.release.manifest import open_release, read_manifest
from pipelines.rehearsal.oracle import Oracle
from pipelines.rehearsal.router import Router
from pipelines.rehearsal.shoppers import RehearsalShoppers, ShopperQuery, clicks, read_queries
from pipelines.rehearsal.variant import make_variant
from support.servers.serving_processes import make_local_release, pictures_of

PREDICT = "/v1/models/visual-search:predict"


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return make_local_release(tmp_path_factory.mktemp("release"), items=8, views=3, seed=4)


@pytest.fixture(scope="module")
def variant(release, tmp_path_factory):
    folder = tmp_path_factory.mktemp("variant") / "made"
    make_variant(release, folder, mixed_up=0.5)
    return folder


def answer_of(folder, picture, vectors_of=None):
    """Return what a transformer of a release would answer, or with the vectors of another release: a mixed answer."""
    loaded, other = open_release(folder), open_release(vectors_of or folder)
    vector = embed_pictures([picture], loaded.encoder, loaded.manifest.encoder.preprocessing)
    allowed = np.array([r["is_public"] and r["is_appropriate"] for r in other.items.to_pylist()])
    own = np.array([row["image_id"] for row in other.items.to_pylist()])
    allowed &= np.array([picture != pictures_of(folder).get(image_id) for image_id in own])
    found = other.index.search(vector, 5, allowed=allowed)
    results = [
        {"image_id": own[row], "score": float(score)} for row, score in zip(found.rows[0], found.scores[0], strict=True)
    ]
    ids = {"release_id": loaded.manifest.release_id, "space_id": loaded.manifest.space_id, "arm": "champion"}
    return {**ids, "results": results}


def test_a_variant_is_a_whole_release_of_its_own_space(release, variant):
    one, other = open_release(release).manifest, open_release(variant).manifest
    assert one.space_id != other.space_id
    before, after = (read_table(folder / "items.parquet", ITEMS).to_pylist() for folder in (release, variant))
    moved = [a["image_id"] for b, a in zip(before, after, strict=True) if a["image_id"] != b["image_id"]]
    assert 0 < len(moved) <= len(before) / 2
    assert {r["image_id"]: r["uri"] for r in before} == {r["image_id"]: r["uri"] for r in after}
    hidden = [[r["row"] for r in rows if not (r["is_public"] and r["is_appropriate"])] for rows in (before, after)]
    assert hidden[0] == hidden[1]


def test_the_oracle_finds_mixed_answers(release, variant):
    names = [read_manifest(folder).release_id for folder in (release, variant)]
    oracle = Oracle(dict(zip(names, (release, variant), strict=True)))
    items = {row["image_id"]: row["item_id"] for row in open_release(release).items.to_pylist()}
    good = pictures = 0
    for picture in list(pictures_of(release).values())[:8]:
        pictures += 1
        right = answer_of(release, picture)
        assert oracle.belongs_together(right, right["release_id"], "champion") is None
        assert oracle.check(picture, right) is None
        assert oracle.check(picture, answer_of(variant, picture)) is None
        good += oracle.check(picture, answer_of(release, picture, vectors_of=variant)) is None
        assert oracle.check(picture, right | {"results": right["results"][-1:]}) is not None
        first = items[right["results"][0]["image_id"]]  # drafted by the other arm: then the next item leads
        own = [result for result in right["results"] if items[result["image_id"]] != first]
        assert oracle.check(picture, right | {"results": own}, {first}) is None
    assert good <= pictures // 4  # those whose results happen to be of the half that was not mixed up
    right = answer_of(release, picture)
    for wrong in ({"space_id": "s-0"}, {"release_id": names[1]}, {"release_id": "r-0"}):
        assert oracle.belongs_together(right | wrong, right["release_id"], "champion")
    assert oracle.belongs_together(right, names[1], "champion")
    assert oracle.belongs_together(right, right["release_id"], "challenger")


class Arm(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        status = int(self.headers.get("X-Status", "200"))
        data = json.dumps({"arm": self.arm, "predictions": [{"results": self.results}]}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def router():
    servers = []
    for arm, results in (("champion", [1]), ("challenger", [])):
        handler = type("Handler", (Arm,), {"arm": arm, "results": results})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        servers.append(server)
    addresses = {
        arm: f"http://127.0.0.1:{s.server_port}" for arm, s in zip(("champion", "challenger"), servers, strict=True)
    }
    addresses["gone"] = "http://127.0.0.1:9"
    router = Router(addresses, window_seconds=0.0)
    router.start()
    yield router
    router.stop()
    for server in servers:
        server.shutdown()
        server.server_close()


def ask(router, user, **headers):
    with httpx.Client(trust_env=False) as http:
        return http.post(router.url + PREDICT, content=b"x", headers={"X-Visual-Search-User": user, **headers})


def test_users_are_split_by_weight_and_stay(router):
    router.weights = {"champion": 75, "challenger": 25}
    arms = {f"u{n}": router.arm_of(f"u{n}", None) for n in range(4_000)}
    assert abs(collections.Counter(arms.values())["challenger"] / 4_000 - 0.25) < 0.03
    router.weights = {"champion": 50, "challenger": 50}  # a growing share moves nobody back
    assert all(router.arm_of(user, None) == "challenger" for user, arm in arms.items() if arm == "challenger")
    assert {ask(router, "u1").json()["arm"] for _ in range(5)} == {router.arm_of("u1", None)}


def test_pins_lead_where_the_route_says(router):
    router.pins = {"champion": "champion", "challenger": "challenger"}
    assert ask(router, "u", **{"X-Visual-Search-Arm": "challenger"}).json()["arm"] == "challenger"
    router.pins = {"champion": "champion", "challenger": "champion"}
    assert ask(router, "u", **{"X-Visual-Search-Arm": "challenger"}).json()["arm"] == "champion"


def test_it_counts_what_it_sees_of_each_arm(router):
    router.pins = {name: name for name in ("champion", "challenger", "gone")}
    for arm, status in (("champion", "200"), ("champion", "500"), ("challenger", "200"), ("gone", "200")):
        ask(router, "u", **{"X-Visual-Search-Arm": arm, "X-Status": status})
    sums = collections.Counter()
    for window in router.finished_windows():
        for name in ("requests", "errors", "zero_results"):
            sums[window.arm, name] += getattr(window, name)
    assert (sums["champion", "requests"], sums["champion", "errors"], sums["champion", "zero_results"]) == (2, 1, 0)
    assert (sums["challenger", "requests"], sums["challenger", "zero_results"]) == (1, 1)
    assert (sums["gone", "requests"], sums["gone", "errors"]) == (1, 1)


def test_in_lists_of_both_a_broken_challenger_is_counted_and_not_seen(router):
    router._addresses["challenger"] = router._addresses["gone"]
    router.is_interleaving = True
    found = ask(router, "u")
    assert (found.status_code, found.json()["arm"]) == (200, "champion")
    assert {(w.arm, w.requests, w.errors) for w in router.finished_windows()} == {
        ("champion", 1, 0),
        ("challenger", 1, 1),
    }
    assert router.interleaved == []


def test_shoppers_are_the_same_for_the_same_seed_and_click_what_they_want(release):
    queries = read_queries(release / "items.parquet", lambda uri: uri.encode(), 10)
    assert len({query.image_id for query in queries}) == 10
    visits = [[RehearsalShoppers(queries, 7).visit() for _ in range(1)] for _ in range(2)]
    assert visits[0][0][1] == visits[1][0][1]
    query = ShopperQuery("a", "item", "cups", b"")
    results = [
        {"item_id": "item", "category": "cups"},
        {"item_id": "x", "category": "cups"},
        {"item_id": "y", "category": "no"},
    ]
    counts = np.zeros(3)
    for seed in range(2_000):
        counts[clicks(query, results, np.random.default_rng(seed))] += 1
    assert np.allclose(counts / 2_000, [0.6, 0.08 * 2**-0.5, 0.01 * 3**-0.5], atol=0.04)
    assert counts[0] > counts[1] > counts[2]
