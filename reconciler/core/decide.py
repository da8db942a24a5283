"""What one ref is in want of, from its own facts alone: no request, no budget, no placement.

Owns: from the world to Decisions, one ref at a time, so that a planner can keep the decisions of refs that nothing
touched. Must not go here: what depends on other refs (planner), or on how the plan was asked for (rules).
"""

from __future__ import annotations

import msgspec

from reconciler.core.classify import Bucket, Case, classify
from reconciler.core.compare import Comparison, compare, sticky_addresses
from reconciler.core.desired import Resource
from reconciler.core.ledger import Address, Binding
from reconciler.core.observed import Object
from reconciler.core.refs import Ref, Target, Uid, kind_of, mint, node_of, realisation_uid
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
    detail: str = ""

    @property
    def allocates(self) -> bool:
        return any(address is None for address in self.addresses)


_UNSEEN = (Bucket.UNKNOWN, Bucket.UNMADE, Bucket.VANISHED, Bucket.LEFTOVER, Bucket.RESTING)
"""What rests on what the target it is bound to does not list."""


def decide(world: World, ref: Ref, now: float) -> tuple[Decision, ...]:
    """The decisions of a machine that is not at rest; empty if it is, or if it is none."""
    return _decide_machine(world, ref, now) if kind_of(ref) == "Machine" else ()


def _decide_machine(world: World, ref: Ref, now: float) -> tuple[Decision, ...]:
    resource = world.resource(ref)
    if resource is None and _renamed_to(world, ref) is not None:
        return ()
    seen, binding, former = world.seen(ref), world.binding(ref), None
    source = resource.behaviour.renamed_from if resource is not None else None
    if source is not None and not seen and binding is None and _renamed_to(world, source) == ref:
        seen, binding, former = world.seen(source), world.binding(source), source
    unreadable = world.unreadable(binding.target) if binding is not None else None
    decisions = []
    for case in classify(resource, seen, binding, unreadable, now):
        if case.bucket in _UNSEEN and case.target is not None:
            world.waiting.setdefault(case.target, set()).add(ref)
        decision = _of_case(world, ref, resource if case.bucket is not Bucket.EXPIRED else None, case, former)
        if decision is not None:
            decisions.append(decision)
    return tuple(decisions)


def _renamed_to(world: World, ref: Ref) -> Ref | None:
    """The resource that this name was given up for, if the name is no longer wanted for itself."""
    if world.resource(ref) is not None:
        return None
    return world.renames.get(ref)


def _of_case(world: World, ref: Ref, resource: Resource | None, case: Case, former: Ref | None) -> Decision | None:
    if case.bucket is Bucket.RESTING or (case.bucket is Bucket.LEFTOVER and case.binding is None):
        return None
    marks = case.found.marks if case.found else None
    binding = case.binding
    incarnation = marks.incarnation if marks else (binding.incarnation if binding else _next(world, ref))
    decision = Decision(
        ref,
        case.bucket,
        case.target,
        uid=marks.uid if marks else (binding.uid if binding else None),
        incarnation=incarnation,
        resource=resource,
        found=case.found,
        binding=binding,
        former=former,
        detail=case.detail,
    )
    if resource is None:
        return decision
    decision = msgspec.structs.replace(decision, addresses=sticky_addresses(resource, binding))
    if case.bucket is Bucket.UNKNOWN and not _wants_else(resource, binding):
        return None
    if case.bucket is not Bucket.MATCHED or decision.allocates:
        return decision
    return compared(world, decision)


def _wants_else(resource: Resource, binding: Binding | None) -> bool:
    """Whether a machine that cannot be seen is wanted other than it was applied. Only its own fields tell: what was
    not settled, or of another size."""
    if binding is None or binding.applied is None:
        return True
    sizes = (resource.demand.memory, resource.demand.cpu, resource.demand.disk)
    return binding.demand not in ((0, 0, 0), sizes) or binding.protected != resource.protected


def compared(world: World, decision: Decision) -> Decision | None:
    """The decision with its comparison; None if the object turns out to be at rest."""
    assert decision.resource is not None, "only what is wanted is compared"
    assert decision.found is not None, "only what is there is compared"
    assert decision.target is not None, "what is there is somewhere"
    if decision.target not in world.targets:
        return None
    context = world.context(decision.resource, decision.target, decision.addresses)
    last = decision.binding.applied if decision.binding else None
    comparison = compare(decision.resource, decision.found, last, world.shape_of(decision.target), context)
    wanted_node = decision.resource.constraints.node
    misplaced = wanted_node is not None and wanted_node not in (decision.target, node_of(decision.target))
    if comparison.at_rest and not misplaced:
        return None
    detail = f"the document asks for node {wanted_node}" if misplaced else ""
    return msgspec.structs.replace(decision, comparison=comparison, detail=detail)


def decide_realisation(world: World, ref: Ref, target: Target, *, needed: bool = False) -> Decision | None:
    """A Network or Image on one target. `needed`: a machine of this very plan will need it there."""
    resource = world.resource(ref)
    if not world.realised(ref, target):
        return None
    seen = world.seen_on(ref, target)
    binding = world.ledger.bindings.get((ref, target))
    uid = realisation_uid(mint(world.desired.datacenter_id if world.desired else "", ref, 1), target)
    base = Decision(ref, Bucket.MISSING, target, uid=uid, resource=resource, binding=binding)
    if len(seen) > 1:
        names = ", ".join(found.native_name for found in seen)
        return msgspec.structs.replace(base, bucket=Bucket.CONFLICT, detail=names)
    if seen:
        found = seen[0]
        uid = found.marks.uid if found.marks else uid
        base = msgspec.structs.replace(base, found=found, uid=uid)
        if resource is None:
            return msgspec.structs.replace(base, bucket=Bucket.ORPHANED)
        return compared(world, msgspec.structs.replace(base, bucket=Bucket.MATCHED))
    if resource is None or not (needed or target in world.needs.get(ref, ())):
        return None
    why = world.unreadable(target)
    if why is not None:
        world.waiting.setdefault(target, set()).add(ref)
        return msgspec.structs.replace(base, bucket=Bucket.UNKNOWN, detail=why)
    return base


def _next(world: World, ref: Ref) -> int:
    """1 + the highest incarnation known of the ref in ledger, live or quarantined."""
    known = [found.marks.incarnation for _, found in world.seen(ref) if found.marks]
    return 1 + max([world.ledger.incarnations.get(ref, 0), *known])
