"""What the command line prints: plain text for people, JSON for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass

_SHOWN = ("hit_rate_at_1", "recall_at_10", "precision_at_10", "map", "ndcg_at_10")
