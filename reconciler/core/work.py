"""From a decision to the work it means: action, fields after, marks, and the Holds in its way.

Owns: everything about one change that does not depend on other changes.
Must not go here: placement, addresses, budgets, order (planner and the modules it names).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from reconciler.core import rules
from reconciler.core.classify import Bucket
from reconciler.core.compare import overlay, whole_cause
from reconciler.core.decide import Decision
from reconciler.core.desired import Demand, Resource
from reconciler.core.ledger import Address
from reconciler.core.observed import Marks, Object
from reconciler.core.plan import Action, Cause, Difference, Hold, Manner, Reason, rest_digest
from reconciler.core.refs import Ref, Target, Uid, kind_of
from reconciler.core.rules import Request
from reconciler.core.shape import NativeContext
from reconciler.core.world import World


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
    wanted: Mapping[str, Any] | None = None
    applied: str = ""
    differences: tuple[Difference, ...] = ()
    addresses: tuple[Address, ...] = ()
    former: Ref | None = None
    waits_for_room: bool = False
    """It fits only because of what other changes of the plan give back."""

    @property
    def id(self) -> str:
        return f"{self.ref}@{self.target}"


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
        if any(difference.manner is Manner.REPLACE for difference in differences):
            return Action.REPLACE
        return Action.RENAME if decision.former is not None else Action.UPDATE
    return _ACTIONS.get(decision.bucket)


def holds_on(decision: Decision, action: Action | None, world: World, request: Request) -> Hold | None:
    """The first rule that withholds the whole decision. The order is that of certainty, then of people's wishes."""
    unclear = rules.unclear(decision)
    if unclear is not None and not (decision.bucket is Bucket.VANISHED and request.heals(decision.ref)):
        return unclear
    if action is None:
        return None
    creating = action is Action.CREATE and rules.is_machine(decision.ref)
    found = (
        rules.paused(decision, world, request.now)
        or rules.kept_by_hand(decision, world)
        or rules.older_revision(decision, request.lineage)
        or rules.unwitnessed(decision, world, request.lineage)
        or rules.protected(decision, action)
        or (rules.uncovered(decision, world) if creating else None)
        or _in_use(decision, action, world)
        or _clock(decision, action, world, request.now)
    )
    if found is None and not request.intent and _is_intent(decision, action):
        return Hold(
            decision.ref, "follow", "the loop does not follow git here", "trueup apply", decision.target, action
        )
    return found


def _is_intent(decision: Decision, action: Action) -> bool:
    """Changes that come from git; updates are told apart field by field. What vanished comes here only to be healed."""
    if decision.bucket is Bucket.VANISHED:
        return False
    return action in (Action.CREATE, Action.DESTROY, Action.RESTORE, Action.RENAME, Action.PURGE)


def _in_use(decision: Decision, action: Action, world: World) -> Hold | None:
    """An image that something on the target was made from, in quarantine too, cannot go: clones stand on it."""
    if action is not Action.DESTROY or kind_of(decision.ref) != "Image" or decision.target is None:
        return None
    digest = decision.found.fields.get("digest") if decision.found else None
    users = [
        found.native_name
        for found in world.sights.objects(decision.target)
        if found.kind == "Machine" and found.fields.get("image") == digest
    ]
    if not users:
        return None
    sentence = f"{users[0]}{' and others were' if len(users) > 1 else ' was'} made from it"
    return Hold(decision.ref, "in-use", sentence, "wait for their purge", decision.target, action)


def _clock(decision: Decision, action: Action, world: World, now: float) -> Hold | None:
    """Invariant I8: no purge on the word of a clock that jumped since the last record."""
    policy = world.desired.policy if world.desired else None
    last = world.ledger.last_at
    if action is not Action.PURGE or policy is None or not last:
        return None
    if last - 60 <= now <= last + max(policy.quarantine, 86400):
        return None
    sentence = f"the clock moved by {(now - last) / 86400:+.1f} days since the last record"
    return Hold(decision.ref, "clock", sentence, "apply again: the next record dates anew", decision.target, action)


def matched(decision: Decision, world: World, differences: tuple[Difference, ...], action: Action) -> Work:
    """The work of an update, rename or replace."""
    comparison, found, resource, target = decision.comparison, decision.found, decision.resource, decision.target
    assert comparison is not None, "a match was compared"
    assert found is not None, "a match is there"
    assert resource is not None, "a match is wanted"
    assert target is not None, "a match is somewhere"
    after = overlay(found.fields, differences)
    replaces = action is Action.REPLACE
    addresses = tuple(address for address in decision.addresses if address is not None)
    return Work(
        decision.ref,
        target,
        action,
        decision.uid if not replaces and decision.uid else Uid(""),
        decision.incarnation + (1 if replaces else 0),
        _reason(decision, differences, action),
        resource,
        found,
        world.context(resource, target, addresses),
        after,
        comparison.wanted,
        comparison.applied,
        differences,
        addresses,
        decision.former,
    )


def _reason(decision: Decision, differences: tuple[Difference, ...], action: Action) -> Reason:
    if action is Action.RENAME:
        return Reason("renamed", f"renamed from {decision.former}")
    if not differences:
        behind = decision.comparison.marks if decision.comparison else None
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
    work.wanted = work.after = world.shape_of(work.target).native(resource, context)
    work.applied = rest_digest(resource.ref, work.wanted, protected=resource.protected)
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
    revision = world.desired.revision
    old = work.found.marks if work.found else None
    return Marks(
        uid=work.uid,
        ref=work.ref,
        datacenter=world.desired.datacenter_id,
        incarnation=work.incarnation,
        generation=world.generation + 1,
        fence=0,
        revision=f"tree:{revision.tree}",
        applied=work.applied if work.resource is not None else (old.applied if old else ""),
        protected=work.resource.protected if work.resource is not None else False,
        quarantined_until=old.quarantined_until if old and work.action is Action.PURGE else None,
        paused_until=old.paused_until if old else None,
        paused_reason=old.paused_reason if old else None,
    )


def grown(work: Work) -> Demand:
    """What the change takes of its target beyond what the machine has now (never negative)."""
    if work.resource is None:
        return Demand()
    wants = work.resource.demand
    if work.found is None or work.action is Action.RESTORE:
        return wants
    has = work.found.fields

    def more(name: str) -> int:
        have = has.get(name)
        return max(0, int(getattr(wants, name)) - (have if isinstance(have, int) else 0))

    return Demand(more("memory"), more("cpu"), more("disk"))
