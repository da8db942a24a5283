"""How a run of tests or benchmarks ends that is told to: what it brought up it takes down.

Owns: SIGTERM. Must not go here: what there is to take down (fixtures, context managers).
"""

from __future__ import annotations

import signal


def take_down_when_told() -> None:
    """SIGTERM is as Ctrl-C. Who says it twice does not cut that short."""
    signal.signal(signal.SIGTERM, _told)


def _told(*_: object) -> None:
    # not by SIGINT: what a shell starts in the background ignores that
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt
