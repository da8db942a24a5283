"""Why a cycle begins, and when to try again.

Owns: triggers (a reason each, never data), their coalescing, and the arithmetic of waiting: jitter and backoff.
Must not go here: noticing the world (edge), what a cycle does (loop). Randomness is an argument: a function that gives
numbers in [0, 1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import anyio
import msgspec

Why = Literal["start", "poll", "watch", "timer", "converge", "apply", "note", "retry", "ended"]
Random = Callable[[], float]


class Trigger(msgspec.Struct, frozen=True):
    """`subject`: whom it concerns, in words; empty for all."""

    why: Why
    subject: str = ""

    def __str__(self) -> str:
        return f"{self.why} {self.subject}" if self.subject else self.why


class Reasons:
    """What has happened since somebody last looked. However many come meanwhile, they begin one cycle."""

    def __init__(self) -> None:
        self._gathered: dict[Trigger, None] = {}
        self._event = anyio.Event()

    def add(self, trigger: Trigger) -> None:
        self._gathered[trigger] = None
        self._event.set()

    async def wait(self) -> tuple[Trigger, ...]:
        """At least one, in the order of their first coming; they are taken."""
        while not self._gathered:
            self._event = anyio.Event()
            await self._event.wait()
        taken, self._gathered = tuple(self._gathered), {}
        return taken


def jittered(seconds: float, share: float, random: Random) -> float:
    """`seconds`, more or less by up to `share` (0…1) of it, so that many do not come at the same moment."""
    return seconds * (1 + share * (2 * random() - 1))


def backoff(attempts: int, *, first: float, longest: float) -> float:
    """Seconds to wait after the n-th attempt in vain: twice as long each time."""
    return min(longest, first * 2.0 ** min(attempts - 1, 30))
