"""The usual case, told quickly: a machine of which ledger, mark and object are of one mind, and that is just as wanted.

Owns: which machines surely are at rest, and what they take from the world. It may leave one out wrongly, never take one
in: what is left out is decided at length (decide).
Must not go here: what is done about a machine that is not at rest.
"""

from __future__ import annotations

import msgspec

from reconciler.core.blocks import grouped, packed
from reconciler.core.compare import marks_behind, sticky_addresses, wanted_of
from reconciler.core.desired import Resource
from reconciler.core.facts import Facts
from reconciler.core.glimpse import Glimpse, Kind, Resting
from reconciler.core.ledger import Address, Binding
from reconciler.core.moves import departure
from reconciler.core.observed import Object, Report
from reconciler.core.pauses import borne
from reconciler.core.plan import rest_digest, sealed_digest
from reconciler.core.refs import Ref, Target
from reconciler.core.sights import sum_of
from reconciler.core.values import canonical
from reconciler.core.world import World


def resting(world: World, target: Target) -> list[Ref]:
    """The machines of a target that surely are at rest. They are clean, their facts are up to date."""
    if target not in world.targets or world.standings[target].problem is not None or world.desired is None:
        return []
    mine, dirty, found = world.desired.datacenter_id, world.dirty, dict[Ref, Facts]()
    for ref, thing in world.sights.alone(target):
        if ref in dirty and thing.marks is not None and thing.marks.datacenter == mine:
            facts = _usual(world, ref, target, thing)
            if facts is not None:
                found[world.resources[ref].ref] = facts
    world.put_all(target, found)
    dirty.difference_update(found)
    return list(found)


def resting_as_told(world: World, glimpse: Glimpse) -> list[Ref]:
    """The same of those that a glimpse tells of, once it was taken in."""
    target, found = glimpse.report.target, dict[Ref, Facts]()
    dirty, alone = world.dirty, world.sights.is_alone
    for each, facts in glimpse.facts():
        if each.ref in dirty and alone(each.ref, target, each.identity):
            found[world.resources[each.ref].ref] = facts
    world.put_all(target, found)
    dirty.difference_update(found)
    return list(found)


def rests(world: World, ref: Ref) -> bool:
    """The same of one machine."""
    binding = world.ledger.bindings.sole(ref)
    found = world.only(ref, binding.target) if binding is not None else None
    return binding is not None and found is not None and _usual(world, ref, binding.target, found) is not None


def glimpsed(world: World, report: Report) -> Glimpse:
    """A target's first report told shortly. `world` knows all that is wanted and remembered; what it has seen itself
    does not count."""
    kinds: dict[Kind, int] = {}
    resting, others = list[Resting](), list[Object]()
    found = _surely(world, report)
    for each in report.objects:
        facts = found.get(each.marks.ref) if each.marks is not None else None
        if facts is None or each.marks is None:
            others.append(each)
            continue
        kind = Kind(facts.demand, tuple([network for network, _ in facts.addresses]), facts.needs)
        ips = tuple([ip for _, ip in facts.addresses])
        resting.append(Resting(each.marks.ref, sum_of(each.marks.uid), kinds.setdefault(kind, len(kinds)), ips))
    if not resting:
        return Glimpse(report, (), (), b"")
    short = msgspec.structs.replace(report, objects=tuple(others))
    return Glimpse(short, tuple(kinds), tuple(resting), packed(report.objects))


def _surely(world: World, report: Report) -> dict[Ref, Facts]:
    """Machines of a report that are at rest as far as it tells."""
    target, found = report.target, dict[Ref, Facts]()
    if report.claim is None or target not in world.targets or world.desired is None:
        return found
    world.presume(msgspec.structs.replace(report, objects=()))
    if world.standings[target].problem is not None:
        return found
    mine = world.desired.datacenter_id
    for ref, (thing, *others) in grouped(report.objects).items():
        if not others and thing.marks is not None and thing.marks.datacenter == mine:
            facts = _usual(world, ref, target, thing, alike=True)
            if facts is not None:
                found[ref] = facts
    return found


def _usual(world: World, ref: Ref, target: Target, found: Object, *, alike: bool = False) -> Facts | None:
    """What the machine takes from the world, if it is at rest; else None. `found`: the only one to bear its ref and
    its uid. `alike`: only of machines whose form is that of others, so that nothing that is seen need be asked for."""
    resource, binding, marks = world.resources.get(ref), world.ledger.bindings.sole(ref), found.marks
    if resource is None or binding is None or marks is None:
        return None
    if (binding.uid, binding.incarnation, binding.target) != (marks.uid, marks.incarnation, target):
        return None
    if found.lifecycle != "live" or found.unknown or binding.sealed is None or binding.quarantined_until is not None:
        return None
    if marks.paused_until is not None and borne(world.ledger, marks, 0.0) is not None:
        return None
    wants = resource.demand
    if binding.demand != (wants.memory, wants.cpu, wants.disk):
        return None
    if binding.moving is not None or departure(world, resource, target) is not None:
        return None
    mould = world.mould(resource, target)
    addresses = mould.addresses(resource, binding.addresses) if mould is not None else None
    if mould is None or addresses is None:
        return world.facts_of(ref) if not alike and _as_wanted(world, resource, binding, found) else None
    form = mould.form(ref, addresses)
    if form != canonical(found.fields):
        return None
    if marks_behind(resource, found, sealed_digest(ref, form, protected=resource.protected)) is not None:
        return None
    held = tuple(sorted([(address.network, address.ip) for address in addresses]))
    return Facts(target, wants, held, held, mould.needs)


def _as_wanted(world: World, resource: Resource, binding: Binding, found: Object) -> bool:
    """Whether what is there is of the form that is wanted, marks included: that form is made."""
    addresses: tuple[Address | None, ...] = sticky_addresses(resource, binding, world.current)
    if None in addresses:
        return False
    context = world.context(resource, binding.target, addresses)
    wanted = wanted_of(resource, world.shape_of(binding.target), context)
    applied = rest_digest(resource.ref, wanted, protected=resource.protected)
    return found.fields == wanted and marks_behind(resource, found, applied) is None
