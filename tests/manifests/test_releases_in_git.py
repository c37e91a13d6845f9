"""Knative with releases in git: overlays applied one after the other, and what KServe's rule for traffic makes of each."""

from __future__ import annotations

from typing import Any

from support.inputs.rendered_overlays import documents, one
from support.servers.field_ownership import FieldOwnership

Json = dict[str, Any]
CHAMPION, OTHER = "r-0000000000000000", "r-1111111111111111"


class Traffic:
    """Revisions and traffic as KServe makes them of one InferenceService, with pods that take their time.

    With a canary the newest ready revision has its share, and the last one that had everything has the rest; without, the
    newest ready one has everything. `seen` is the share of each release at every moment.

    Source: createKnativeService in KServe's ksvc_reconciler.go and PropagateStatus in inference_service_status.go, version 0.20.
    """

    def __init__(self) -> None:
        self.fields = FieldOwnership()
        self.revisions: list[Json] = []
        self.ready = self.whole = -1
        self.seen: list[dict[str, int]] = []

    def apply(self, overlay: str, *, until_ready: bool = True) -> None:
        self.fields.apply([one(documents(overlay), "InferenceService")])
        predictor = self.fields.live["inferenceservice/visual-search"]["spec"]["predictor"]
        template = {"uri": predictor["model"]["storageUri"], "containers": predictor["containers"]}
        if not self.revisions or self.revisions[-1] != template:
            self.revisions.append(template)
        self._route(predictor.get("canaryTrafficPercent"))
        if until_ready:
            self.ready = len(self.revisions) - 1
            self._route(predictor.get("canaryTrafficPercent"))

    def _route(self, canary: int | None) -> None:
        if self.ready < 0:
            return
        if canary is None or self.whole < 0:
            self.whole, shares = self.ready, {self.ready: 100}
        else:
            shares = {self.whole: 100 - canary}
            shares[self.ready] = shares.get(self.ready, 0) + canary
        found: dict[str, int] = {}
        for number, share in shares.items():
            release = self.revisions[number]["uri"].rstrip("/").rpartition("/")[2]
            found[release] = found.get(release, 0) + share
        self.seen.append({release: share for release, share in found.items() if share})


def test_canary_by_file_takes_its_share_from_the_champion() -> None:
    traffic = Traffic()
    traffic.apply("knative-git")
    traffic.apply("knative-canary")
    assert traffic.seen[-1] == {CHAMPION: 95, OTHER: 5}


def test_way_back_by_file_gives_the_other_release_nothing_at_any_moment() -> None:
    traffic = Traffic()
    traffic.apply("knative-git")
    traffic.apply("knative-canary")
    moment = len(traffic.seen)
    traffic.apply("knative-withdrawn", until_ready=False)
    traffic.apply("knative-withdrawn")
    traffic.apply("knative-git")
    assert traffic.seen[moment:] == [{CHAMPION: 100}] * len(traffic.seen[moment:])
    traffic.apply("knative-canary")
    assert traffic.seen[-1] == {CHAMPION: 95, OTHER: 5}


def test_leaving_the_canary_out_at_once_would_give_the_other_release_everything() -> None:
    traffic = Traffic()
    traffic.apply("knative-git")
    traffic.apply("knative-canary")
    traffic.apply("knative-git", until_ready=False)
    assert traffic.seen[-1] == {OTHER: 100}
