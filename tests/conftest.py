"""What all tests stand on: machines that are busy with other things, and runs that were started in the background."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

# Slowness is no failure; what is tested stays random.
settings.register_profile("busy-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy-machine")

# A shell lets its background jobs, and so their children, ignore Ctrl-C; the commands under test must be able to obey it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
