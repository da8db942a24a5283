"""One-line constructors of what core works on: desired trees, reports, ledgers, planners.

Owns: sensible defaults, so that a test names only what it is about. Must not go here: assertions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from drivers.sim.shape import SimShape
from reconciler.core.desired import (
    Constraints,
    Demand,
    Desired,
    Lineage,
    NetworkFacts,
    NicWant,
    NodeWant,
    Policy,
    Resource,
    Revision,
)
from reconciler.core.ledger import Entry, Ledger, Record
from reconciler.core.observed import Capacity, Claim, Marks, Object, Report
from reconciler.core.plan import Change, Plan
from reconciler.core.planner import Planner
from reconciler.core.refs import Ref, Target, make_ref
from reconciler.core.rules import Request
from reconciler.core.values import canonical, digest, replaced

DATACENTER = "6f1c8f3e-4d0a-5f37-9d5b-0c8f1f6f2a11"
SHAPES = {"sim": SimShape()}
GiB = 1 << 30
MiB = 1 << 20
NOW = 1_800_000_000.0


def resource(ref: str, body: Mapping[str, Any], **more: Any) -> Resource:
    data = canonical(body)
    fresh = Resource(Ref(ref), "", data, **more)
    return msgspec.structs.replace(fresh, digest=digest(msgspec.to_builtins(fresh)))


def network(name: str = "app", tenant: str | None = "acme", *, subnet: str = "10.0.1.0/24", **facts: Any) -> Resource:
    base = subnet.rsplit(".", 1)[0]
    known = {"nic_tag": "fabric", "first": f"{base}.10", "last": f"{base}.250", "gateway": f"{base}.1", **facts}
    about = NetworkFacts(subnet=subnet, **known)
    body = {
        "nicTag": about.nic_tag, "vlan": about.vlan, "subnet": subnet, "gateway": about.gateway, "mtu": about.mtu,
        "nat": False,
    }  # fmt: skip
    return resource(make_ref("Network", name, tenant), body, network=about)


def image(name: str = "debian", *, content: str = "1", **body: Any) -> Resource:
    full = {
        "source": {"file": f"{name}.tar"},
        "digest": f"sha256:{content * 8}",
        "type": "rootfs",
        "os": "linux",
        **body,
    }
    return resource(make_ref("Image", name), full)


def volume(name: str = "shop", tenant: str = "acme", *, size: int = GiB, **more: Any) -> Resource:
    return resource(make_ref("Volume", name, tenant), {"size": size}, demand=Demand(disk=size), **more)


def machine(
    name: str = "web",
    tenant: str | None = "acme",
    *,
    memory: int = GiB,
    cpu: int | None = 1000,
    disk: int = 10 * GiB,
    nics: Iterable[str] = ("Network/acme/app",),
    ips: Mapping[str, str] | None = None,
    uses: Resource | None = None,
    body: Mapping[str, Any] | None = None,
    mounts: Iterable[str] = (),
    **more: Any,
) -> Resource:
    """A machine with the fields that matter; `uses`: its image, `body`: what is laid over it; `mounts`: volumes."""
    uses = uses or image()
    about = msgspec.json.decode(uses.body)
    wants = tuple(
        NicWant((Ref(each),), ip=(ips or {}).get(each), primary=index == 0) for index, each in enumerate(nics)
    )
    full = {
        "memory": memory, "swap": 0, "cpu": cpu, "cpuShares": 100, "disk": disk, "brand": "zone", "state": "running",
        "hostname": name,
        "image": {"name": uses.ref.rpartition("/")[2], "digest": about["digest"], "type": "rootfs", "os": "linux"},
        "nics": [{"networks": list(want.networks), "ip": want.ip, "primary": want.primary} for want in wants],
        **(body or {}),
    }  # fmt: skip
    if mounts:
        full["volumes"] = {each.rpartition("/")[2]: {"path": "/srv", "readOnly": False} for each in mounts}
    defaults: dict[str, Any] = {
        "references": (uses.ref, *(Ref(each) for each in (*nics, *mounts))),
        "demand": Demand(memory, cpu or 0, disk),
        "nics": wants,
        "constraints": Constraints(),
    }
    return resource(make_ref("Machine", name, tenant), full, **{**defaults, **more})


def node(name: str = "edge1", **more: Any) -> NodeWant:
    return NodeWant(**{"name": name, "driver": "sim", "digest": name, "nics": {"fabric": "eth0"}, **more})


def desired(*resources: Resource, nodes: Iterable[NodeWant] | None = None, policy: Policy | None = None) -> Desired:
    found = {each.ref: each for each in resources}
    tree = digest(sorted(each.digest for each in resources))
    return Desired(
        "ams1", DATACENTER, Revision(f"c-{tree[:8]}", tree, "main", "", "repo"), policy or Policy(),
        {each.name: each for each in (nodes if nodes is not None else [node()])}, found,
    )  # fmt: skip


def small_site(*machines: Resource, **more: Any) -> Desired:
    """An image, a network, and these machines."""
    return desired(image(), network(), *machines, **more)


def report(target: str = "edge1", objects: Iterable[Object] = (), *, claimed: bool = True, **more: Any) -> Report:
    identity = more.pop("identity", f"guid-{target}")
    found = tuple(objects)
    fresh = Report(
        **{
            "target": Target(target), "began": 10**9, "complete": True, "identity": identity,
            "claim": Claim(DATACENTER, identity) if claimed else None,
            "capacity": Capacity(64 * GiB, 32_000, 2000 * GiB), "objects": found, "digest": "", **more,
        }
    )  # fmt: skip
    return msgspec.structs.replace(fresh, digest=digest(msgspec.to_builtins(msgspec.structs.replace(fresh, began=0))))


def ledger(*entries: Entry, at: float = NOW - 3600) -> Ledger:
    return Ledger(Record(number, at, entry) for number, entry in enumerate(entries, 1))


def request(**more: Any) -> Request:
    return Request(**{"now": NOW, "lineage": Lineage(), **more})


def planner(wanted: Desired, *reports: Report, remembered: Ledger | None = None) -> Planner:
    made = Planner(SHAPES, remembered or Ledger())
    made.world.take_desired(wanted)
    for each in reports or (report(),):
        made.take_report(each)
    return made


def plan_of(wanted: Desired, *reports: Report, remembered: Ledger | None = None, **asked: Any) -> Plan:
    return planner(wanted, *reports, remembered=remembered).plan(request(**asked))


class Fleet:
    """Targets as plain values, on which a plan's predicted effects come true: what an honest driver does."""

    def __init__(self, *targets: str, claimed: bool = True) -> None:
        self.objects: dict[Target, dict[str, Object]] = {Target(each): {} for each in targets or ("edge1",)}
        self.claimed = {target: claimed for target in self.objects}
        self.records: list[Record] = []

    def reports(self) -> list[Report]:
        return [
            report(target, found.values(), claimed=self.claimed[target], began=len(self.records))
            for target, found in self.objects.items()
        ]

    def journal(self, *entries: Entry, at: float = NOW) -> None:
        for entry in entries:
            self.records.append(Record(len(self.records) + 1, at, entry))

    def ledger(self) -> Ledger:
        return Ledger(self.records)

    def plan(self, wanted: Desired, **asked: Any) -> Plan:
        return plan_of(wanted, *self.reports(), remembered=self.ledger(), **asked)

    def apply(self, plan: Plan, *, now: float = NOW) -> None:
        self.journal(*plan.entries, at=now)
        for change in plan.changes:
            self.take(change, now=now)

    def take(self, change: Change, *, now: float = NOW) -> None:
        for step in change.steps:
            self.journal(*step.on_intent, at=now)
            if step.verb == "claim":
                self.claimed[step.target] = True
            else:
                self._act(step, change, now)
            self.journal(*step.on_applied, at=now)

    def _act(self, step: Any, change: Change, now: float) -> None:
        here = self.objects[step.target]
        assert step.source is None or step.uid not in here, f"{step.id}: it is there already"
        old = self.objects[step.source or step.target].get(step.uid)
        mismatch = step.precondition.mismatch(old)
        assert mismatch is None, f"{step.id}: {mismatch}"
        if step.source is not None:
            del self.objects[step.source][step.uid]
            for uid in step.args.get("volumes", {}):
                here[uid] = self.objects[step.source].pop(uid)
        if step.effect.lifecycle == "absent":
            del here[step.uid]
            return
        fields: Mapping[str, Any] = old.fields if old else {}
        for path, value in step.effect.fields.items():
            fields = replaced(fields, path, value)
        marks = msgspec.convert(step.args["marks"], Marks)
        if step.verb == "quarantine":
            until = now + step.args["quarantine"]
            marks = msgspec.structs.replace(old.marks if old else marks, quarantined_until=until)
        kind = change.ref.partition("/")[0]
        made = Object(kind, step.uid, f"native-{step.uid}", fields, "", marks, step.effect.lifecycle)
        here[step.uid] = msgspec.structs.replace(made, digest=digest(msgspec.to_builtins(made)))
