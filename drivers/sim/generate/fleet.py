"""The fleet of a site: what a converged data centre holds, pod by pod.

Owns: objects, marks, and the share that differs. Must not go here: what is wanted (site).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from drivers.sim.generate import site as making
from drivers.sim.generate.site import Machine, Site
from drivers.sim.shape import SimShape
from drivers.sim.store import Found, Store, TargetRow
from reconciler.core.desired import NodeWant, Resource
from reconciler.core.ledger import Address
from reconciler.core.observed import Capacity, Claim, Marks, Object
from reconciler.core.plan import rest_digest
from reconciler.core.refs import Ref, Target, Uid, kind_of, mint, name_of, realisation_uid, short
from reconciler.core.values import digest
from reconciler.driver import NativeContext

ROOM = 1.5
"""What a node has, to what its machines take."""
_EVERY = 1000


def write(file: Path, site: Site, tree: str, progress: Callable[[str], object]) -> None:
    """Fill a new fleet's file; `tree` is the git tree that was applied last."""
    store = Store(str(file))
    filler = _Filler(store, site, f"tree:{tree}")
    done = 0
    for nodes, machines in site.pods():
        on: dict[int, list[Machine]] = {number: [] for number in nodes}
        for machine in machines:
            on[machine.node].append(machine)
        with store.writing():
            for number in nodes:
                filler.node(number, on[number])
        done += len(nodes)
        if done % _EVERY == 0:
            progress(f"{done} nodes filled")
    store.close()


class _Filler:
    """Writes one node after the other."""

    def __init__(self, store: Store, site: Site, revision: str) -> None:
        self.store = store
        self.site = site
        self.revision = revision
        self.shape = SimShape()
        self.references: dict[Ref, Resource] = {}
        self.uids: dict[Ref, Uid] = {}

    def node(self, number: int, machines: list[Machine]) -> None:
        want = self.site.node(number)
        target = Target(want.name)
        objects = [self._machine(machine, want, target) for machine in machines]
        objects += [self._shared(ref, tenant, want, target) for ref, tenant in sorted(_needed(machines).items())]
        found = [
            Found(target, Object(kind, native, digest([target, place])[:16], fields, "", marks))
            for place, (kind, native, fields, marks) in enumerate(objects, 1)
        ]
        total = self.store.put_all(found)
        identity = f"sim-{target}-1"
        claim = Claim(self.site.datacenter_id, identity, 1, 1)
        row = TargetRow(target, want.name, identity, _capacity(machines), tuple(want.nics), claim, len(found), total)
        self.store.put_target(row)

    def _machine(self, machine: Machine, node: NodeWant, target: Target) -> tuple[str, str, Mapping[str, Any], Marks]:
        resource = machine.resource()
        addresses = machine.addresses()
        for address in addresses:
            self._reference(address.network, machine.tenant)
        fields = self._native(resource, node, target, addresses)
        applied = rest_digest(resource.ref, fields, protected=resource.protected)
        if machine.differs():
            fields = {**fields, "memory": fields["memory"] * 2}
            if machine.number % 2:
                # Applied by an earlier revision; the others were changed by hand.
                applied = rest_digest(resource.ref, fields, protected=resource.protected)
        marks = self._marks(machine.uid, resource.ref, applied, protected=resource.protected)
        return "Machine", marks.uid, fields, marks

    def _shared(
        self, ref: Ref, tenant: int, node: NodeWant, target: Target
    ) -> tuple[str, str, Mapping[str, Any], Marks]:
        resource = self._reference(ref, tenant)
        fields = self._native(resource, node, target, ())
        uid = self.uids.get(ref) or self.uids.setdefault(ref, mint(self.site.datacenter_id, ref, 1))
        applied = rest_digest(ref, fields, protected=False)
        return kind_of(ref), short(ref), fields, self._marks(realisation_uid(uid, target), ref, applied)

    def _native(
        self, resource: Resource, node: NodeWant, target: Target, addresses: tuple[Address, ...]
    ) -> Mapping[str, Any]:
        return self.shape.native(resource, NativeContext(node, target, addresses, self.references))

    def _reference(self, ref: Ref, tenant: int) -> Resource:
        known = self.references.get(ref)
        if known is None:
            known = making.image(name_of(ref)) if kind_of(ref) == "Image" else making.network(ref, tenant)
            self.references[ref] = known
        return known

    def _marks(self, uid: Uid, ref: Ref, applied: str, *, protected: bool = False) -> Marks:
        return Marks(uid, ref, self.site.datacenter_id, 1, 1, 1, self.revision, applied, protected)


def _needed(machines: Iterable[Machine]) -> dict[Ref, int]:
    """Networks and images that these machines refer to, each with a tenant."""
    needed: dict[Ref, int] = {}
    for machine in machines:
        needed[Ref(f"Image/{machine.image}")] = machine.tenant
        for name in machine.networks:
            needed[making.network_ref(name, machine.tenant)] = machine.tenant
    return needed


def _capacity(machines: Iterable[Machine]) -> Capacity:
    sizes = [making.PACKAGES[machine.package] for machine in machines]
    disks = sum(sum(machine.disks.values()) for machine in machines)
    memory, cpu, disk = (sum(size[key] for size in sizes) for key in ("memory", "cpu", "disk"))
    gi = making.Gi
    whole = [-(-round(value * ROOM) // gi) * gi for value in (memory + 64 * gi, disk + disks + 512 * gi)]
    return Capacity(whole[0], round(cpu * ROOM) + 16_000, whole[1])
