"""When time alone changes something of a machine.

Owns: those moments, the soonest first, each once. Must not go here: what changes then (world), any clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush

from reconciler.core.refs import Ref

Timer = tuple[float, Ref]
"""Unix seconds, and whom it concerns."""


class Timers:
    def __init__(self, entries: Iterable[Timer] = ()) -> None:
        self.entries = list(entries)
        """In no order but that the first is the soonest."""
        heapify(self.entries)
        self._known = set(self.entries)

    @property
    def first(self) -> float | None:
        """When the soonest is due."""
        return self.entries[0][0] if self.entries else None

    def add(self, until: float, ref: Ref) -> None:
        if (until, ref) not in self._known:
            self._known.add((until, ref))
            heappush(self.entries, (until, ref))

    def due(self, now: float) -> Iterator[Ref]:
        """Whom time has come for; each is told once."""
        while self.entries and self.entries[0][0] <= now:
            timer = heappop(self.entries)
            self._known.discard(timer)
            yield timer[1]
