"""The ledger anew, from git and the nodes: what `trueup journal rebuild` writes into an empty journal.

Owns: which entries restore ownership, bindings and addresses from what the objects bear themselves.
Must not go here: asking the nodes, writing the journal. What no node can tell (approvals, spent budgets) is not made
up: budgets count as spent for one window.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reconciler.core.budgets import NAMES, allowance, budget_of
from reconciler.core.desired import Budget, Desired
from reconciler.core.ledger import (
    Address,
    Applied,
    Bound,
    Claimed,
    Covered,
    Entry,
    Ledger,
    Paused,
    Quarantined,
    Settled,
    Spent,
)
from reconciler.core.observed import Marks, Object, Report
from reconciler.core.plan import rest_digest
from reconciler.core.refs import Ref, Target, make_ref, name_of, tenant_of
from reconciler.core.standing import declared_targets, lists_absence, standing


def rebuilt(desired: Desired, reports: Iterable[Report], now: float) -> tuple[Entry, ...]:
    """The entries, in an order that can be folded. Targets whose word does not count give nothing: creations wait for
    their coverage as with any new ledger. Raises nothing; what cannot be told is left out."""
    declared = declared_targets(desired.nodes)
    entries: list[Entry] = []
    newest: Marks | None = None
    machines = 0
    for report in sorted(reports, key=lambda report: report.target):
        state = standing(report.target, report, {}, desired.datacenter_id)
        if report.target not in declared or state.problem is not None:
            continue
        if report.claim is not None:
            entries.append(Claimed(report.target, report.claim.identity))
        for found in sorted(report.objects, key=lambda found: (found.kind, found.native_name, found.native_id)):
            marks = found.marks
            if marks is None or marks.datacenter != desired.datacenter_id:
                continue
            entries += _of_object(desired, report.target, found, marks, now)
            machines += found.kind == "Machine"
            if newest is None or (marks.generation, marks.fence) > (newest.generation, newest.fence):
                newest = marks
        if lists_absence(report.target, report, state, Ledger()) is None:
            entries.append(Covered(report.target))
    if newest is not None:
        entries.append(_applied(desired, newest))
    return (*entries, *_spent(desired, machines))


def _of_object(desired: Desired, target: Target, found: Object, marks: Marks, now: float) -> Iterator[Entry]:
    """What one object of ours says of its own past."""
    resource = desired.resources.get(marks.ref)
    demand = resource.demand if resource else None
    sizes = (demand.memory, demand.cpu, demand.disk) if demand else _sizes(found)
    yield Bound(marks.ref, marks.uid, marks.incarnation, target, _addresses(desired, marks.ref, found), sizes)
    if marks.applied == rest_digest(marks.ref, found.fields, protected=marks.protected):
        # Only then is what is there what was applied last; else the difference could be drift or intent.
        yield Settled(marks.ref, marks.uid, target, found.fields, marks.revision, protected=marks.protected)
    if marks.paused_until is not None and marks.paused_until > now:
        yield Paused(marks.ref, marks.paused_until, marks.paused_reason or "")
    if marks.quarantined_until is not None:
        left = max(marks.quarantined_until - now, 0.0)
        yield Quarantined(marks.ref, marks.uid, marks.incarnation, target, left)


def _sizes(found: Object) -> tuple[int, int, int]:
    memory, cpu, disk = (int(found.fields.get(name) or 0) for name in ("memory", "cpu", "disk"))
    return (memory, cpu, disk)


def _addresses(desired: Desired, ref: Ref, found: Object) -> tuple[Address, ...]:
    """In the order of the document's nics, so that they stay where they are."""
    nics = found.fields.get("nics") or {}
    resource = desired.resources.get(ref)
    wants = resource.nics if resource else ()
    order = [name_of(network) for want in wants for network in want.networks if name_of(network) in nics]
    names = [*dict.fromkeys(order), *sorted(name for name in nics if name not in order)]
    authored = {name_of(network): want.ip for want in wants for network in want.networks}
    return tuple(
        Address(
            _network(desired, ref, name),
            str(nics[name].get("ip", "")).partition("/")[0],
            str(nics[name].get("mac", "")),
            authored=bool(authored.get(name)),
        )
        for name in names
    )


def _network(desired: Desired, ref: Ref, name: str) -> Ref:
    """A nic bears its network's name alone: the tenant's own comes before the datacenter's."""
    resource = desired.resources.get(ref)
    named = [network for want in (resource.nics if resource else ()) for network in want.networks]
    own = make_ref("Network", name, tenant_of(ref))
    fits = [network for network in named if name_of(network) == name]
    return fits[0] if fits else own if own in desired.resources else make_ref("Network", name)


def _applied(desired: Desired, newest: Marks) -> Applied:
    """Where generations go on from. Its revision is no commit of ours to vouch for: deletions are held until one is
    accepted, or applied."""
    revision = desired.revision
    return Applied(
        plan="rebuild",
        generation=newest.generation,
        fence=newest.fence,
        revision=newest.revision,
        tree=newest.revision.removeprefix("tree:"),
        branch=revision.branch or "",
        root=revision.root,
        repository=revision.repository,
    )


def _spent(desired: Desired, machines: int) -> Iterator[Spent]:
    """What was destroyed, restarted and created before is not known: the windows count as used up."""
    about = make_ref("Datacenter", desired.datacenter)
    for name in NAMES:
        budget = budget_of(desired.policy, name)
        limits = [
            allowance(budget, (window, ""), lambda _: max(machines, 1)) or 0 for window in ("per hour", "per day")
        ]
        # One alone tells of nodes, racks and tenants that their hour is not known.
        for _ in range(max(*limits, int(budget != Budget()))):
            yield Spent(name, about, Target(""))
