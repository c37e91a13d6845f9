"""`visual-search rollout rehearse`: real server processes, the registry and the statistics, joined into a rehearsal."""

from __future__ import annotations

import argparse
import json
import tempfile
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from components.shared.errors import BadImageError, DataError, ParameterError, SourceError
from components.shared.files.layout import EVENTS_FILE, ITEMS_FILE, REPORT_FILE
from components.shared.files.storage import read_bytes
from components.shared.release.manifest import read_manifest
from pipelines.commands.serving_processes import Ports, ServingProcesses
from pipelines.rehearsal.report import RehearsalDecision, RehearsalReport, as_text
from pipelines.rehearsal.verdicts import write_newcomers
from pipelines.settings import Settings

if TYPE_CHECKING:
    from monitoring.experiments.interleaving import Preference
    from monitoring.experiments.parameters import ExperimentParameters
    from pipelines.rehearsal.local import LocalCluster, Pair
    from pipelines.rehearsal.traffic import RehearsalPlan, Tally

_MIXED_UP = 0.5  # share of a worse release's vectors that belong to other images
_MOST_QUERY_PICTURES = 400
_SHOWN = 4  # queries on the report
_LARGEST_PICTURE = 20 << 20
_PARAMETERS = {
    "minimum_users": 60,
    "minimum_clicks": 20,
    "minimum_windows": 6,
    "minimum_requests": 30,
    "minimum_lift": 0.2,
    "look_hours": 2 / 3600,
    "cuped": False,
}


def rehearse(options: argparse.Namespace, settings: Settings) -> int:
    """Rehearse and print what came of it; 1 if the wrong release won or an answer was wrong."""
    from pipelines.rehearsal.traffic import RehearsalPlan
    from serving.rollout.ladder import read_ladder

    if options.queries < 1 or options.interleave < 0:
        raise ParameterError("a rehearsal needs at least one query: --queries from 1, --interleave from 0")
    plan = RehearsalPlan(queries=options.queries, ladder=read_ladder(options.ladder), interleaved=options.interleave)
    champion, challenger = _releases(options, settings)
    folder = settings.home.absolute() / "rehearsals" / f"{options.scenario}-{uuid.uuid4().hex[:8]}"
    output = Path(options.output) if options.output else folder / REPORT_FILE
    rehearsal = Rehearsal(folder, settings.registry_uri, options.scenario, champion, challenger)
    report = rehearsal.run(plan, page=output)
    print("\n" + as_text(report))
    return 0 if report.passed else 1


