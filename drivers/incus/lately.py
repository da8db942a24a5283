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
        self._changes = 0

    async def get(self) -> T:
        """The answer, which was begun at most RECENT before we wanted it: however long a server takes over one, all who
        wait for it have it. Raises what asking raises."""
        wanted = anyio.current_time()
        async with self._asking:
            if self._kept is not None and wanted - self._kept[0] <= RECENT:
                return self._kept[1]
            self._kept, before, began = None, self._changes, anyio.current_time()
            answer = await self._ask()
            if before == self._changes:  # else it may tell of what was before the change
                self._kept = (began, answer)
            return answer

    def drop(self) -> None:
        """We changed it."""
        self._kept = None
        self._changes += 1
