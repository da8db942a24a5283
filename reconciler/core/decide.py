"""What one ref is in want of, from its own facts alone: no request, no budget, no placement.

Owns: from the world to Decisions, one ref at a time, so that a planner can keep the decisions of refs that nothing
touched. Must not go here: what depends on other refs (planner), or on how the plan was asked for (rules).
"""

from __future__ import annotations

import msgspec

from reconciler.core.classify import Bucket, Case, classify
from reconciler.core.compare import Comparison, as_wanted, compare, sticky_addresses
from reconciler.core.desired import Resource
from reconciler.core.ledger import Address, Binding
from reconciler.core.moves import Departure, departure
from reconciler.core.observed import Object
from reconciler.core.refs import SINGLE, Ref, Target, Uid, kind_of
from reconciler.core.world import World


class Decision(msgspec.Struct, frozen=True):
    """One ref on one target (None: not placed yet), not at rest."""

    ref: Ref
    bucket: Bucket
    target: Target | None
    uid: Uid | None = None
    incarnation: int = 1
    resource: Resource | None = None
    found: Object | None = None
    binding: Binding | None = None
    addresses: tuple[Address | None, ...] = ()
    """Sticky ones; None where one must be allocated first, and then `comparison` is still to be made."""
    comparison: Comparison | None = None
    former: Ref | None = None
    departure: Departure | None = None
    """Why it may not stay where it is."""
    detail: str = ""

    @property
    def allocates(self) -> bool:
        return None in self.addresses

    @property
    def placeless(self) -> bool:
        """A machine that needs a place, after all that give some back."""
        return (
            kind_of(self.ref) in SINGLE
            and self.resource is not None
            and self.bucket in (Bucket.MISSING, Bucket.UNMADE, Bucket.VANISHED, Bucket.QUARANTINED)
        )


def decide_machine(world: World, ref: Ref, now: float) -> tuple[Decision, ...]:
    """The decisions of a machine that is not at rest; empty if it is."""
    resource = world.resource(ref)
    heir = renamed_to(world, ref)
    if heir is not None and _taken_over(world, ref, heir):
        return ()
    seen, binding, former = world.seen(ref), world.binding(ref), None
    source = resource.former if resource is not None else None
    if source is not None and not world.known(source):
        source = None  # the name alone: there is nothing to take over
    if source is not None and renamed_to(world, source) == ref and _taken_over(world, source, ref):
        seen = (*(pair for pair in seen if pair[1].lifecycle == "quarantined"), *world.seen(source))
        binding, former = world.binding(source), source
    shared = [other for _, found in seen if found.marks for other in world.others(found.marks.uid, ref, former)]
    if shared:
        detail = f"{ref} and {shared[0]}"
        return (Decision(ref, Bucket.CONFLICT, seen[0][0], resource=resource, binding=binding, detail=detail),)
    unreadable = None
    if binding is not None:
        unreadable = next((why for place in binding.places if (why := world.unreadable(place))), None)
        if not any(found.lifecycle == "live" and _bears(found, binding) for _, found in seen):
            for place in binding.places:
                world.waits_on(place, ref)
    decisions = []
    for each in classify(resource, seen, binding, unreadable, now):
        case = _sure(world, ref, each)
        decision = _of_case(world, ref, resource if case.bucket is not Bucket.EXPIRED else None, case, former)
        if decision is not None:
            decisions.append(decision)
    return tuple(decisions)


def _sure(world: World, ref: Ref, case: Case) -> Case:
    """What was seen in quarantine before our last write there may be back since: only a fresh look is acted on."""
    if case.bucket is not Bucket.QUARANTINED or case.target is None or world.fresh(case.target):
        return case
    world.waits_on(case.target, ref)
    detail = "it was seen in quarantine before our last write there had ended"
    return Case(Bucket.UNKNOWN, case.target, None, case.binding, detail)


def _bears(found: Object, binding: Binding) -> bool:
    return found.marks is not None and found.marks.uid == binding.uid


def renamed_to(world: World, ref: Ref) -> Ref | None:
    """The resource that this name was given up for, if the name is no longer wanted for itself."""
    if world.resource(ref) is not None:
        return None
    return min(world.heirs(ref), default=None)


def _taken_over(world: World, source: Ref, ref: Ref) -> bool:
    """Whether the thing under the former name becomes that of the new one: there is one, and the new name has none
    that lives. One in quarantine under the new name gives way to a living one."""
    if not world.lives(source):
        return world.binding(ref) is None and world.binding(source) is not None
    return not world.lives(ref)