class Rehearsal:
    """One rehearsal, in a registered model of its own, so that nothing that serves users is touched.

    Args:
        folder: for everything that it writes.
        tracking_uri: MLflow.
        scenario: better, worse, broken-space, broken-crash or slow.
        champion: directory of a release; None: made from `challenger`, worse than it.
        challenger: directory of the challenger; None: made from `champion`, as the scenario says.
        settings: settings of the server processes, without the prefix.
        parameters: parameters of the experiment.

    Raises:
        ParameterError: neither release is given.
    """

    def __init__(
        self,
        folder: Path,
        tracking_uri: str,
        scenario: str,
        champion: Path | None,
        challenger: Path | None,
        *,
        settings: Mapping[str, str] | None = None,
        parameters: ExperimentParameters | None = None,
    ) -> None:
        from components.registration.registry import Registry
        from monitoring.experiments.console import read_parameters

        self._folder, self._scenario = folder, scenario
        folder.mkdir(parents=True, exist_ok=True)
        self.champion, self.challenger = self._pair_of_releases(champion, challenger)
        self.registry = Registry(tracking_uri, f"visual-search-rehearsal-{folder.name}")
        self._parameters = parameters or read_parameters(None, dict(_PARAMETERS))
        self.events = f"sqlite:///{folder / 'events.db'}"
        self._service = folder / "service.parquet"
        self._preference: Preference | None = None
        from serving.events.keys import read_keys

        read_keys(folder / "event-keys", create=True)
        self._settings = {
            "events_url": self.events,
            "events_key_file": str(folder / "event-keys"),
            "poll_seconds": "0.2",
            "encoder_threads": "1",
            "search_threads": "1",
            "decode_workers": "1",
            "events_per_user": "100000",
            **(settings or {}),
        }

    def run(
        self, plan: RehearsalPlan, *, page: Path | None = None, say: Callable[[str], None] = print
    ) -> RehearsalReport:
        """Rehearse.

        Args:
            plan: amount of traffic.
            page: output path of the report of the A/B test.
            say: prints progress.
        """
        from pipelines.rehearsal.course import Course
        from pipelines.rehearsal.local import LocalCluster
        from pipelines.rehearsal.oracle import Oracle
        from pipelines.rehearsal.shoppers import RehearsalShoppers, read_queries
        from pipelines.rehearsal.traffic import Traffic
        from serving.rollout import decisions
        from serving.rollout.reconciler import Reconciler
        from serving.rollout.store import ReleaseStore

        versions = [self.registry.register(path) for path in (self.champion, self.challenger)]
        if self.registry.get("champion").version != versions[0].version:
            self.registry.promote(versions[0].version, "champion", who="rehearsal", why="it begins")
        store = ReleaseStore(str(self._folder / "store"))
        cluster = LocalCluster(self._folder, _make_pair, self._settings)
        reconciler = Reconciler(self.registry, store, cluster, self._folder / "fetched")
        queries = read_queries(self.champion / ITEMS_FILE, _read, _MOST_QUERY_PICTURES, plan.seed)
        if not queries:
            raise DataError(
                "no item of the champion has two pictures that may be shown; use a release with several public pictures per item"
            )
        for number, query in enumerate(queries[:_SHOWN]):
            (self._folder / f"query-{number}").write_bytes(query.picture)
        oracle = Oracle({read_manifest(path).release_id: path for path in (self.champion, self.challenger)})
        cluster.start()
        traffic = Traffic(cluster.router, RehearsalShoppers(queries, plan.seed), oracle, plan)
        course = Course(
            plan=plan,
            registry=self.registry,
            cluster=cluster,
            reconciler=reconciler,
            traffic=traffic,
            events=self.events,
            service=self._service,
            parameters=self._parameters,
            disturb=self._disturbance(cluster),
            say=say,
        )
        try:
            course.follow()
            share, why = 0 if plan.interleaved else plan.ladder[0], f"scenario {self._scenario}"
            decisions.start(self.registry, versions[1].version, share=share, who="rehearsal", why=why)
            course.follow()
            say(f"{versions[1].release_id} against {versions[0].release_id}, scenario {self._scenario}")
            made = [course.interleave()] if plan.interleaved else []
            if not made or made[0].action.kind == "step":
                made += course.split()
        finally:
            traffic.close()
            cluster.stop()
        self._preference = course.preference
        return self._report(traffic.tally, made, page)

    def _pair_of_releases(self, champion: Path | None, challenger: Path | None) -> tuple[Path, Path]:
        from pipelines.rehearsal.variant import make_variant

        if champion is not None and challenger is not None:
            return champion, challenger
        given = champion or challenger
        if given is None:
            raise ParameterError("a rehearsal needs a release; register one first, for example by `visual-search demo`")
        made = self._folder / "variant"
        if self._scenario == "better":  # the release itself challenges a worse one
            make_variant(given, made, mixed_up=_MIXED_UP)
            return made, given
        make_variant(given, made, mixed_up=_MIXED_UP if self._scenario == "worse" else 0.0)
        return given, made

    def _disturbance(self, cluster: LocalCluster) -> Callable[[], None] | None:
        return {
            "broken-space": lambda: cluster.exchange_encoder("challenger", self.champion),
            "broken-crash": lambda: cluster.crash("challenger"),
            "slow": lambda: cluster.slow_down("challenger"),
        }.get(self._scenario)

    def _report(self, tally: Tally, made: list[RehearsalDecision], page: Path | None) -> RehearsalReport:
        from serving.rollout.state import read_rollout

        rollout = read_rollout(self.registry)
        wins = self._scenario == "better"
        return RehearsalReport(
            scenario=self._scenario,
            outcome="none" if rollout is None else rollout.state,
            champion=self.registry.get("champion").release_id,
            expected=read_manifest(self.challenger if wins else self.champion).release_id,
            tally=tally,
            decisions=made,
            page=None if page is None else self._write_page(page, made),
            preference=self._preference,
        )

    def _write_page(self, page: Path, made: list[RehearsalDecision]) -> Path | None:
        """Write the A/B report of the last share; None where an arm has too little."""
        from monitoring.experiments.console import report

        if not made:
            return None
        share = made[-1].share
        start = max(
            datetime.fromisoformat(state["since"])
            for state in (json.loads(e.move.state) for e in self.registry.history() if e.move.state is not None)
            if state["state"] == "running" and state["share"] == share
        )
        parameters = self._parameters.model_copy(update={"start": start, "treatment_share": max(share, 1) / 100})
        page.parent.mkdir(parents=True, exist_ok=True)
        pictures = [str(path) for path in sorted(self._folder.glob("query-*"))]
        try:
            with tempfile.TemporaryDirectory() as folder:
                events = write_newcomers(self.events, start, Path(folder) / EVENTS_FILE)
                report(
                    events,
                    parameters,
                    str(self._service),
                    page,
                    releases=(self.champion, self.challenger),
                    queries=pictures,
                    preference=self._preference,
                )
        except (DataError, SourceError, BadImageError):
            return None
        return page


def _make_pair(
    location: Path, logs: Path, settings: Mapping[str, str], encoder_ports: tuple[int, int] = (0, 0)
) -> Pair:
    ports = Ports(encoder_http=encoder_ports[0], encoder_grpc=encoder_ports[1])
    return ServingProcesses(location, logs, settings, ports=ports)


def _read(uri: str) -> bytes:
    return read_bytes(uri, limit_bytes=_LARGEST_PICTURE)


def _releases(options: argparse.Namespace, settings: Settings) -> tuple[Path | None, Path | None]:
    from components.registration.registry import Registry

    registry, folder = Registry(settings.registry_uri), settings.home.absolute() / "releases"
    champion = registry.fetch(options.champion or "champion", folder)
    if options.challenger is not None:
        return champion, registry.fetch(options.challenger, folder)
    return (None, champion) if options.scenario == "better" else (champion, None)
