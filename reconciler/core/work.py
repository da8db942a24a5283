"""From a decision to the work it means: action, fields after, marks, and the Holds in its way.

Owns: everything about one change that does not depend on other changes.
Must not go here: placement, addresses, budgets, order (planner and the modules it names).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any

import msgspec

from reconciler.core import rules
from reconciler.core.classify import Bucket
from reconciler.core.compare import compare, overlay, settled, takes_of, wanted_of, whole_cause
from reconciler.core.decide import Decision
from reconciler.core.desired import Demand, Resource
from reconciler.core.ledger import Address
from reconciler.core.moves import Departure, moving
from reconciler.core.observed import Marks, Object
from reconciler.core.placement import most, plus
from reconciler.core.plan import Action, Cause, Difference, Hold, Manner, Reason, rest_digest
from reconciler.core.refs import Ref, Target, Uid, kind_of, short
from reconciler.core.rules import Request
from reconciler.core.shape import NativeContext
from reconciler.core.values import replaced
from reconciler.core.world import World

KEPT = ("/disks/", "/project")
"""Of what cannot be changed, what a new object takes over as it was."""


class Work(msgspec.Struct):
    """One change in the making. Filled in by the planner's phases, then turned into a Change."""

    ref: Ref
    target: Target
    action: Action
    uid: Uid
    incarnation: int
    reason: Reason
    resource: Resource | None = None
    found: Object | None = None
    context: NativeContext | None = None
    after: Mapping[str, Any] | None = None
    settled: Mapping[str, Any] | None = None
    """What counts as applied once it is done: all that is desired but for what is withheld."""
    applied: str = ""
    differences: tuple[Difference, ...] = ()
    addresses: tuple[Address, ...] = ()
    former: Ref | None = None
    source: Target | None = None
    """Where it lives before, if it moves to `target`."""
    along: tuple[Ref, ...] = ()
    """The volumes that a machine takes with it as it moves."""
    waits_for: tuple[str, ...] = ()
    """The changes of this plan that give back the room that it takes; empty if there is room anyway."""
    marks: Marks | None = None
    """What it writes, where that is all it does: a pause on the thing itself, or its end."""
    apart: bool = False
    """It is of an old incarnation, beside the thing that bears the name now."""
    growth: Demand | None = None
    """See `grown`: worked out once, when it is part of the plan."""
    gift: Demand | None = None
    """See `freed_of`: likewise."""

    @property
    def id(self) -> str:
        return f"{self.ref}#{self.incarnation}@{self.target}" if self.apart else f"{self.ref}@{self.target}"


_ACTIONS = {
    Bucket.MISSING: Action.CREATE,
    Bucket.UNMADE: Action.CREATE,
    Bucket.VANISHED: Action.CREATE,
    Bucket.QUARANTINED: Action.RESTORE,
    Bucket.ORPHANED: Action.DESTROY,
    Bucket.EXPIRED: Action.PURGE,
    Bucket.MATCHED: Action.UPDATE,
}


def action_of(decision: Decision, differences: tuple[Difference, ...]) -> Action | None:
    """The action that the decision asks for; None where there is nothing to do but hold."""
    if decision.bucket is Bucket.MATCHED:
        if any([difference.manner is Manner.REPLACE for difference in differences]):
            return Action.REPLACE
        return Action.RENAME if decision.former is not None else Action.UPDATE
    return _ACTIONS.get(decision.bucket)


def holds_on(
    decision: Decision, action: Action | None, world: World, request: Request, *, gaps: tuple[Target, ...]
) -> Hold | None:
    """The first rule that withholds the whole decision. The order is that of certainty, then of people's wishes."""
    unclear = rules.unclear(decision)
    if decision.bucket is Bucket.VANISHED and request.heals(decision.ref):
        unclear = None
    if unclear is not None or action is None:
        return unclear
    appears = action in (Action.CREATE, Action.RESTORE) or decision.former is not None
    creating = appears and rules.is_single(decision.ref)
    found = (
        rules.paused(decision, world, action, request.now)
        or rules.kept_by_hand(decision, world, request)
        or rules.older_revision(decision, request.lineage)
        or rules.unwitnessed(decision, world, request.lineage)
        or rules.protected(decision, action)
        or (rules.uncovered(decision, gaps) if creating else None)
        or _in_use(decision, action, world)
        or rules.unproved(decision, world, action, request)
    )
    if found is None and not request.intent and _is_intent(decision, action, world, request):
        return Hold(
            decision.ref, "follow", "the loop does not follow git here", "trueup apply", decision.target, action
        )
    return found


def _is_intent(decision: Decision, action: Action, world: World, request: Request) -> bool:
    """Changes that come from git; updates are told apart field by field. A network or an image that was made and is
    gone was removed on the node; a machine is healed only by name."""
    if action is Action.CREATE and decision.binding is not None and decision.binding.sealed is not None:
        policy = world.desired.policy.drift if world.desired else ""
        return not (request.heals(decision.ref) or (policy == "heal" and not rules.is_single(decision.ref)))
    return action in (Action.CREATE, Action.DESTROY, Action.RESTORE, Action.RENAME, Action.PURGE, Action.MOVE)


