"""The usual case, told quickly: a machine of which ledger, mark and object are of one mind, and that is just as wanted.

Owns: which machines surely are at rest, and what they take from the world. It may leave one out wrongly, never take one
in: what is left out is decided at length (decide).
Must not go here: what is done about a machine that is not at rest.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from reconciler.core.bindings import Row
from reconciler.core.blocks import block, block_of, ref_of, written
from reconciler.core.compare import as_wanted, marks_behind, sticky_addresses
from reconciler.core.desired import Resource
from reconciler.core.facts import Facts, Resting
from reconciler.core.glimpse import Glimpse
from reconciler.core.ledger import Address
from reconciler.core.moves import departure
from reconciler.core.observed import Object, Report, Told, Unread
from reconciler.core.pauses import borne
from reconciler.core.plan import sealed_digest
from reconciler.core.refs import Ref, Target, Uid
from reconciler.core.sights import sum_of
from reconciler.core.values import canonical
from reconciler.core.words import Values
from reconciler.core.world import World

LOOSE = 20_000
"""As many objects take some 25 MB as they are, and compressing them all takes as long as a third of deciding."""

Listed = Sequence[Object | Unread]


def resting(world: World, target: Target) -> list[Ref]:
    """The machines of a target that surely are at rest. They are clean, their facts are up to date."""
    if target not in world.targets or world.standings[target].problem is not None or world.desired is None:
        return []
    mine, dirty, look = world.desired.datacenter_id, world.dirty, _Look(world, target)
    single: dict[Ref, Facts] = {}
    for ref, thing in world.sights.alone(target):
        if ref not in dirty or thing.marks is None or thing.marks.datacenter != mine:
            continue
        facts = look.alone(ref, thing) if look.takes(ref, thing) is None else None
        if facts is not None:
            single[world.resources[ref].ref] = facts
    for ref, facts in single.items():
        world.put_facts(ref, facts)
    dirty.difference_update(single)
    return [*single, *_put(world, target, look.taken)]


def resting_as_told(world: World, target: Target, told: Resting) -> list[Ref]:
    """The same of those that a glimpse tells of, once it was taken in."""
    others = set(told.refs) - world.dirty
    others.update(world.sights.crowded(target, told.refs, told.identities))
    return _put(world, target, told.but(others) if others else told)


def _put(world: World, target: Target, found: Resting) -> list[Ref]:
    world.put_resting(target, found)
    world.dirty.difference_update(found.refs)
    return found.refs


def rests(world: World, ref: Ref) -> bool:
    """The same of one machine."""
    row, resource, words = world.ledger.bindings.row(ref), world.resources.get(ref), world.ledger.bindings.words.values
    if row is None or resource is None or not _as_large(row, resource, words):
        return False
    target: Target = words[row.target]
    found = world.only(ref, target)
    if found is None:
        return False
    look = _Look(world, target)
    taken = look.takes(ref, found)
    return look.alone(ref, found) is not None if taken is None else taken


def glimpsed(world: World, report: Report | Told, *, loose: int = LOOSE) -> Glimpse:
    """A target's first report told shortly. `world` knows all that is wanted and remembered; what it has seen itself
    does not count. `loose`: of how many things wanted at most the objects are not compressed."""
    if isinstance(report, Told):
        listed: Listed = report.unread
        first = _parted(world, report.report, listed, lambda place: written(report.written[place]))
    else:
        listed, first = report.objects, parted(world, report)
    if first is None or not first[1].refs:
        return Glimpse(report.opened() if isinstance(report, Told) else report, None)
    whole = block_of([*map(ref_of, listed)], report.written) if isinstance(report, Told) else block(report.objects)
    if len(world.resources) > loose:
        return Glimpse(*first, zlib.compress(whole, 1), compressed=True)
    return Glimpse(*first, whole)


def parted(world: World, report: Report) -> tuple[Report, Resting] | None:
    """A target's first report without the machines that are at rest as far as it tells, and they; None if the target is
    not one whose word counts."""
    return _parted(world, report, report.objects, report.objects.__getitem__)


def _parted(
    world: World, report: Report, listed: Listed, opened: Callable[[int], Object]
) -> tuple[Report, Resting] | None:
    """The same. `listed`: what it lists; `opened`: the object at this place there."""
    desired = world.desired
    if report.claim is None or desired is None or not world.presume(report):
        return None
    look = _Look(world, report.target)
    others = look.among(listed, desired.datacenter_id)
    return msgspec.structs.replace(report, objects=tuple([*map(opened, others)])), look.taken


class _Look:
    """At the machines of one target. Of each that is asked for it is known that nobody else there bears its ref."""

    def __init__(self, world: World, target: Target) -> None:
        bindings = world.ledger.bindings
        self._world, self._target, self._resources = world, target, world.resources
        self._row, self._words, self._mould = bindings.row, bindings.words.values, world.moulds(target)
        self.taken = Resting([], [], [], [], [])
        """Of whom it was said that they are at rest, and that others are like them."""
        self._numbers: dict[int, int] = {}
        """Places of kinds, by the identity of the pattern, which the world keeps."""

    def among(self, listed: Listed, mine: str) -> list[int]:
        """Takes those that are at rest as far as their target tells, and of a form that others have too, so that
        nothing that is seen need be asked for. The places of all else."""
        others, bear = list[int](), Counter([*map(ref_of, listed)])
        for place, each in enumerate(listed):
            marks = each.marks
            if marks is None or marks.datacenter != mine or bear[marks.ref] > 1 or not self.takes(marks.ref, each):
                others.append(place)
        return others

    def takes(self, ref: Ref, found: Object | Unread) -> bool | None:
        """Whether it is at rest; None if its form is not that of others, so that it has to be asked for alone."""
        bound = self._of_one_mind(ref, found)
        if bound is None:
            return False
        resource, row, uid = bound
        mould = self._mould(resource)
        held = mould.held(resource, row.addresses, self._words) if mould is not None else None
        if mould is None or held is None:
            return None
        form = mould.form(ref, held)
        if form != (bytes(found.fields) if isinstance(found, Unread) else canonical(found.fields)):
            return False  # or of another spelling: who looks at it at length will tell
        if marks_behind(resource, found, sealed_digest(ref, form, protected=resource.protected)) is not None:
            return False
        pattern, taken = mould.pattern, self.taken
        number = self._numbers.get(id(pattern))
        if number is None:
            number = self._numbers[id(pattern)] = len(taken.kinds)
            taken.kinds.append(pattern.kind)
        taken.refs.append(resource.ref)
        taken.identities.append(sum_of(uid))
        taken.kind.append(number)
        taken.ips.append(tuple([held[place][1] for place in pattern.order]))
        return True

    def alone(self, ref: Ref, found: Object) -> Facts | None:
        """What it takes from the world, if what is there is of the form that is wanted, marks included: that form is
        made."""
        world, binding, bound = self._world, self._world.ledger.bindings.sole(ref), self._of_one_mind(ref, found)
        assert bound is not None, "what is not of one mind is not asked for"
        assert binding is not None, "what is of one mind is remembered"
        addresses: tuple[Address | None, ...] = sticky_addresses(bound[0], binding, world.current)
        if None in addresses:
            return None
        context = world.context(bound[0], self._target, addresses)
        return world.facts_of(ref) if as_wanted(bound[0], found, world.shape_of(self._target), context) else None

    def _of_one_mind(self, ref: Ref, found: Object | Unread) -> tuple[Resource, Row, Uid] | None:
        """What is wanted and remembered of it, and its uid, if its marks say the same and nothing is under way."""
        resource, row, marks = self._resources.get(ref), self._row(ref), found.marks
        if resource is None or row is None or marks is None:
            return None
        if (row.uid, row.incarnation) != (marks.uid, marks.incarnation) or self._words[row.target] != self._target:
            return None
        if found.lifecycle != "live" or found.unknown or not row.sealed or row.quarantined_until is not None:
            return None
        if marks.paused_until is not None and borne(self._world.ledger, marks, 0.0) is not None:
            return None
        if row.moving or not _as_large(row, resource, self._words):
            return None
        return (resource, row, marks.uid) if departure(self._world, resource, self._target) is None else None


def _as_large(row: Row, resource: Resource, words: Values) -> bool:
    """Whether room for just what is wanted is remembered. `words`: what the row's numbers stand for."""
    wants = resource.demand
    return bool(words[row.demand] == (wants.memory, wants.cpu, wants.disk))
