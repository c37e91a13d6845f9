"""The command line, `visual-search`. Only the parser is built here; each command imports what it needs when it runs."""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
from collections.abc import Sequence

from components import VERSION
from pipelines import PIPELINE_NAMES

_DESCRIPTION = "Visual search: learn from pictures, judgements and clicks; index, evaluate, register and serve."
_EPILOG = """examples:
  visual-search demo                              learn a rendered catalogue and open the report
  visual-search run --images photos/              do the same with your own pictures
  visual-search serve                             open the search page on the champion
  visual-search query photo.jpg -k 5              search from the shell
  visual-search releases                          list the registered releases
  visual-search promote 3 --to champion --why "better on shoes"
  visual-search monitor run                       check search health and suggest a fix
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="visual-search",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"visual-search {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_running(commands)
    _add_cluster(commands)
    _add_registry(commands)
    _add_serving(commands)
    _add_events(commands)
    _add_experiments(commands)
    _add_monitoring(commands)
    _add_rollout(commands)
    _add_manifests(commands)
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    _add_places(command)
    return command


def _add_places(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--home", metavar="DIR", help="folder for workspace, runs, reports and MLflow (default .visual-search)"
    )
    command.add_argument("--tracking-uri", metavar="URI", help="MLflow server (default: SQLite below the home folder)")


def _add_parameters(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--set", metavar="STEP.NAME=VALUE", action="append", default=[], dest="assignments",
        help="a step's parameter, for example training.epochs=20; may be repeated",
    )  # fmt: skip
    command.add_argument("--seed", type=int, help="seed of all random numbers (default 0)")


def _add_sources(command: argparse.ArgumentParser, *, required: bool = True) -> None:
    command.add_argument(
        "--images",
        metavar="URI",
        required=required,
        help="folder of pictures, or a CSV/Parquet manifest with a column uri",
    )
    command.add_argument(
        "--judgements", metavar="URI", default="", help="human judgements: CSV or Label Studio's JSON export"
    )
    command.add_argument("--events", metavar="URI", default="", help="click log: Parquet file or folder")
    command.add_argument(
        "--categories", choices=("auto", "judgements", "ignore"), default="auto",
        help="whether two pictures of one folder count as similar; auto: yes, unless there are judgements, clicks or items",
    )  # fmt: skip


def _add_running(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    demo = _command(commands, "demo", "render a catalogue, train on it and show the result")
    _add_parameters(demo)
    demo.add_argument("--verbose", action="store_true", help="show the full output of the tasks")
    demo.add_argument(
        "--serve", action=argparse.BooleanOptionalAction,
        help="serve the release until Ctrl-C; without a terminal, run one query and stop",
    )  # fmt: skip
    run = _command(commands, "run", "train on your pictures and register a release, on this machine")
    _add_sources(run)
    _add_parameters(run)
    run.add_argument(
        "--pipeline", metavar="NAME", default="training", help="training, reindexing or a compiled YAML file"
    )
    run.add_argument("--verbose", action="store_true", help="show the full output of the tasks")
    tune = _command(commands, "tune", "search for better training parameters (Optuna; resumes where it stopped)")
    _add_sources(tune)
    _add_parameters(tune)
    tune.add_argument("--trials", type=int, default=20, help="number of trials in all (default 20)")
    tune.add_argument("--study", default="visual-search", help="name of the study")
    tune.add_argument("--storage", metavar="URL", help="Optuna storage (default: SQLite below the home folder)")
    parameters = _command(commands, "parameters", "list the parameters of a step, with defaults and meaning")
    parameters.add_argument("step", nargs="?", help="name of a step (default: all steps)")


def _add_cluster(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    compile_ = _command(commands, "compile", "write a pipeline as YAML for Kubeflow Pipelines")
    compile_.add_argument("pipeline", choices=PIPELINE_NAMES)
    compile_.add_argument("--output", metavar="FILE", help="file to write (default NAME.yaml)")
    compile_.add_argument("--image", metavar="REF", help="OCI image of the tasks, with its digest in production")
    compile_.add_argument(
        "--kubernetes", action="store_true", help="write Pipeline and PipelineVersion resources for kubectl apply"
    )
    compile_.add_argument("--namespace", default="", help="namespace of the resources")
    for name, text in (
        ("submit", "start a run on a Kubeflow Pipelines server"),
        ("schedule", "run on a schedule on a Kubeflow Pipelines server, change it, list or remove schedules"),
    ):
        command = _command(commands, name, text)
        command.add_argument("pipeline", choices=PIPELINE_NAMES, nargs="?" if name == "schedule" else None)
        _add_sources(command, required=False)
        _add_parameters(command)
        command.add_argument(
            "--argument",
            metavar="NAME=VALUE",
            action="append",
            default=[],
            help="a pipeline parameter, for example training_memory=64Gi",
        )
        command.add_argument("--image", metavar="REF", help="OCI image of the tasks")
        _add_server(command)
        command.add_argument("--service-account", default="", help="Kubernetes service account of the tasks")
        if name == "submit":
            command.add_argument(
                "--wait", action="store_true",
                help="wait until the run has ended; exit code 1 if it failed, 6 if it was cancelled, 7 if it was skipped",
            )  # fmt: skip
            continue
        command.add_argument("--name", help="name of the schedule (default visual-search-PIPELINE)")
        what = command.add_mutually_exclusive_group(required=True)
        what.add_argument(
            "--cron", help='when: six fields, seconds first; "0 0 3 * * *" is 03:00 UTC every day; '
            "changes the schedule of this name if there is one",
        )  # fmt: skip
        what.add_argument("--list", action="store_true", help="list the schedules")
        what.add_argument("--remove", action="store_true", help="remove the schedule; runs that it started continue")
    text = "wait for a run on a Kubeflow Pipelines server, or cancel it"
    runs = commands.add_parser("runs", help=text, description=text[0].upper() + text[1:] + ".")
    actions = runs.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, text in (
        ("watch", "wait until a run has ended; exit codes as of submit --wait"),
        ("cancel", "cancel a run"),
    ):
        action = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        action.add_argument("run", metavar="RUN", help="its id, printed by `submit`")
        _add_server(action)


def _add_server(command: argparse.ArgumentParser) -> None:
    command.add_argument("--host", metavar="URL", help="the server's API (default: VISUAL_SEARCH_KFP_HOST)")
    command.add_argument(
        "--namespace", default="", help="namespace that tasks run in (default: VISUAL_SEARCH_KFP_NAMESPACE)"
    )


def _add_registry(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    releases = _command(commands, "releases", "list the registered releases, their aliases and figures")
    releases.add_argument("--json", action="store_true", help="print JSON")
    promote = _command(commands, "promote", "make a version champion or challenger")
    promote.add_argument("version", help="version number, or an alias such as challenger")
    promote.add_argument("--to", choices=("champion", "challenger"), default="champion")
    promote.add_argument("--why", required=True, help="the reason, for the promotion log")
    promote.add_argument("--who", help="who decided (default: the user of this machine)")
    history = _command(commands, "history", "show the promotion log: who, when, from, to, why")
    history.add_argument("--json", action="store_true", help="print JSON")
    fetch = _command(commands, "fetch", "download and verify a release")
    fetch.add_argument("version", nargs="?", default="champion", help="version number or alias (default champion)")
    fetch.add_argument("--output", metavar="DIR", help="destination folder (default: below the home folder)")


def _add_serving(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    serve = _command(commands, "serve", "serve a release on this machine: the search page and the API")
    serve.add_argument(
        "release", nargs="?", default="champion", metavar="RELEASE",
        help="release directory, version or alias (default champion; the service follows an alias when it moves)",
    )  # fmt: skip
    serve.add_argument("--port", type=int, default=8080, help="port of the page and the API (default 8080; 0: any)")
    serve.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1: this machine only)"
    )
    serve.add_argument("--arm", default="champion", help="name of this arm in answers and events (default champion)")
    serve.add_argument("--seconds", type=float, metavar="N", help="stop after N seconds")
    serve.add_argument("--no-browser", action="store_true", help="do not open the page")
    extend = _command(commands, "extend", "add new images to what is served and remove others, without training")
    extend.add_argument(
        "--images", metavar="URI", help="folder or manifest of all images; served images missing from it are removed"
    )
    extend.add_argument("--add", metavar="URI", help="folder or manifest of images to add; all others stay")
    extend.add_argument("--remove", metavar="ID", nargs="+", default=[], help="ids of images to remove")
    extend.add_argument(
        "--root", metavar="DIR", help="root folder of the served release (default: served below the home folder)"
    )
    query = _command(commands, "query", "search for pictures that are similar to one, at a running service")
    query.add_argument("image", metavar="IMAGE", help="JPEG, PNG, WebP, AVIF, GIF, TIFF or BMP file")
    query.add_argument("--url", help="the service (default: the one that `serve` started here)")
    query.add_argument("-k", type=int, default=10, metavar="N", help="number of results, 1 to 200 (default 10)")
    query.add_argument("--crop", metavar="X,Y,W,H", help="search by this part, as fractions of the picture")
    query.add_argument("--output", metavar="FILE", help="write a sheet of the results, .html or .png")
    query.add_argument("--json", action="store_true", help="print JSON")


def _add_experiments(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "compare two releases by the behaviour of their users"
    ab = commands.add_parser("ab", help=text, description=text[0].upper() + text[1:] + ".")
    actions = ab.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, text in (
        ("plan", "forecast the users and days that a test needs, from a log of past events"),
        ("decide", "decide whether to promote, continue or roll back, and give the reasons"),
        ("report", "write the figures and the verdict as one HTML page"),
    ):
        action = _command(actions, name, text)
        action.add_argument(
            "--events",
            metavar="SOURCE",
            help="Parquet file or folder, sqlite:///FILE or postgresql://… "
            "(default: VISUAL_SEARCH_EVENTS_URL, or SQLite below the home folder)",
        )
        action.add_argument("--parameters", metavar="FILE", help="JSON with parameters of the experiment")
        action.add_argument(
            "--metric", metavar="NAME", help="the metric that decides (default click_through_per_query)"
        )
        action.add_argument("--control", metavar="ARM", help="name of the control arm (default champion)")
        action.add_argument("--treatment", metavar="ARM", help="name of the treatment arm (default challenger)")
        action.add_argument("--share", type=float, metavar="P", help="the treatment's share of users (default 0.5)")
        if name == "plan":
            continue
        action.add_argument("--start", metavar="TIME", help="start of the test, for example 2026-01-08T00:00:00Z")
        action.add_argument("--until", metavar="TIME", help="end of the test (default: the latest event)")
        action.add_argument(
            "--service",
            metavar="FILE",
            help="request counts of the servers, for the guardrails: Parquet or CSV, file or folder "
            "(default: those below the home folder, unless --events is given)",
        )
        if name == "decide":
            action.add_argument("--json", action="store_true", help="print JSON")
        else:
            action.add_argument(
                "--output", metavar="FILE", default="experiment.html", help="file to write (default experiment.html)"
            )
            action.add_argument(
                "--releases",
                metavar="DIR",
                nargs=2,
                help="releases of control and treatment, to compare their answers",
            )
            action.add_argument(
                "--queries", metavar="PICTURE", nargs="+", default=[], help="query pictures for the comparison"
            )


def _add_manifests(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "check Kubernetes manifests, or whether a cluster has what they need"
    manifests = commands.add_parser("manifests", help=text, description=text[0].upper() + text[1:] + ".")
    actions = manifests.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("check", help="list every fault; exit code 1 if there is one")
    check.add_argument(
        "paths", nargs="+", metavar="PATH", help="folder with a kustomization.yaml (needs kubectl), or a rendered file"
    )
    check.add_argument(
        "--first", metavar="PATH", help="also check what is applied once before it (manifests/first/MODE)"
    )
    check.add_argument("--production", action="store_true", help="also refuse placeholder digests")
    doctor = actions.add_parser(
        "doctor",
        help="list what an overlay needs of the cluster of your kube configuration; exit code 1 if it is missing",
    )
    doctor.add_argument(
        "overlay",
        nargs="?",
        metavar="OVERLAY",
        help="folder (needs kubectl) or rendered file (default: that of --mode)",
    )
    doctor.add_argument(
        "--mode", choices=("knative", "standard"), help="how KServe is deployed (default: as OVERLAY says)"
    )


def _add_rollout(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "give a version a share of the traffic, promote it or roll it back, and make the cluster follow"
    rollout = commands.add_parser("rollout", help=text, description=text[0].upper() + text[1:] + ".")
    actions = rollout.add_subparsers(dest="action", required=True, metavar="ACTION")
    status = _command(actions, "status", "show the state of the registry and the cluster, and the latest decisions")
    status.add_argument("--json", action="store_true", help="print JSON")
    start = _command(actions, "start", "give a version a share of the traffic")
    start.add_argument("version", metavar="VERSION", help="version number, or an alias such as challenger")
    start.add_argument(
        "--share", type=int, default=5, metavar="PERCENT", help="share of the traffic, 0 to 99 (default 5)"
    )
    step = _command(actions, "step", "change the challenger's share")
    step.add_argument("share", type=int, metavar="PERCENT", help="share of the traffic, 0 to 99")
    promote = _command(actions, "promote", "make the challenger champion")
    rollback = _command(actions, "rollback", "take all traffic from the challenger")
    reconcile = _command(actions, "reconcile", "bring the cluster to the state of the registry, once or repeatedly")
    reconcile.add_argument("--dry-run", action="store_true", help="print the kubectl commands instead")
    auto = _command(actions, "auto", "raise the share step by step, then promote or roll back by the A/B statistics")
    auto.add_argument(
        "--events", metavar="SOURCE", help="default: VISUAL_SEARCH_EVENTS_URL, or SQLite below the home folder"
    )
    auto.add_argument(
        "--service",
        metavar="FILE",
        help="request counts of the servers: file or folder (default: below the home folder)",
    )
    auto.add_argument("--parameters", metavar="FILE", help="JSON with parameters of the experiment")
    auto.add_argument("--ladder", default="1,5,25,50", metavar="PERCENTS", help="shares (default 1,5,25,50; then all)")
    auto.add_argument("--hold", default="1h", metavar="TIME", help="shortest time at each share (default 1h)")
    auto.add_argument(
        "--settle", default="2m", metavar="TIME", help="time until a new share reaches all users (default 2m)"
    )
    rehearse = _command(actions, "rehearse", "rehearse a rollout on this machine: real servers, simulated users")
    rehearse.add_argument("--champion", metavar="VERSION", help="version of the control (default: the champion)")
    rehearse.add_argument(
        "--challenger",
        metavar="VERSION",
        help="version of the treatment (default: generated for the scenario)",
    )
    rehearse.add_argument(
        "--queries", type=int, default=4000, metavar="N", help="largest number of queries (default 4000)"
    )
    rehearse.add_argument("--ladder", default="10,50", metavar="PERCENTS", help="shares (default 10,50; then all)")
    rehearse.add_argument(
        "--scenario", default="better", choices=("better", "worse", "broken-space", "broken-crash", "slow"),
        help="how the generated challenger behaves (ignored with --challenger), and which fault to inject (default better)",
    )  # fmt: skip
    rehearse.add_argument(
        "--interleave", type=int, default=0, metavar="N",
        help="first interleave the results of both releases for up to N queries and count the clicks of each (default 0)",
    )  # fmt: skip
    rehearse.add_argument("--output", metavar="FILE", help="file of the report (default: below the home folder)")
    for action in (start, step, promote, rollback):
        required = action in (promote, rollback)
        action.add_argument("--why", required=required, default="by hand", help="the reason, for the promotion log")
        action.add_argument("--who", help="who decided (default: the user of this machine)")
    for action in (reconcile, auto):
        action.add_argument("--every", metavar="TIME", help="repeat at this interval until stopped, for example 30s")
    for action in (status, reconcile):
        action.add_argument("--mode", choices=("knative", "standard"), help="how KServe is deployed (default knative)")
        action.add_argument("--namespace", help="namespace of the service (default visual-search)")
        action.add_argument(
            "--release-store", metavar="URI", help="release store that KServe reads (default: below the home folder)"
        )


def _add_monitoring(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from monitoring.__main__ import add_actions

    text = "check search health, diagnose trouble and start the remedy"
    monitor = commands.add_parser("monitor", help=text, description=text[0].upper() + text[1:] + ".")
    actions = add_actions(monitor)
    for action in actions.values():
        _add_places(action)
    run = actions["run"]
    run.add_argument(
        "--release", metavar="RELEASE",
        help="release or root directory, version or alias (default: what `serve` serves here, else the champion)",
    )  # fmt: skip
    run.add_argument(
        "--act", action="store_true",
        help="start the pipeline that the most urgent diagnosis calls for: here, or on VISUAL_SEARCH_KFP_HOST",
    )  # fmt: skip
    run.add_argument(
        "--cool-down",
        type=float,
        default=24.0,
        metavar="HOURS",
        help="hours between two starts of a pipeline (default 24)",
    )
    acting = run.add_argument_group("with --act", "inputs of the pipeline (default: those of the latest run here)")
    acting.add_argument(
        "--images",
        metavar="URI",
        help="the current catalogue: folder or manifest; also used to check that the index is up to date",
    )
    acting.add_argument(
        "--judgements",
        metavar="URI",
        default="",
        help="human judgements; also used to check whether the encoder got worse",
    )
    run.add_argument("--previous", metavar="RELEASE", help="the previous release, for comparison on the judged queries")
    acting.add_argument(
        "--click-log", metavar="URI", default="", help="click log to learn from: Parquet file or folder"
    )
    acting.add_argument(
        "--set", metavar="STEP.NAME=VALUE", action="append", default=[], dest="assignments", help="a step's parameter"
    )
    acting.add_argument("--verbose", action="store_true", help="show the full output of the tasks")
    acting.add_argument(
        "--argument", metavar="NAME=VALUE", action="append", default=[], help="a pipeline parameter, on a cluster"
    )
    acting.add_argument("--image", metavar="REF", help="OCI image of the tasks, on a cluster")
    acting.add_argument("--service-account", default="", help="Kubernetes service account of the tasks")


def _add_events(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    events = commands.add_parser(
        "events",
        help="export impressions, clicks and dwell for labelling, or count them",
        description="Export impressions, clicks and dwell for labelling, or count them.",
    )
    actions = events.add_subparsers(dest="action", required=True, metavar="ACTION")
    export = _command(actions, "export", "write the events that are not in the folder yet, for `run --events`")
    export.add_argument("--output", metavar="DIR", required=True, help="folder, or URI of one in an object store")
    export.add_argument("--since", metavar="TIME", help="export only events from this time on, for example 2026-01-31")
    stats = _command(actions, "stats", "count the events of each release, arm and type")
    stats.add_argument("--json", action="store_true", help="print JSON")
    for action in (export, stats):
        action.add_argument(
            "--store", metavar="URL", help="default: VISUAL_SEARCH_EVENTS_URL, or SQLite below the home folder"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0; 1 for a failure of ours or of the data; 2 for a wrong call; 3 if the gate refused; 4 if monitoring alarms, 5 if it can
    tell nothing; 6 if a run on a cluster was cancelled, 7 if it was skipped; 130 after Ctrl-C.
    """
    from components.shared.environment import prepare_process

    prepare_process()
    options = build_parser().parse_args(arguments)
    from components.shared.errors import VisualSearchError
    from pipelines.commands import actions as commands

    try:
        code = int(getattr(commands, options.command)(options))
        sys.stdout.flush()  # here, so that a reader that has gone is noticed here
        return code
    except BrokenPipeError:
        if not _has_no_reader():
            raise
        return 128 + signal.SIGPIPE  # as a shell reports a program that such a pipe ended
    except VisualSearchError as error:
        print(f"visual-search: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("visual-search: stopped; run the same command again to resume", file=sys.stderr)
        return 130


def _has_no_reader() -> bool:
    """Whether standard output is a pipe without a reader, as after `| head`; if so, discard the rest of the output."""
    output = sys.stdout.fileno()
    poll = select.poll()
    poll.register(output, select.POLLOUT)
    if not any(state & (select.POLLERR | select.POLLHUP) for _, state in poll.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)  # the interpreter flushes again when it ends
    return True


if __name__ == "__main__":
    sys.exit(main())