def _of_case(world: World, ref: Ref, resource: Resource | None, case: Case, former: Ref | None) -> Decision | None:
    if case.bucket is Bucket.RESTING or (case.bucket is Bucket.LEFTOVER and case.binding is None):
        return None
    marks = case.found.marks if case.found else None
    binding = case.binding
    leaves = None
    if resource is not None and case.bucket is Bucket.MATCHED:
        assert case.target is not None, "what is there is somewhere"
        leaves = departure(world, resource, case.target)
    decision = Decision(
        ref,
        case.bucket,
        case.target,
        uid=marks.uid if marks else (binding.uid if binding else None),
        incarnation=_incarnation(world, ref, case, former),
        resource=resource,
        found=case.found,
        binding=binding,
        addresses=sticky_addresses(resource, binding, world.current) if resource is not None else (),
        former=former if case.bucket is not Bucket.EXPIRED else None,
        departure=leaves,
        detail=case.detail,
    )
    if resource is None:
        return decision
    if case.bucket is Bucket.UNKNOWN and former is None and not _wants_else(world, resource, binding):
        return None
    if case.bucket is not Bucket.MATCHED or decision.allocates:
        return decision
    return compared(world, decision)


def _incarnation(world: World, ref: Ref, case: Case, former: Ref | None) -> int:
    """That of the thing; for a thing that takes over a name, one more than any that bore it."""
    marks = case.found.marks if case.found else None
    own = marks.incarnation if marks else (case.binding.incarnation if case.binding else None)
    if own is not None and former is None:
        return own
    highest = world.incarnation(ref)
    return max(own or 1, highest + 1)


def _wants_else(world: World, resource: Resource, binding: Binding | None) -> bool:
    """Whether a machine that cannot be seen is wanted other than it was applied. Only its own fields tell: what was
    not settled, or of another size, or in another place."""
    if binding is None or binding.sealed is None or binding.quarantined_until is not None:
        return True
    if binding.moving is not None or departure(world, resource, binding.target) is not None:
        return True
    sizes = (resource.demand.memory, resource.demand.cpu, resource.demand.disk)
    return binding.demand not in ((0, 0, 0), sizes) or binding.protected != resource.protected


def compared(world: World, decision: Decision) -> Decision | None:
    """The decision with its comparison; None if the object turns out to be at rest."""
    assert decision.resource is not None, "only what is wanted is compared"
    assert decision.found is not None, "only what is there is compared"
    assert decision.target is not None, "what is there is somewhere"
    context = world.context(decision.resource, decision.target, decision.addresses)
    binding = decision.binding
    last = binding.applied if binding is not None and binding.uid == decision.uid else None
    comparison = compare(decision.resource, decision.found, last, world.shape_of(decision.target), context)
    if comparison.at_rest and decision.departure is None:
        return None
    return msgspec.structs.replace(decision, comparison=comparison)


def decide_realisation(world: World, ref: Ref, target: Target, *, needed: bool = False) -> Decision | None:
    """A Network or Image on one target. `needed`: a machine of this very plan will need it there."""
    resource = world.resource(ref)
    if not world.realised(ref, target):
        return None
    heir = renamed_to(world, ref)
    if heir is not None and not world.seen_on(heir, target):
        return None
    seen, former = world.seen_on(ref, target), None
    if resource is not None and len(seen) == 1 and _as_wanted(world, resource, seen[0], target):
        return None
    source = resource.former if resource is not None else None
    if not seen and source is not None and renamed_to(world, source) == ref:
        seen = world.seen_on(source, target)
        former = source if seen else None
    binding = world.ledger.bindings.get((former or ref, target))
    base = Decision(ref, Bucket.MISSING, target, resource=resource, binding=binding, former=former)
    if len(seen) > 1:
        names = ", ".join(found.native_name for found in seen)
        return msgspec.structs.replace(base, bucket=Bucket.CONFLICT, detail=names)
    if seen:
        found = seen[0]
        base = msgspec.structs.replace(base, found=found, uid=found.marks.uid if found.marks else None)
        if resource is None:
            return msgspec.structs.replace(base, bucket=Bucket.ORPHANED)
        return compared(world, msgspec.structs.replace(base, bucket=Bucket.MATCHED))
    return _unseen(world, base, target, needed=needed)


def _as_wanted(world: World, resource: Resource, found: Object, target: Target) -> bool:
    return as_wanted(resource, found, world.shape_of(target), world.context(resource, target))


def _unseen(world: World, base: Decision, target: Target, *, needed: bool) -> Decision | None:
    """Not there, as far as can be told: to be made where it is needed, forgotten where it is not wanted."""
    ref, why = base.ref, world.unreadable(target)
    world.waits_on(target, ref)
    if base.resource is None:
        leftover = base.binding is not None and why is None
        return msgspec.structs.replace(base, bucket=Bucket.LEFTOVER) if leftover else None
    if not (needed or target in world.needs.get(ref, ())):
        return None
    if why is not None:
        quiet = not needed and base.binding is not None and _as_applied(world, base, base.binding, target)
        return None if quiet else msgspec.structs.replace(base, bucket=Bucket.UNKNOWN, detail=why)
    uid, incarnation = world.mint(ref, 1, target)
    return msgspec.structs.replace(base, uid=uid, incarnation=incarnation)


def _as_applied(world: World, base: Decision, binding: Binding, target: Target) -> bool:
    """Whether a realisation that cannot be seen is wanted just as it was applied last: then there is nothing to say."""
    if base.resource is None or binding.applied is None:
        return False
    return world.shape_of(target).native(base.resource, world.context(base.resource, target)) == binding.applied
