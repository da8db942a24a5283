"""Whether nothing at all has changed since the last plan, told without reading what is as large as the fleet.

Owns: the memory of the last plan that had nothing to do, all that it depended on, and when it is void.
Must not go here: making plans, asking nodes one by one (runtime).

A plan is a function of the revision, the journal, the nodes' reports, the values of secrets, the time and this program.
For each of them there is a token that is equal only where it is: ids of git, the journal's head, one token of a driver
for all nodes that are reached at one address (an optional `overview` of its entry point; where a driver has none,
nothing is remembered), keyed digests. On any doubt the memory says nothing, and the plan is made. Losing it costs time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from reconciler.core.desired import NodeWant, Revision
from reconciler.core.plan import Plan
from reconciler.core.values import digest
from reconciler.edge.chain import Chain
from reconciler.edge.remembered import program
from reconciler.edge.state import unsealed, write_sealed
from reconciler.errors import TrueupError

Overview = tuple[str, str, str]
"""Driver, address, token."""


class _Still(msgspec.Struct, frozen=True):
    key: str
    overviews: tuple[Overview, ...]
    secrets: Mapping[str, str | None]
    """Keyed digests of the secrets that the revision names."""
    since: float
    """Unix seconds when it was planned: an earlier clock has jumped."""
    until: float | None
    """When time alone would have something to do."""
    plan: Plan
    last: str


def key_of(
    revision: Revision, journal: Path, root: Path, drivers: Iterable[str], *, read_to: int | None = None
) -> str | None:
    """One token for the revision, the journal, the place and the program; None where the journal cannot be read, or has
    gone on since it was read to the sequence `read_to`."""
    sequence, head = 0, b""
    if journal.exists():
        try:
            chain = Chain.open(journal, read_only=True)
        except TrueupError:
            return None
        sequence, head = chain.head
        chain.close()
    if read_to is not None and sequence != read_to:
        return None
    said = msgspec.to_builtins(revision)
    return digest([said, sequence, head.hex(), str(root), program(), sorted(drivers)])


class Unchanged(NamedTuple):
    """`last`: the revision that was applied last."""

    plan: Plan
    last: str


class StillMemory:
    """`overview`: (driver, address) → token, None where there is none; `keyed`: a secret's name → keyed digest."""

    def __init__(
        self, path: Path, overview: Callable[[str, str], str | None], keyed: Callable[[str], str | None]
    ) -> None:
        self._path = path
        self._overview = overview
        self._keyed = keyed

    @property
    def there(self) -> bool:
        return self._path.exists()

    def recall(self, key: str, now: float) -> Unchanged | None:
        """The plan, dated now, if everything is as it was."""
        try:
            found = msgspec.msgpack.decode(unsealed(self._path.read_bytes()), type=_Still)
        except (OSError, msgspec.DecodeError):
            return None
        if found.key != key or now < found.since or (found.until is not None and now >= found.until):
            return None
        if not self.holds(found.overviews):
            return None
        if any(self._keyed(name) != known for name, known in found.secrets.items()):
            return None
        return Unchanged(msgspec.structs.replace(found.plan, observed_at=now), found.last)

    def overviews(self, nodes: Iterable[NodeWant]) -> tuple[Overview, ...] | None:
        """To be asked for before the nodes are: what changes in between is noticed the next time. None where a driver
        has none."""
        found: list[Overview] = []
        for driver, address in sorted({(node.driver, node.address) for node in nodes}):
            token = self._overview(driver, address)
            if token is None:
                return None
            found.append((driver, address, token))
        return tuple(found)

    def holds(self, overviews: Iterable[Overview]) -> bool:
        """Whether the nodes are what they were."""
        return all(self._overview(driver, address) == token for driver, address, token in overviews)

    def keep(
        self,
        key: str,
        plan: Plan,
        overviews: tuple[Overview, ...],
        *,
        secrets: Iterable[str],
        until: float | None,
        last: str,
    ) -> None:
        """Best effort. A plan that has something to do, holds or notes is not kept."""
        if plan.changes or plan.holds or plan.entries or not plan.complete:
            return
        known = {name: self._keyed(name) for name in secrets}
        still = _Still(key, overviews, known, plan.observed_at, until, plan, last)
        try:
            write_sealed(self._path, msgspec.msgpack.encode(still))
        except OSError:
            return
