"""What the runtime needs of the world, as Protocols; edge/ has the real ones, reconciler/testing/ the in-memory ones.

Owns: the seams between sequencing and the world. Must not go here: implementations.
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Mapping, Sequence
from typing import Protocol

from reconciler.core.desired import Desired, Lineage
from reconciler.core.ledger import Applied, Entry, Ledger
from reconciler.core.plan import Plan
from reconciler.core.refs import Ref
from reconciler.core.rests import Instant


class Clock(Protocol):
    def now(self) -> float:
        """Unix seconds."""
        ...

    def instant(self) -> Instant:
        """All that the host's clocks say now."""
        ...


class Journal(Protocol):
    """The append-only, hash-chained journal and the ledger folded from it."""

    @property
    def ledger(self) -> Ledger: ...

    def append(self, entries: Sequence[Entry]) -> Awaitable[None]:
        """Durable and folded once it was awaited; entries of one call stand or fall together. Calls that come while a
        commit is under way share the next one (group commit)."""
        ...


class Fencing(Protocol):
    """The datacenter lock. `fence` grows with every holder; the nodes refuse a smaller one."""

    @property
    def fence(self) -> int: ...

    def lost(self) -> bool:
        """True once another controller has taken over."""
        ...


class Secrets(Protocol):
    async def resolve(self, names: frozenset[str]) -> Mapping[str, str]:
        """Values by name. Raises SecretMissing naming what is missing and where it was looked for."""
        ...

    def keyed_digest(self, name: str) -> str | None:
        """A keyed digest of the value, to notice that it changed; None where it cannot be read."""
        ...


class Files(Protocol):
    async def fetch(self, source: Mapping[str, str], digest: str) -> str:
        """Local path of an image's content, fetched and checked against the digest."""
        ...


class Source(Protocol):
    """Where the desired state comes from."""

    async def load(self, revision: str | None = None, *, since: Applied | None = None) -> Desired:
        """Desired at a revision (None: the head of the configured ref). Raises SpecErrors with every mistake, or
        SourceUnreadable; never returns an empty tree for one that could not be read. `since`: what was applied last; an
        image that holds other contents than then is a mistake."""
        ...

    def news(self) -> Collection[Ref] | None:
        """Refs whose resources may be other than they were at the last asking; None: any. What `load` gives is alive:
        the next load alters its resources in place, so who keeps some of them asks what became of them."""
        ...

    async def lineage(self, desired: Desired, applied: Applied | None, accepted: frozenset[str]) -> Lineage: ...


class PlanStore(Protocol):
    async def save(self, plan: Plan) -> None: ...

    async def find(self, digest_prefix: str) -> Plan:
        """The stored plan. Raises PlanMissing, also when the prefix fits several."""
        ...
