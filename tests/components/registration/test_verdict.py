"""What a release remembers of its evaluation."""

from __future__ import annotations

from pathlib import Path

from components.registration.verdict import read_metrics
from support.factories.release_factory import make_evaluation


def test_score_floors_travel_whole(tmp_path: Path) -> None:
    floors = {"floors": {"0.8": 0.5, "0.9": None}, "confidence": 0.95, "method": "told", "source": "told"}
    evaluation = make_evaluation(tmp_path / "with", metrics={"score_floors": floors})
    assert read_metrics(evaluation)["score_floors"] == floors
    assert "score_floors" not in read_metrics(make_evaluation(tmp_path / "without"))
