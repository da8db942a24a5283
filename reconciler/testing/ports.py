"""The runtime's ports in memory, with a time that tests can own.

Owns: one plain implementation per Protocol of `reconciler.ports`. Must not go here: expectations, assertions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import anyio
import anyio.lowlevel

from reconciler.core.desired import Desired, Lineage
from reconciler.core.ledger import Applied, Entry, Ledger, Record
from reconciler.core.plan import Plan
from reconciler.core.rests import Instant, stamped
from reconciler.core.values import digest
from reconciler.errors import PlanMissing, RevisionMissing, SecretMissing
from reconciler.ports import Clock

EPOCH = 1_790_000_000.0
"""Where virtual time begins: 2026-09-21, a Monday."""


class VirtualClock:
    """Follows the event loop's own clock, so that trio's MockClock moves it too. `advance` lets time pass at once;
    `jump` sets the wall clock, and no time passes."""

    def __init__(self, start: float = EPOCH) -> None:
        self._start = start
        self._jumped = 0.0
        self._advanced = 0.0
        self._booted = 0.0
        self._boots = 1
        self._began: float | None = None
        self.synced = False
        """Whether a time server disciplines it, as it says."""

    def now(self) -> float:
        """Unix seconds. Outside of an event loop only `advance` and `jump` move it."""
        return self._start + self._jumped + self.monotonic()

    def instant(self) -> Instant:
        return Instant(self.now(), f"boot {self._boots}", self.monotonic() - self._booted, self.synced)

    def monotonic(self) -> float:
        return self._advanced + self._passed()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    def advance(self, seconds: float) -> None:
        self._advanced += seconds

    def jump(self, seconds: float) -> None:
        self._jumped += seconds

    def reboot(self) -> None:
        """The host is up again just now; the wall clock went on meanwhile."""
        self._boots, self._booted = self._boots + 1, self.monotonic()

    def _passed(self) -> float:
        try:
            here = anyio.current_time()
        except Exception:  # no event loop runs: each backend says so in its own way
            return 0.0
        if self._began is None or here < self._began:
            self._began = here
        return here - self._began


class MemoryJournal:
    """`on_append` sees the entries before they are kept: raise in it to be killed at that very write."""

    def __init__(
        self,
        clock: Clock | None = None,
        records: Iterable[Record] = (),
        *,
        on_append: Callable[[Sequence[Entry]], None] | None = None,
    ) -> None:
        self.records: list[Record] = list(records)
        self.on_append = on_append
        self._clock = clock or VirtualClock()
        self._ledger = Ledger(self.records)

    @property
    def ledger(self) -> Ledger:
        return self._ledger

    @property
    def entries(self) -> list[Entry]:
        return [record.entry for record in self.records]

    async def append(self, entries: Sequence[Entry]) -> None:
        if self.on_append is not None:
            self.on_append(entries)
        now = self._clock.instant()
        for entry in stamped(entries, now):
            record = Record(self._ledger.sequence + 1, now.at, entry)
            self.records.append(record)
            self._ledger.fold(record)
        await anyio.lowlevel.checkpoint()

    def reopened(self) -> MemoryJournal:
        """What the next process finds: the same records, folded anew."""
        return MemoryJournal(self._clock, self.records)


class FixedFence:
    """A lock that is held until `lose` is called."""

    def __init__(self, fence: int = 1) -> None:
        self.fence = fence
        self._lost = False

    def lost(self) -> bool:
        return self._lost

    def lose(self) -> None:
        self._lost = True


class StaticSecrets:
    """Values by name."""

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self.values = dict(values or {})

    async def resolve(self, names: frozenset[str]) -> Mapping[str, str]:
        missing = sorted(names - self.values.keys())
        if missing:
            raise SecretMissing(f"no provider holds the secret {missing[0]}")
        return {name: self.values[name] for name in sorted(names)}

    def keyed_digest(self, name: str) -> str | None:
        value = self.values.get(name)
        return None if value is None else digest(["key of the tests", name, value])


class StaticFiles:
    """Every digest has a path; nothing is fetched."""

    def __init__(self, paths: Mapping[str, str] | None = None) -> None:
        self.paths = dict(paths or {})

    async def fetch(self, source: Mapping[str, str], digest: str) -> str:
        return self.paths.get(digest, f"/nowhere/{digest}")


class StaticSource:
    """A history of desired states, oldest first; `commit` adds one. Lineage is read off that history."""

    def __init__(self, *history: Desired) -> None:
        self.history = list(history)
        self.broken: str | None = None
        self.error: Exception | None = None
        """Raised by the next `load`, and by every one until it is None again."""

    def commit(self, desired: Desired) -> None:
        self.history.append(desired)

    async def load(self, revision: str | None = None, *, since: Applied | None = None) -> Desired:
        if self.error is not None:
            raise self.error
        if revision is None and self.history:
            return self.history[-1]
        for desired in self.history:
            if revision in (desired.revision.commit, desired.revision.tree):
                return desired
        raise RevisionMissing(f"there is no revision {revision}")

    def news(self) -> None:
        return None

    async def lineage(self, desired: Desired, applied: Applied | None, accepted: frozenset[str]) -> Lineage:
        if applied is None or self.broken:
            return Lineage(broken=self.broken)
        commits = [each.revision.commit for each in self.history]
        if applied.revision not in commits or desired.revision.commit not in commits:
            return Lineage(broken=f"{applied.revision} was applied last, and is not in this history")
        start, end = commits.index(applied.revision), commits.index(desired.revision.commit)
        was = self.history[start].resources
        return Lineage(removed=frozenset(was.keys() - desired.resources.keys()), older=end < start)


class MemoryPlans:
    """Plans by digest."""

    def __init__(self) -> None:
        self.plans: dict[str, Plan] = {}

    async def save(self, plan: Plan) -> None:
        self.plans[plan.digest] = plan

    async def find(self, digest_prefix: str) -> Plan:
        fits = [plan for digest, plan in sorted(self.plans.items()) if digest.startswith(digest_prefix)]
        if len(fits) != 1:
            raise PlanMissing(f"{len(fits) or 'no'} stored plans begin with {digest_prefix}")
        return fits[0]
