"""From declared things to the core's nouns: Resource, NodeWant, Policy. Machines are in machine.py.

Owns: the bodies of Network, Image and Volume, and what a node and a datacenter come to.
Must not go here: comparing things with each other (checks.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from reconciler.core.desired import (
    Behaviour,
    Budget,
    Constraints,
    Demand,
    Drain,
    Limits,
    NetworkFacts,
    NodeMember,
    NodeWant,
    Policy,
    Resource,
)
from reconciler.core.refs import Ref, make_ref, name_of
from reconciler.core.values import canonical, digest
from reconciler.edge.load.catalog import Catalog, Problem
from reconciler.edge.load.document import Declared
from reconciler.edge.load.findings import Finding, Path
from specs import plain
from specs.plain import Image, Network, Node, Volume
from specs.rules import SOURCES

T = TypeVar("T")


class Lowered(msgspec.Struct):
    """What a document came to. `uses`: keys whose change makes it worth another look: refs, `file:PATH`, and
    `nics:REF` (the machine's document)."""

    resources: list[Resource] = msgspec.field(default_factory=list)
    uses: set[str] = msgspec.field(default_factory=set)
    findings: list[Finding] = msgspec.field(default_factory=list)
    claims: list[tuple[str, Finding]] = msgspec.field(default_factory=list)
    """What only one document may have: an address, a MAC. The finding is the one to report if another has it."""


class Lowering:
    """One declared thing being lowered: collects what it uses and what is wrong."""

    def __init__(self, declared: Declared, catalog: Catalog, out: Lowered) -> None:
        self.declared, self.catalog, self.out = declared, catalog, out

    def wrong(self, path: Path, summary: str, fix: str = "") -> None:
        self.out.findings.append(self.declared.finding(path, summary, fix))

    def reference(self, kinds: tuple[str, ...], written: str, path: Path) -> Ref | None:
        """The ref behind a name; None after reporting why there is none."""
        found = self.catalog.find(kinds, self.declared.tenant, written)
        if isinstance(found, Problem):
            if not found.quiet:
                self.wrong(path, found.summary, found.fix)
            return None
        self.out.uses.add(found)
        return found

    def claim(self, key: str, path: Path, summary: str, fix: str) -> None:
        self.out.claims.append((key, self.declared.finding(path, summary, fix)))


_raw = msgspec.json.Encoder(order="sorted")


_ONES: dict[Any, Any] = {}
_MOST = 100_000


def sole(value: T) -> T:
    """The one object of this value: machines that are alike share their bodies and small records."""
    if len(_ONES) > _MOST:
        _ONES.clear()
    found: T = _ONES.setdefault(value, value)
    return found


def resource(ref: Ref, body: dict[str, Any] | bytes, **fields: Any) -> Resource:
    """A Resource with its body in canonical bytes and its digest."""
    data = sole(body if isinstance(body, bytes) else canonical(body))
    made = Resource(ref=ref, digest="", body=data, **fields)
    msgspec.structs.force_setattr(made, "digest", digest(spelled(made)))  # nobody has seen it yet
    return made


def spelled(made: Resource) -> bytes:
    """What a resource's digest is of: a JSON array that begins with the ref."""
    parts = (
        made.ref, msgspec.Raw(made.body), made.references, made.demand, made.nics, made.constraints, made.protected,
        made.behaviour, made.network,
    )  # fmt: skip
    return _raw.encode(parts)


def drop_none(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def dumped(model: Any) -> Any:
    """The resolved spec as plain values, in the words it was written in, without what was not said."""
    return _said(msgspec.to_builtins(model))


def _said(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _said(each) for key, each in value.items() if each is not None}
    return [_said(each) for each in value] if isinstance(value, list) else value


def lower_network(lowering: Lowering) -> None:
    declared, catalog = lowering.declared, lowering.catalog
    spec: Network = declared.spec
    first, _, last = (spec.range or "").partition("-")
    mtu = catalog.mtu(spec)
    body = {
        "nicTag": spec.nic_tag,
        "vlan": spec.vlan or None,
        "subnet": spec.subnet,
        "range": [first, last] if spec.range else None,
        "gateway": spec.gateway,
        "resolvers": spec.resolvers,
        "routes": spec.routes,
        "mtu": mtu,
        "nat": spec.nat,
        "reserved": spec.reserved,
        "tenants": sorted(spec.tenants) if spec.tenants is not None else None,
        "forwards": forwarded(lowering) or None,
    }
    facts = NetworkFacts(
        nic_tag=spec.nic_tag,
        subnet=spec.subnet,
        first=first or None,
        last=last or None,
        gateway=spec.gateway,
        reserved=tuple(spec.reserved),
        vlan=spec.vlan or None,
        mtu=mtu,
    )
    lowering.out.resources.append(
        resource(
            declared.ref,
            drop_none(body),
            network=facts,
            behaviour=_renamed(lowering),
            parties=receivers(body),
        )
    )


def forwarded(lowering: Lowering) -> list[dict[str, Any]]:
    """What the network's body says of its forwards: the machine by its ref."""
    found = []
    for position, forward in enumerate(lowering.declared.spec.forwards):
        machine = _one_machine(lowering, forward.to, ("forwards", position, "to"))
        if machine is not None:
            lowering.out.uses.add(f"nics:{machine}")
            found.append({"listen": forward.listen, "to": machine, "ports": sorted(forward.ports or ["any"])})
    return found


def receivers(body: Mapping[str, Any]) -> tuple[Ref, ...]:
    """The machines that a network's body forwards to."""
    return tuple(sorted({Ref(forward["to"]) for forward in body.get("forwards") or ()}))


def lower_image(lowering: Lowering) -> None:
    declared = lowering.declared
    spec: Image = declared.spec
    origin = lowering.reference(("Image",), spec.origin, ("origin",)) if spec.origin else None
    source: dict[str, str] = source_of(spec)
    machine = _one_machine(lowering, spec.source.machine, ("source", "machine")) if spec.source.machine else None
    if machine is not None:
        source = {"machine": machine}
    body = {
        "source": source,
        "digest": image_digest(spec),
        "type": spec.type,
        "os": spec.os,
        "requirements": dumped(spec.requirements),
        "origin": origin,
    }
    lowering.out.resources.append(
        resource(
            declared.ref,
            drop_none(body),
            references=tuple(ref for ref in (origin, machine) if ref is not None),
            behaviour=_renamed(lowering),
        )
    )


def _one_machine(lowering: Lowering, written: str, here: Path) -> Ref | None:
    """The one machine that is meant: not a group."""
    ref = lowering.reference(("Machine",), written, here)
    members = lowering.catalog.members(ref) if ref is not None else None
    if members is None or len(members) == 1:
        return members[0] if members else None
    lowering.wrong(here, f"{written} is {len(members)} machines", f"name one: {name_of(members[0])}")
    return None


def lower_volume(lowering: Lowering) -> None:
    declared = lowering.declared
    spec: Volume = declared.spec
    if spec.node is not None:
        lowering.out.uses.add(make_ref("Node", spec.node.partition("/")[0]))
    behaviour = msgspec.structs.replace(_renamed(lowering), drift=spec.drift)
    lowering.out.resources.append(
        resource(
            declared.ref,
            {"size": spec.size},
            demand=Demand(disk=spec.size),
            constraints=Constraints(node=spec.node),
            protected=spec.deletion_protection,
            behaviour=behaviour,
        )
    )


def source_of(spec: Image) -> dict[str, str]:
    return {name: value for name in SOURCES if (value := getattr(spec.source, name)) is not None}


def image_digest(spec: Image) -> str:
    """Of the contents, or, where they are built, of the recipe."""
    return spec.digest or "recipe:" + digest(source_of(spec))


def _renamed(lowering: Lowering) -> Behaviour:
    declared = lowering.declared
    if declared.renamed_from is None:
        return Behaviour()
    return Behaviour(renamed_from=renamed_ref(declared))


def renamed_ref(declared: Declared) -> Ref | None:
    """`renamedFrom` as a ref: in the same tenant, unless a scope is written."""
    written = declared.renamed_from
    if written is None:
        return None
    scope, slash, name = written.partition("/")
    tenant = (None if scope == "datacenter" else scope) if slash else declared.tenant
    return Ref(
        f"{declared.kind}/{tenant}/{name if slash else written}" if tenant else f"{declared.kind}/{name or written}"
    )


def lower_node(declared: Declared) -> NodeWant:
    spec: Node = declared.spec
    body = canonical(dumped(spec))
    want = NodeWant(
        name=declared.name,
        driver=spec.driver,
        digest=digest(body),
        address=spec.address or "",
        nics=dict(spec.nics),
        rack=spec.rack,
        traits=dict(spec.traits),
        reserve=drop_none({"memory": spec.reserve.memory, "cpu": spec.reserve.cpu, "disk": spec.reserve.disk}),
        cordon=spec.cordon,
        drain=_drain(spec.drain),
        members={
            name: NodeMember(
                rack=member.rack or spec.rack,
                traits={**spec.traits, **member.traits},
                cordon=member.cordon,
                drain=_drain(member.drain),
            )
            for name, member in spec.members.items()
        },
        projects=spec.tenants == "projects",
        body=body,
    )
    return want


def _drain(said: plain.Drain | None) -> Drain | None:
    return Drain(said.how, said.reason, said.by) if said is not None else None


_DEFAULT = Policy()


def lower_limits(tenant: Declared) -> Limits:
    return Limits(**msgspec.structs.asdict(tenant.spec.limits))


def lower_policy(spec: plain.Datacenter, limits: Mapping[str, Limits]) -> Policy:
    """`limits`: of the tenants that have any."""
    rules, placement = spec.policy, spec.placement
    return Policy(
        follow=spec.follow,
        drift=spec.drift,
        destroys=_budget(rules.budgets.destroys, _DEFAULT.destroys),
        restarts=_budget(rules.budgets.restarts, _DEFAULT.restarts),
        creates=_budget(rules.budgets.creates, _DEFAULT.creates),
        quarantine=int(rules.quarantine),
        protect=frozenset(rules.protect),
        overprovision=msgspec.structs.asdict(placement.overprovision),
        reserve=drop_none(msgspec.structs.asdict(placement.reserve)),
        limits=dict(limits),
    )


def _budget(spec: plain.Budget, default: Budget) -> Budget:
    """Each window as written; a window that is not keeps its default."""
    fields: dict[str, Any] = {}
    for window in ("per_plan", "per_hour", "per_day", "per_node", "per_rack", "per_tenant"):
        given: plain.Allowance | None = getattr(spec, window)
        if given is not None:
            fields[window] = given.count
            fields[window + "_share"] = given.share or 0
    return msgspec.structs.replace(default, **fields) if fields else default


def interned(make: Callable[[], T], memory: dict[bytes, T], key: Any) -> T:
    """The one object that equals what `make` gives: a fleet shares its small records."""
    spelled = _raw.encode(key)
    found = memory.get(spelled)
    if found is None:
        if len(memory) > 100_000:
            memory.clear()
        found = memory[spelled] = make()
    return found
