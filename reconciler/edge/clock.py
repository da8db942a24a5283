"""The time, read in this one place.

Owns: reading the system's clocks and sleeping. Must not go here: deciding when to wake (runtime), what clocks prove
(core.rests).
"""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

from reconciler.core.rests import Instant

_UPTIME = Path("/proc/uptime")
"""The kernel's CLOCK_BOOTTIME, which counts sleep and which nobody can set. Read here and not from libc: what tells a
process another time does so there."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_UNSYNCED = 16_000_000
"""Microseconds: the error that the kernel itself assumes of a clock that nobody disciplines, or that was set by hand,
and that it comes to within nine hours of the last word of a time server. `timedatectl` takes the same measure (systemd,
`ntp_synced`)."""
_MAXERROR = 3
"""Its place among the longs of `struct timex` (adjtimex(2))."""


class SystemClock:
    """The host's clock: `now` for dates and budgets, `monotonic` for measuring how long something took."""

    def now(self) -> float:
        """Unix seconds."""
        return time.time()  # noqa: TID251 - this is the module that the rule points to

    def monotonic(self) -> float:
        """Seconds that never jump."""
        return time.monotonic()

    def instant(self) -> Instant:
        """All that the host's clocks say now. Where the time since boot cannot be read, it is of no boot."""
        boot = _boot()
        try:
            up = float(_UPTIME.read_text().split()[0])
        except (OSError, ValueError, IndexError):
            boot, up = "", 0.0
        return Instant(self.now(), boot, up, _disciplined())

    async def sleep(self, seconds: float) -> None:
        import anyio  # who only asks for the time does without

        await anyio.sleep(seconds)


@cache
def _boot() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""


def _disciplined() -> bool:
    """Whether a time server disciplines the clock, by the kernel's word; no where it gives none (another system, a
    container that may not ask)."""
    import ctypes  # only where it is asked: a millisecond and a half

    timex = (ctypes.c_long * 64)()
    try:
        answer = ctypes.CDLL(None).adjtimex(timex)
    except (OSError, AttributeError):
        return False
    return answer >= 0 and timex[_MAXERROR] < _UNSYNCED
