"""A journal as it stands after everything of a generated fleet was applied: `python -m … SITE STATE`.

Owns: what a controller would have written, the checkpoint included that it would have left; of a journal that is there
only that. Must not go here: making sites (drivers.sim), measuring.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import anyio

from drivers.sim.store import Store
from reconciler.core.ledger import Address, Applied, Bound, Claimed, Covered, Entry, Settled
from reconciler.core.observed import Object
from reconciler.core.plan import rest_digest
from reconciler.core.refs import Ref, Target, make_ref, tenant_of
from reconciler.edge.chain import Chain
from reconciler.edge.clock import SystemClock
from reconciler.edge.git import Repository
from reconciler.edge.journal import Journal
from reconciler.edge.state import State

_BATCH = 5_000
SHARED = frozenset({"admin"})
"""Networks of the data centre; the others are their tenant's."""


def main(site: Path, folder: Path) -> None:
    if not folder.exists():
        _write(site, folder)
    anyio.run(_close, State(folder).journal)


async def _close(journal: Path) -> None:
    """As whoever wrote it does."""
    async with await Journal.open(journal, SystemClock()):
        pass


def _write(site: Path, folder: Path) -> None:
    with Repository.open(site) as repository:
        revision = repository.revision(None)
    store = Store(str(site / "fleet.db"))
    targets = store.targets()
    claim = targets[0].claim
    assert claim is not None, "a generated fleet is claimed"
    folder.mkdir(mode=0o700)
    chain = Chain.open(State.open(claim.datacenter, folder).journal)
    begun = Applied(
        plan="generated", generation=1, fence=1, revision=revision.commit or "", tree=revision.tree,
        branch=revision.branch or "", root="", repository=revision.repository,
    )  # fmt: skip
    chain.append([begun], 1_790_000_000.0)
    told = entries(store)
    while batch := list(islice(told, _BATCH)):
        chain.append(batch, 1_790_000_000.0)
    chain.close()
    (folder / "fence").write_text("1\n")


def entries(store: Store) -> Iterator[Entry]:
    for row in store.targets():
        target = Target(row.name)
        yield Claimed(target, row.identity or "")
        yield Covered(target)
        for found in store.objects(row.name):
            yield from _of(target, found)


def _of(target: Target, found: Object) -> Iterator[Entry]:
    marks = found.marks
    assert marks is not None, "everything generated bears marks"
    fields = dict(found.fields)
    if marks.applied != rest_digest(marks.ref, fields, protected=marks.protected):
        fields["memory"] //= 2  # what was changed by hand in a fleet that differs
    nics = fields.get("nics") or {}
    addresses = tuple(
        Address(_network(marks.ref, name), nic["ip"].partition("/")[0], nic["mac"]) for name, nic in nics.items()
    )
    sizes = [int(fields.get(name) or 0) for name in ("memory", "cpu", "disk")]
    sizes[2] += sum(disk.get("size", 0) for disk in (fields.get("disks") or {}).values())
    yield Bound(marks.ref, marks.uid, marks.incarnation, target, addresses, (sizes[0], sizes[1], sizes[2]))
    yield Settled(marks.ref, marks.uid, target, fields, marks.revision, protected=marks.protected)


def _network(machine: Ref, name: str) -> Ref:
    return make_ref("Network", name, None if name in SHARED else tenant_of(machine))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
