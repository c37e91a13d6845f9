"""The click log: what the truth says holds in the events, and everything an analysis must cope with is there."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from components.rendering.clicks import SimulatedClicks, attractiveness, propensities
from components.rendering.parameters import ClickBehaviour
from components.shared.files.tables import EVENTS, read_table, write_table

QUERIES, CANDIDATES, IMAGES = 60, 30, 300


def make_candidates(seed: int = 0) -> tuple[list[str], list[str], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    images = [f"img-{row:04d}" for row in range(IMAGES)]
    rows = np.stack([rng.permutation(np.arange(QUERIES, IMAGES))[:CANDIDATES] for _ in range(QUERIES)])
    grades = np.tile(np.repeat([3, 2, 1, 0], [4, 6, 8, 12]), (QUERIES, 1))
    return images[:QUERIES], images, rows, grades


def make_log(searches: int = 8000, seed: int = 1, **behaviour: object) -> tuple[pa.Table, dict]:
    return SimulatedClicks(
        *make_candidates(), searches=searches, seed=seed, behaviour=ClickBehaviour(**behaviour)
    ).whole()


def by_search(events: pa.Table) -> tuple[np.ndarray, ...]:
    """Return user, grade (−1: the query itself), position and clicked of every impression."""
    queries, _, rows, grades = make_candidates()
    truth = {
        (queries[q], f"img-{image:04d}"): int(g)
        for q in range(QUERIES)
        for image, g in zip(rows[q], grades[q], strict=True)
    }
    clicked = set()
    impressions = []
    for event in events.select(
        ["query_id", "user_id", "query_image_id", "returned_image_id", "position", "type"]
    ).to_pylist():
        if event["type"] == "click":
            clicked.add((event["query_id"], event["position"]))
        elif event["type"] == "impression":
            impressions.append(event)
    user = np.array([e["user_id"] for e in impressions])
    grade = np.array([truth.get((e["query_image_id"], e["returned_image_id"]), -1) for e in impressions])
    position = np.array([e["position"] for e in impressions])
    return user, grade, position, np.array([(e["query_id"], e["position"]) in clicked for e in impressions])


def test_a_log_is_a_table_of_events_in_order_of_time(tmp_path):
    events, truth = make_log(2000)
    write_table(tmp_path / "events.parquet", events, EVENTS)
    read = read_table(tmp_path / "events.parquet", EVENTS)
    assert read.num_rows == events.num_rows == sum(truth["counts"][kind] for kind in ("impression", "click", "dwell"))
    at = events["at"].cast(pa.int64()).to_numpy()
    assert (np.diff(at) >= 0).all()
    assert truth["counts"]["impression"] == 2000 * 10
    assert set(pc.unique(events["position"]).to_pylist()) == set(range(1, 11))


def test_a_click_follows_its_impression_and_a_dwell_its_click():
    events, _ = make_log(1500)
    first: dict[tuple[str, int, str], object] = {}
    for event in events.to_pylist():
        first[event["query_id"], event["position"], event["type"]] = event["at"]
    for (query, position, kind), at in first.items():
        if kind == "click":
            assert first[query, position, "impression"] < at
        if kind == "dwell":
            assert first[query, position, "click"] < at


def test_equal_seeds_give_equal_logs_and_others_other_logs():
    assert make_log(500)[0].equals(make_log(500)[0])
    assert not make_log(500)[0].equals(make_log(500, seed=2)[0])


def test_batches_join_to_the_whole_log(monkeypatch):
    monkeypatch.setattr("components.rendering.clicks.BATCH_SEARCHES", 300)
    log = SimulatedClicks(*make_candidates(), searches=1000, seed=1)
    batches = list(log.batches())
    whole, truth = SimulatedClicks(*make_candidates(), searches=1000, seed=1).whole()
    assert len(batches) == 4
    assert pa.concat_tables(batches).equals(whole)
    assert log.truth() == truth
    assert len(set(whole["event_id"].to_pylist())) == whole.num_rows
    at = whole["at"].cast(pa.int64()).to_numpy()
    assert (np.diff(at) >= 0).all()


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_genuine_users_click_as_the_truth_says(eta):
    """Chi-square over all positions and grades: variance-weighted distance of observed and expected clicks."""
    behaviour = ClickBehaviour(eta=eta)
    events, truth = make_log(12_000, eta=eta)
    user, grade, position, clicked = by_search(events)
    genuine = ~np.isin(user, truth["bots"]) & (grade >= 0)
    assert truth["propensities"] == pytest.approx([p**-eta for p in range(1, 11)])
    distance, cells = 0.0, 0
    for p in range(1, 11):
        for g in range(4):
            cell = genuine & (position == p) & (grade == g)
            rate = propensities(behaviour)[p - 1] * attractiveness(behaviour)[g]
            n = int(cell.sum())
            if n * rate > 5:
                distance += (clicked[cell].sum() - n * rate) ** 2 / (n * rate * (1 - rate))
                cells += 1
    assert cells >= 30
    assert abs(distance - cells) < 4.5 * np.sqrt(2 * cells)


def test_the_ranker_is_mediocre_and_its_arms_differ():
    events, _ = make_log(4000)
    _, grade, position, _ = by_search(events)
    mean = [grade[(position == p) & (grade >= 0)].mean() for p in range(1, 11)]
    assert 1.6 < mean[0] < 2.8
    assert mean[0] > mean[4] + 0.3 > mean[9] + 0.5
    first = events.filter(pc.and_(pc.equal(events["type"], "impression"), pc.equal(events["position"], 1)))
    orders = []
    for arm in ("champion", "challenger"):
        queries, images = (
            first.filter(pc.equal(first["arm"], arm))[c].to_pylist() for c in ("query_image_id", "returned_image_id")
        )
        orders.append(set(zip(queries, images, strict=True)))
    assert len(orders[0] & orders[1]) < 0.8 * len(orders[0] | orders[1])


def test_one_pair_is_seen_at_several_positions():
    """Without that, nobody could tell a good place from a good result."""
    events, _ = make_log(4000)
    shown = events.filter(pc.and_(pc.equal(events["type"], "impression"), pc.is_valid(events["query_image_id"])))
    pairs = shown.group_by(["query_image_id", "returned_image_id"]).aggregate(
        [("position", "count_distinct"), ([], "count_all")]
    )
    often = pairs.filter(pc.greater_equal(pairs["count_all"], 20))
    assert often.num_rows > 100
    assert pc.mean(often["position_count_distinct"]).as_py() > 4


def test_ratios_of_clicks_on_the_same_pairs_recover_the_propensities():
    """Adjacent positions harvested from the log (Agarwal et al. 2019): the ratio of clicks needs no grades."""
    events, truth = make_log(30_000)
    queries = np.array(events["query_image_id"].fill_null("").to_pylist())
    images = np.array(events["returned_image_id"].to_pylist())
    ok = (queries != "") & (queries != images) & ~np.isin(np.array(events["user_id"].to_pylist()), truth["bots"])
    pair = np.unique(np.char.add(queries[ok], images[ok]), return_inverse=True)[1]
    position, kind = events["position"].to_numpy()[ok], np.array(events["type"].to_pylist())[ok]
    shown, clicks = np.zeros((2, pair.max() + 1, 11))
    np.add.at(shown, (pair[kind == "impression"], position[kind == "impression"]), 1)
    np.add.at(clicks, (pair[kind == "click"], position[kind == "click"]), 1)
    estimate = [1.0]
    for p in range(1, 10):
        weight = np.minimum(shown[:, p], shown[:, p + 1])
        with np.errstate(invalid="ignore", divide="ignore"):
            here, next_ = (np.nansum(weight * clicks[:, k] / shown[:, k]) for k in (p, p + 1))
        estimate.append(estimate[-1] * next_ / here)
    assert estimate == pytest.approx(truth["propensities"], rel=0.2)


def test_bots_click_far_more_and_faster_than_people_and_their_ids_do_not_tell():
    events, truth = make_log(8000)
    assert truth["bots"]
    is_bot = pc.is_in(events["user_id"], value_set=pa.array(truth["bots"]))
    bots, people = events.filter(is_bot), events.filter(pc.invert(is_bot))

    def rate(table: pa.Table) -> float:
        return pc.sum(pc.equal(table["type"], "click")).as_py() / pc.sum(pc.equal(table["type"], "impression")).as_py()

    assert rate(bots) > 2 * rate(people)
    assert pc.max(bots["dwell_ms"]).as_py() < 200 < pc.approximate_median(people["dwell_ms"]).as_py()
    one = events.filter(pc.equal(events["user_id"], truth["bots"][0]))
    searches = one.filter(pc.equal(one["position"], 1)).filter(
        pc.equal(one.filter(pc.equal(one["position"], 1))["type"], "impression")
    )
    gaps = np.diff(np.sort(searches["at"].cast(pa.int64()).to_numpy()))
    assert np.median(gaps) < 1_000_000
    numbers = [int(user[2:]) for user in truth["bots"]]
    everybody = pc.count_distinct(events["user_id"]).as_py()
    assert min(numbers) < 0.9 * everybody  # not simply the last ones


def test_people_stay_longer_with_what_is_relevant():
    events, truth = make_log(8000)
    queries, _, rows, grades = make_candidates()
    grade_of = {
        (queries[q], f"img-{r:04d}"): int(g) for q in range(QUERIES) for r, g in zip(rows[q], grades[q], strict=True)
    }
    dwell: dict[int, list[int]] = {0: [], 1: [], 2: [], 3: []}
    for event in events.filter(pc.equal(events["type"], "dwell")).to_pylist():
        grade = grade_of.get((event["query_image_id"], event["returned_image_id"]))
        if grade is not None and event["user_id"] not in truth["bots"]:
            dwell[grade].append(event["dwell_ms"])
    medians = [np.median(dwell[grade]) for grade in range(4)]
    assert medians == sorted(medians)
    assert medians[3] > 5 * medians[0]


def test_users_are_heavy_tailed_and_arms_are_by_user():
    events, truth = make_log(8000)
    shown = events.filter(pc.equal(events["type"], "impression"))
    per_user = np.sort(shown.group_by("user_id").aggregate([([], "count_all")])["count_all"].to_numpy())[::-1]
    assert per_user[: len(per_user) // 10].sum() > 0.25 * per_user.sum()
    arms = events.group_by("user_id").aggregate([("arm", "count_distinct")])
    assert pc.max(arms["arm_count_distinct"]).as_py() == 1
    releases = events.group_by(["arm", "release_id"]).aggregate([([], "count_all")])
    assert dict(zip(releases["arm"].to_pylist(), releases["release_id"].to_pylist(), strict=True)) == truth["arms"]


def test_the_query_itself_is_shown_and_clicked_and_uploads_have_no_query():
    events, truth = make_log(4000)
    both = events.filter(pc.is_valid(events["query_image_id"]))
    itself = both.filter(pc.equal(both["query_image_id"], both["returned_image_id"]))
    assert pc.sum(pc.equal(itself["type"], "click")).as_py() == truth["counts"]["self_clicks"] > 100
    uploads = events.filter(pc.is_null(events["query_image_id"]))
    assert 0.01 < uploads.num_rows / events.num_rows < 0.05


def test_without_bots_and_searches_there_are_none():
    assert make_log(500, bot_share=0.0)[1]["bots"] == []
    events, truth = make_log(0)
    assert events.num_rows == 0
    assert truth["counts"]["searches"] == 0


def test_arguments_that_do_not_fit_are_refused():
    queries, images, rows, grades = make_candidates()
    with pytest.raises(ValueError, match="grades"):
        SimulatedClicks(queries, images, rows, grades[:, 1:], searches=10, seed=0)
    with pytest.raises(ValueError, match="at least 10 candidates"):
        SimulatedClicks(queries, images, rows[:, :5], grades[:, :5], searches=10, seed=0)
    with pytest.raises(ValueError, match="probabilities"):
        ClickBehaviour(appeal=(0.0, 0.1, 0.2, 1.2))
