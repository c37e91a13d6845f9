"""The remedies in words: what each is called, what it does, the command to type, and the pipeline that is it."""

from __future__ import annotations

from dataclasses import dataclass

from monitoring.findings import Cause, Remedy


@dataclass(frozen=True)
class Advice:
    """How a remedy is done.

    Attributes:
        title: text shown on pages.
        command: to type; "": there is none. Use `command_of`.
        pipeline: pipeline that `--act` submits; None: the operator acts.
    """

    title: str
    text: str
    command: str = ""
    pipeline: str | None = None


ADVICE: dict[Remedy, Advice] = {
    "nothing": Advice("Nothing", "Nothing is broken; keep watching."),
    "retrain": Advice(
        "Train again",
        "Train an encoder on the catalogue as it is now; if it passes the gate, the new release becomes challenger.",
        "visual-search monitor run --act --images IMAGES",
        "training",
    ),
    "reindex": Advice(
        "Index again",
        "Embed the new pictures with the champion's encoder and rebuild the index; the space stays the same.",
        "visual-search monitor run --act --images IMAGES",
        "reindexing",
    ),
    "retrain_quantiser": Advice(
        "Train the quantiser again",
        "Rebuild the index with clusters and codes learnt from the current catalogue; the encoder stays the same.",
        "visual-search monitor run --act --images IMAGES",
        "reindexing",
    ),
    "fix_client": Advice(
        "Fix the client",
        "Find out what changed in the app or proxy that sends the pictures; training would only hide it.",
    ),
    "roll_back": Advice(
        "Roll back",
        "Serve the release before this one; nothing is deleted.",
        'visual-search rollout rollback --why "monitoring"',
    ),
}

_ROLL_BACK_CHAMPION = 'visual-search promote VERSION --to champion --why "monitoring"'


def command_of(remedy: Remedy, arm: str) -> str:
    """Return what to type; a champion is rolled back by promoting the version before it, another arm by its rollout.

    Example:
        >>> command_of("roll_back", "challenger")
        'visual-search rollout rollback --why "monitoring"'
    """
    return _ROLL_BACK_CHAMPION if remedy == "roll_back" and arm == "champion" else ADVICE[remedy].command


CAUSE_TITLES: dict[Cause, str] = {
    "pictures_changed": "The pictures changed",
    "new_items": "New kinds of items appeared",
    "encoder_worse": "The encoder got worse",
    "quantiser_aged": "The quantiser aged",
    "index_recall_fell": "The index misses neighbours",
    "catalogue_lags": "The catalogue lags behind",
    "preprocessing_differs": "The preprocessing differs",
    "mix_changed": "Users search for other things",
}
