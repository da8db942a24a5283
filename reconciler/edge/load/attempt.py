"""One attempt to take a tree into force: the last good records, with the changes laid over them.

Owns: what is laid over, and committing it. Must not go here: reading (reading.py), what depends on what
(dependants.py), rules (judging.py).

Nothing of the last good tree is altered before `commit`; an attempt with findings is simply dropped.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from reconciler.core.desired import Demand, Limits, Resource
from reconciler.core.refs import Ref, tenant_of
from reconciler.driver import Capability
from reconciler.edge.held import NOTHING_HELD, Held
from reconciler.edge.load.document import Declared, Reading
from reconciler.edge.load.findings import Finding, Warning_
from reconciler.edge.load.lower import Lowered, lower_limits, lower_node
from reconciler.edge.load.machine import member_refs
from reconciler.edge.load.records import Document, Layer, Records, Total, Users
from reconciler.edge.load.tree import Tree

_LATELY = 256
"""Answers that are kept from one attempt to the next: a whole fleet read anew leaves more, and they go."""

Changes = Mapping[str, str | None]
"""Path → blob id, or None where the file is gone."""


class Unit(msgspec.Struct, eq=False):
    """A document read in this attempt."""

    document: Document
    index: int
    reading: Reading
    lowered: Lowered = msgspec.field(default_factory=Lowered)


class Attempt:
    def __init__(self, records: Records, tree: Tree, capabilities: Mapping[str, Capability]) -> None:
        self.records = records
        self.tree = tree
        self.capabilities = capabilities
        self.files = Layer(records.files)
        self.others = Layer(records.others)
        self.defaults = Layer(records.defaults)
        self.owners = Layer(records.owners)
        self.entries = Layer(records.entries)
        self.datacenters = Layer(records.datacenters)
        self.drivers = Layer(records.drivers)
        self.capacities = Layer(records.capacities)
        self.limits = Layer(records.limits)
        self.taken_from = Layer(records.taken_from)
        self.rules = Layer(records.rules)
        self.projects = Layer(records.projects)
        self.nodes = Layer(records.nodes)
        self.groups = Layer(records.groups)
        self.claims = Layer(records.claims)
        self.resources = Layer(records.resources)
        self.totals = Layer(records.totals)
        self.users = Users(records.users)
        self.units: dict[Document, Unit] = {}
        self.retired: dict[Document, None] = {}
        self.findings = [Finding(path, 0, (), *said, line=1, column=1) for path, said in tree.refused.items()]
        self.warnings: list[Warning_] = []
        self.held: Held = NOTHING_HELD
        """What images held before: they must hold it still."""
        self.broken: list[str] = []
        """Texts that could not be read, and names in doubt: what they declare is unknown, not missing."""
        self.dubious: list[Declared] = []
        """What nothing else can be judged by, being wrong itself; machines are not among them."""
        self.poisoned: set[Ref] = set()
        self.blobs: dict[str, str] = {}
        """Changed files, for those that could not be read at all."""

    def retire(self, one: Document) -> None:
        """The document is no more, or is read anew: all that it took is free again."""
        if one in self.retired:
            return
        self.retired[one] = None
        self.users.drop(one)
        for ref in one.refs:
            if self.owners.get(ref) is one:
                del self.owners[ref]
                self._withdraw(ref)
        for key in one.claims:
            if self.claims.get(key) is one:
                del self.claims[key]

    def _withdraw(self, ref: Ref) -> None:
        entry = self.entries.get(ref)
        if entry is not None:
            del self.entries[ref]
            self._register(entry, -1)
            self._total(entry.tenant).things -= 1
        if self.groups.get(ref) is not None:
            del self.groups[ref]
        made = self.resources.get(ref)
        if made is not None:
            del self.resources[ref]
            self.count(ref, made.demand, -1)

    def enter(self, declared: Declared, one: Document) -> None:
        """The document declares this. Whether another does as well is judged later (judging.py)."""
        for ref in names_of(declared):
            if self.owners.get(ref) is None:
                self.owners[ref] = one
        if declared.kind == "Machine":
            if declared.spec.replicas is not None and self.groups.get(declared.ref) is None:
                self.groups[declared.ref] = member_refs(declared)
        elif declared.dubious:
            self.dubious.append(declared)
        elif self.entries.get(declared.ref) is None:
            self.entries[declared.ref] = declared
            self._register(declared, 1)
            self._total(declared.tenant).things += 1

    def prefer(self, declared: Declared) -> None:
        """Of several that declare this, go on with this one: one tree gives the same mistakes always."""
        if declared.kind == "Machine":
            if declared.spec.replicas is not None:
                self.groups[declared.ref] = member_refs(declared)
        elif not declared.dubious:
            self.entries[declared.ref] = declared

    def _register(self, declared: Declared, sign: int) -> None:
        """Small indexes that are asked for on every attempt."""
        if declared.kind == "Datacenter":
            if sign > 0:
                self.datacenters[declared.ref] = declared
            else:
                del self.datacenters[declared.ref]
        elif declared.kind == "Image" and declared.spec.source.machine:
            if sign > 0:
                self.taken_from[declared.ref] = declared.spec.source.machine
            else:
                del self.taken_from[declared.ref]
        elif declared.kind == "Tenant":
            limits = lower_limits(declared)
            if sign > 0 and limits != Limits():
                self.limits[declared.name] = limits
            elif self.limits.get(declared.name) is not None:
                del self.limits[declared.name]
        elif declared.kind == "FirewallRule":
            if sign > 0:
                self.rules[declared.ref] = True
            else:
                del self.rules[declared.ref]
        elif declared.kind == "Node":
            driver = declared.spec.driver
            self.drivers[driver] = (self.drivers.get(driver) or 0) + sign
            has = (declared.spec.capacity.memory, declared.spec.capacity.disk)
            self.capacities[has] = (self.capacities.get(has) or 0) + sign
            if sign > 0:
                self.nodes[declared.name] = lower_node(declared)
            else:
                del self.nodes[declared.name]
            if declared.spec.tenants == "projects":
                self.projects["nodes"] = (self.projects.get("nodes") or 0) + sign

    def keep(self, made: Resource) -> None:
        self.resources[made.ref] = made
        self.count(made.ref, made.demand, 1)

    def _total(self, tenant: str | None) -> Total:
        key = tenant or ""
        total = self.totals.get(key)
        if total is None or key not in self.totals.over:
            total = msgspec.structs.replace(total) if total is not None else Total()
            self.totals[key] = total
        return total

    def count(self, ref: Ref, demand: Demand, many: int) -> None:
        """So many machines like this one, or volumes, come to a tenant, or go."""
        if not ref.startswith(("Machine/", "Volume/")):
            return
        total = self._total(tenant_of(ref))
        if ref.startswith("Machine/"):
            total.things += many
            total.machines += many
        total.memory += many * demand.memory
        total.cpu += many * demand.cpu
        total.disk += many * demand.disk

    def members(self, ref: Ref) -> tuple[Ref, ...] | None:
        """The machines behind a machine's or a group's ref; None if there is none such."""
        found = self.groups.get(ref)
        if found is not None:
            return found
        return (ref,) if self.owners.get(ref) is not None else None

    def commit(self) -> None:
        for layer in vars(self).values():
            if isinstance(layer, Layer) and layer.over:
                layer.commit()
        self.users.commit()
        if self.defaults.over or len(self.records.resolved) > _LATELY:
            self.records.resolved.clear()
        if not self.of_machines_alone or len(self.records.frames) > _LATELY:
            self.records.frames.clear()

    @property
    def of_machines_alone(self) -> bool:
        """Whether all that machines can name is as it was."""
        return not (
            self.entries.over or self.datacenters.over or self.drivers.over
            or self.dubious or self.poisoned or self.broken
        )  # fmt: skip


def names_of(declared: Declared) -> tuple[Ref, ...]:
    """The names that it takes: its own, and those of a group's machines."""
    if declared.kind != "Machine" or declared.spec.replicas is None:
        return (declared.ref,)
    return tuple(dict.fromkeys((declared.ref, *member_refs(declared))))