def _in_use(decision: Decision, action: Action, world: World) -> Hold | None:
    """An image that something on the target was made from, in quarantine too, cannot go: clones stand on it. Nor can a
    project with anything in it."""
    if action is not Action.DESTROY or decision.target is None:
        return None
    if kind_of(decision.ref) == "Tenant":
        return rules.occupied(decision, world)
    if kind_of(decision.ref) != "Image":
        return None
    digest = decision.found.fields.get("digest") if decision.found else None
    users = [
        short(found.marks.ref) if found.marks else found.native_name
        for found in world.sights.objects(decision.target)
        if found.kind == "Machine" and found.fields.get("image") == digest
    ]
    if not users:
        return None
    others = f" and {len(users) - 1} more were" if len(users) > 1 else " was"
    sentence = f"{min(users)}{others} made from it"
    return Hold(decision.ref, "in-use", sentence, "wait for their purge", decision.target, action)


def matched(
    decision: Decision, world: World, differences: tuple[Difference, ...], action: Action, behind: str | None
) -> Work:
    """The work of an update, rename or replace. `behind`: what the marks lack."""
    found, resource, target = decision.found, decision.resource, decision.target
    assert found is not None, "a match is there"
    assert resource is not None, "a match is wanted"
    assert target is not None, "a match is somewhere"
    addresses = tuple([address for address in decision.addresses if address is not None])
    return Work(
        decision.ref,
        target,
        action,
        decision.uid or Uid(""),
        decision.incarnation,
        _reason(decision, differences, world, action=action, behind=behind),
        resource,
        found,
        world.context(resource, target, addresses),
        after=overlay(found.fields, differences),
        differences=differences,
        addresses=addresses,
        former=decision.former,
    )


def replaced_by(work: Work, decision: Decision, world: World) -> Work:
    """Turn a work into a replace: a new incarnation of all that is desired, but for a data disk that cannot shrink, and
    in the same project."""
    comparison = decision.comparison
    assert comparison is not None, "a replace comes of a comparison"
    after = dict(comparison.wanted)
    for difference in comparison.differences:
        if difference.manner is Manner.IMPOSSIBLE and difference.path.startswith(KEPT):
            after = replaced(after, difference.path, difference.before)
    work.action = Action.REPLACE
    work.uid, work.incarnation = world.mint(work.ref, max(world.incarnation(work.ref), work.incarnation) + 1)
    work.after = work.settled = after
    work.applied = rest_digest(work.ref, after, protected=work.resource.protected if work.resource else False)
    return work


def back(work: Work, decision: Decision, addresses: tuple[Address, ...], world: World) -> tuple[Work, tuple[Hold, ...]]:
    """The work of something that returns from quarantine: as it is wanted now, as far as the same thing can be that;
    where that takes a new one and it may be replaced (a replace was cut short), a new one is made beside it."""
    resource, found = decision.resource, decision.found
    assert resource is not None, "only what is wanted comes back"
    assert found is not None, "what is in quarantine is there"
    context = world.context(resource, work.target, addresses)
    last = decision.binding.applied if decision.binding is not None and decision.binding.uid == work.uid else None
    comparison = compare(resource, found, last, world.shape_of(work.target), context)
    decision = msgspec.structs.replace(decision, comparison=comparison)
    made, holds = rules.possible_differences(decision)
    work.resource, work.context, work.addresses = resource, context, addresses
    work.differences = tuple(each for each in made if each.path != "/state")
    if any(difference.manner is Manner.REPLACE for difference in made):
        work.reason = Reason("replaced", "what came before is in quarantine, and a new one takes its place")
        return replaced_by(work, decision, world), holds
    after = overlay(found.fields, made)
    work.after = {key: after[key] for key in (*comparison.wanted, *after) if key in after}
    work.settled = settled(comparison, made)
    work.applied = rest_digest(resource.ref, work.settled, protected=resource.protected)
    return work, holds


def leaving(work: Work, source: Target, along: tuple[Ref, ...], departure: Departure) -> Work:
    """Turn an update on the target where it will live into the move there."""
    work.action, work.source, work.along, work.reason = Action.MOVE, source, along, departure.reason
    work.differences = (moving(source, work.target, departure.cause), *work.differences)
    return work


