"""The time, read in this one place.

Owns: reading the system clock and sleeping. Must not go here: deciding when to wake (runtime).
"""

from __future__ import annotations

import time

import anyio


class SystemClock:
    """The host's clock: `now` for dates and budgets, `monotonic` for measuring how long something took."""

    def now(self) -> float:
        """Unix seconds."""
        return time.time()  # noqa: TID251 - this is the module that the rule points to

    def monotonic(self) -> float:
        """Seconds that never jump."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)
