"""The catalogue: how much of what is listed can be found, and how long has the rest been waiting?"""

from __future__ import annotations

import datetime
from collections.abc import Collection

import pyarrow as pa

from monitoring.diagnosis.parameters import DiagnosisParameters
from monitoring.findings import Concern


def catalogue_lag(
    listing: pa.Table, indexed: Collection[str], parameters: DiagnosisParameters, *, now: datetime.datetime
) -> tuple[Concern, ...]:
    """Compare the listing with what is indexed, generations and all.

    Args:
        listing: images that should be indexed, with image_id and, if known, added_at (UTC).
        indexed: ids of the images that are served.
        parameters: thresholds of the alarms.
        now: time of the comparison.

    Returns:
        The concerns "indexed_share" and, where times are known, "oldest_waiting".
    """
    ids = listing.column("image_id").to_pylist()
    if not ids:
        sentence = "The listing is empty, so nothing can be said of what is missing from the index."
        return (Concern(name="indexed_share", topic="catalogue", state="unknown", sentence=sentence),)
    there = indexed if isinstance(indexed, set | frozenset) else set(indexed)
    missing = [row for row, image_id in enumerate(ids) if image_id not in there]
    share = 1 - len(missing) / len(ids)
    concerns = [
        Concern(
            name="indexed_share",
            topic="catalogue",
            state="alarm" if share < parameters.indexed_share else "ok",
            sentence=f"{len(ids) - len(missing)} of {len(ids)} listed images are indexed ({share:.1%}).",
            value=share,
            threshold=parameters.indexed_share,
            effect=1 - share,
            effect_name="share not indexed",
            window=len(ids),
        )
    ]
    if "added_at" in listing.column_names:
        times = listing.column("added_at").to_pylist()
        concerns.append(_waiting([times[row] for row in missing if times[row] is not None], parameters, now))
    return tuple(concerns)


def _waiting(times: list[datetime.datetime], parameters: DiagnosisParameters, now: datetime.datetime) -> Concern:
    hours = max(((now - added).total_seconds() / 3600 for added in times), default=0.0)
    sentence = (
        f"The image that has waited longest to be indexed was listed {hours:.0f} hours ago, the newest one "
        f"{min((now - added).total_seconds() / 3600 for added in times):.0f} hours ago."
        if times
        else "No listed image is waiting to be indexed."
    )
    return Concern(
        name="oldest_waiting",
        topic="catalogue",
        state="alarm" if hours > parameters.waiting_hours else "ok",
        sentence=sentence,
        value=hours,
        threshold=parameters.waiting_hours,
        effect=max(0.0, hours - parameters.waiting_hours),
        effect_name="hours beyond the limit",
        window=len(times),
    )
