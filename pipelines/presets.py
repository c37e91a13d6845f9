"""Parameters that suit an occasion; whatever is not named here keeps the step's own default."""

from __future__ import annotations

from typing import Any

Preset = dict[str, dict[str, Any]]

# The rendered catalogue: minutes on two cores.
DEMONSTRATION: Preset = {}

# A person's own folder of pictures.
FOLDER: Preset = {}
