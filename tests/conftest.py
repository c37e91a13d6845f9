"""What all tests stand on: machines that are busy with other things, settings of whoever runs them, runs in the background."""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

# Slowness is no failure; what is tested stays random.
settings.register_profile("busy-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy-machine")

# A shell lets its background jobs, and so their children, ignore Ctrl-C; the commands under test must be able to obey it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Settings of the product that somebody's shell exports are for their own services, not for those under test.
for _name in [name for name in os.environ if name.startswith("VISUAL_SEARCH_")]:
    del os.environ[_name]