def _reason(
    decision: Decision, differences: tuple[Difference, ...], world: World, *, action: Action, behind: str | None
) -> Reason:
    drain = world.drains.get(decision.target) if decision.target is not None else None
    if drain is not None and any(difference.cause is Cause.OPERATION for difference in differences):
        return Reason("drain", f"{decision.target} {drain.sentence}")
    if action is Action.RENAME:
        return Reason("renamed", f"renamed from {decision.former}")
    if not differences:
        return Reason("marks", behind or "its marks are behind")
    cause = whole_cause(differences)
    if cause is Cause.DRIFT:
        return Reason("drift", "it was changed on the node; git is put back")
    if cause is Cause.INTENT:
        return Reason("intent", "its document, or what it refers to, was changed")
    return Reason("both", "git was changed, and so was the node")


def made_new(work: Work, decision: Decision, addresses: tuple[Address, ...], world: World) -> Work:
    """Fill in what is desired of something that is made new, or comes back."""
    resource = decision.resource
    assert resource is not None, "only what is wanted is made"
    context = world.context(resource, work.target, addresses)
    work.resource, work.context, work.addresses = resource, context, addresses
    work.settled = work.after = wanted_of(resource, world.shape_of(work.target), context)
    work.applied = rest_digest(resource.ref, work.settled, protected=resource.protected)
    return work


REASONS = {
    Action.CREATE: Reason("new", "its document is new"),
    Action.RESTORE: Reason("back", "its document is back; the same thing returns from quarantine with its data"),
    Action.DESTROY: Reason("removed", "its document was removed"),
    Action.PURGE: Reason("expired", "its time in quarantine is over"),
}


def marks_of(work: Work, world: World) -> Marks:
    """The marks that the change leaves. The executor adds the fence."""
    assert world.desired is not None, "marks name the datacenter"
    generation = world.generation + 1
    if work.marks is not None:
        return msgspec.structs.replace(work.marks, generation=generation, fence=0)
    revision = world.desired.revision
    old = work.found.marks if work.found else None
    ended = old is not None and old.paused_until in world.ledger.lifted.get(old.ref, ())
    pause = old if not ended else None
    return Marks(
        uid=work.uid,
        ref=work.ref,
        datacenter=world.desired.datacenter_id,
        incarnation=work.incarnation,
        generation=generation,
        fence=0,
        revision=f"tree:{revision.tree}",
        applied=work.applied if work.resource is not None else (old.applied if old else ""),
        protected=work.resource.protected if work.resource is not None else False,
        quarantined_until=old.quarantined_until if old and work.action is Action.PURGE else None,
        paused_until=pause.paused_until if pause else None,
        paused_reason=pause.paused_reason if pause else None,
    )


def grown(work: Work, world: World) -> Demand:
    """What the change takes of its target beyond what the machine has now, or is remembered to have (never negative:
    a look may be older than our last write)."""
    if work.growth is None:
        work.growth = _grown(work, world)
    return work.growth


def _grown(work: Work, world: World) -> Demand:
    if work.resource is None:
        return Demand()
    wants = work.resource.demand
    if work.found is None:
        return wants
    has = takes_of(work.found.fields, wants)
    if work.found.lifecycle != "live":
        has = Demand(disk=has.disk)
    binding = world.binding(work.former or work.ref)
    if binding is not None and binding.quarantined_until is None and work.found.marks is not None:
        has = most(has, Demand(*binding.demand)) if binding.uid == work.found.marks.uid else has
    return most(plus(wants, has, -1), Demand())


class Freed(msgspec.Struct, frozen=True):
    """What changes of a plan give back on one target once they are done."""

    demand: Demand = Demand()
    by: tuple[str, ...] = ()
    """Their ids."""


def freed_by(works: Iterable[Work], world: World) -> dict[Target, Freed]:
    """What these give back, by target; a move does where it comes from."""
    freed: dict[Target, Freed] = {}
    for work in works:
        place, gives = work.target, freed_of(work, world)
        if work.source is not None:
            place, gives = work.source, together(world, (work.ref, *work.along))
        if gives != Demand():
            before = freed.get(place, Freed())
            freed[place] = Freed(plus(before.demand, gives), (*before.by, work.id))
    return freed


def together(world: World, refs: Iterable[Ref]) -> Demand:
    """What these take, as the world counts it."""
    return reduce(plus, (world.facts[ref].demand for ref in refs), Demand())


def freed_of(work: Work, world: World) -> Demand:
    """What one change gives back of what the world counts for its machine; in quarantine a machine keeps its disk."""
    if work.gift is None:
        work.gift = _freed_of(work, world)
    return work.gift


def _freed_of(work: Work, world: World) -> Demand:
    had = world.facts.get(work.former or work.ref)
    if had is None or had.target != work.target or not rules.is_single(work.ref) or work.found is None:
        return Demand()
    if work.action is Action.DESTROY:
        return Demand(had.demand.memory, had.demand.cpu)
    if work.action is Action.PURGE:
        return Demand() if work.apart else had.demand
    if work.action in (Action.UPDATE, Action.RENAME) and work.resource is not None:
        wants = work.resource.demand
        return most(plus(had.demand, most(wants, takes_of(work.after or {}, wants)), -1), Demand())
    return Demand()
