"""What a server said a moment ago, for those who can do with that.

Owns: keeping one answer for a moment, and asking once for many who ask at once. Must not go here: what is proved on an
answer; whoever proves something asks anew.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import anyio

RECENT = 1.0
"""Seconds that an answer may be old."""

T = TypeVar("T")


class Lately(Generic[T]):
    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self._asking = anyio.Lock()
        self._kept: tuple[float, T] | None = None

    async def get(self) -> T:
        """The answer, at most RECENT old. Raises what asking raises."""
        async with self._asking:
            if self._kept is None or anyio.current_time() - self._kept[0] > RECENT:
                self._kept = None
                began = anyio.current_time()
                self._kept = (began, await self._ask())
            return self._kept[1]

    def drop(self) -> None:
        """We changed it."""
        self._kept = None
