"""Patience with changes that come back: each attempt at the same change waits longer than the one before.

Owns: when a change may be tried again. It counts attempts, not failures: a change that was applied and is wanted again
at once is as much in vain as one that failed (a person or another tool undoes it, or a driver deceives itself).
Must not go here: what is tried (plan), trying (execute).
"""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.core.plan import Change
from reconciler.core.values import canonical, digest
from reconciler.runtime.triggers import Random, backoff, jittered


class _Attempts:
    __slots__ = ("content", "count", "due")

    def __init__(self, content: str) -> None:
        self.content = content
        self.count = 0
        self.due = 0.0


class Retries:
    """Seconds of a monotonic clock throughout."""

    def __init__(self, *, first: float, longest: float, jitter: float, random: Random) -> None:
        self._first = first
        self._longest = longest
        self._jitter = jitter
        self._random = random
        self._attempts: dict[str, _Attempts] = {}

    def tried(self, change: Change, now: float) -> None:
        """The change is being attempted now."""
        content = _content(change)
        kept = self._attempts.get(change.id)
        if kept is None or kept.content != content:
            kept = self._attempts[change.id] = _Attempts(content)
        kept.count += 1
        wait = backoff(kept.count, first=self._first, longest=self._longest)
        kept.due = now + jittered(wait, self._jitter, self._random)

    def waits(self, change: Change, now: float) -> bool:
        """True if it is too early to try this again. Another content is another change."""
        kept = self._attempts.get(change.id)
        return kept is not None and kept.due > now and kept.content == _content(change)

    def keep(self, wanted: Iterable[str]) -> None:
        """These changes (ids) are wanted still; all others came to their end, and start afresh if they come again."""
        still = frozenset(wanted)
        for change in [change for change in self._attempts if change not in still]:
            del self._attempts[change]

    def next_due(self, now: float) -> float | None:
        """When the first of those that wait may be tried."""
        return min((kept.due for kept in self._attempts.values() if kept.due > now), default=None)


def _content(change: Change) -> str:
    """What is wanted, not how it is found: an attempt that got half way is an attempt at the same."""
    return digest(canonical([change.action, change.after]))
