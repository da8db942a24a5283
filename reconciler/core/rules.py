"""The guard rules: each takes a decision and returns a Hold, or nothing.

Owns: which wanted changes are withheld, the words for it, and what would lift each. One function a rule.
Must not go here: making changes. Reasons given here are for people; nothing else reads them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from reconciler.core import pauses
from reconciler.core.classify import Bucket
from reconciler.core.desired import Lineage, Policy
from reconciler.core.ledger import Held, Ledger
from reconciler.core.plan import Action, Cause, Difference, Hold, Manner, Step
from reconciler.core.refs import SINGLE, Ref, Target, Uid, kind_of, name_of, node_of, short
from reconciler.core.render.quantities import duration
from reconciler.core.rests import Instant

if TYPE_CHECKING:  # who asks for a plan needs a Request, and none of what makes one
    from reconciler.core.decide import Decision
    from reconciler.core.world import World

OLDER, OLDER_LIFTS = "this revision is older than what was applied last", "trueup accept REVISION, to go back"
PROTECTION_LIFTS = "commit `deletionProtection: false` for it and apply that first"
CLOCK_LIFTS = "time; or, if the clock is right: trueup accept --clock"
GAPS_LIFT = "make it answer, or trueup forget Node/NAME"


class Request(msgspec.Struct, frozen=True):
    """How a plan was asked for: `now` in unix seconds, the lineage that witnesses removals, and what is wished."""

    now: float
    lineage: Lineage = Lineage()
    heal: frozenset[Ref] = frozenset()
    heal_all: bool = False
    intent: bool = True
    """False: only drift is acted on (`follow: off`, or `approve` in the unattended loop)."""
    only: frozenset[Ref] | None = None
    """Refs that the plan is limited to; others are left out, not held."""
    clock: Instant | None = None
    """What the host's clocks say at `now`, so that no purge follows from a clock that jumped; None: who asks vouches
    for `now`."""

    def heals(self, ref: Ref) -> bool:
        return self.heal_all or ref in self.heal


def _hold(decision: Decision, rule: str, sentence: str, lifts: str, wanted: Action | None = None) -> Hold:
    return Hold(decision.ref, rule, sentence, lifts, target=decision.target, wanted=wanted)


def paused(decision: Decision, world: World, action: Action, now: float) -> Hold | None:
    """The thing is paused, under this name or the one that it is to give up, or its node is."""
    marks = decision.found.marks if decision.found else None
    for ref in (decision.ref, decision.former):
        pause = pauses.standing(world.ledger, ref, marks, now) if ref is not None else None
        if pause is not None:
            return pauses.hold(pause, decision.ref, decision.target, action)
    pause = pauses.of_node(world.ledger, decision.target, now)
    return pauses.hold(pause, decision.ref, decision.target, action) if pause is not None else None


def kept_by_hand(decision: Decision, world: World, request: Request) -> Hold | None:
    """An undo or a restore without a commit: the ref rests until its document changes, or it is healed."""
    held = world.ledger.held.get(decision.ref)
    if held is None or not _keeps(held, world, request):
        return None
    return Hold(decision.ref, "kept", held.reason, _kept_lifts(held), decision.target)


def standing_kept(world: World, request: Request) -> tuple[Hold, ...]:
    """A Hold for everything that is kept by hand, whether anything is wanted of it or not."""
    return tuple(
        Hold(ref, "kept", held.reason, _kept_lifts(held), world.where(ref))
        for ref, held in sorted(world.ledger.held.items())
        if _keeps(held, world, request)
    )


def _keeps(held: Held, world: World, request: Request) -> bool:
    resource = world.resource(held.ref)
    return held.digest == (resource.digest if resource is not None else "") and not request.heals(held.ref)


def _kept_lifts(held: Held) -> str:
    what = "to go back" if held.way == "heal" else "to let git have it"
    return f"commit what is wanted; {what}: trueup {held.way} {short(held.ref)}"


def older_revision(decision: Decision, lineage: Lineage) -> Hold | None:
    """Invariant I12: an older revision never undoes a newer one."""
    if not lineage.older:
        return None
    return _hold(decision, "older", OLDER, OLDER_LIFTS)


def unwitnessed(decision: Decision, world: World, lineage: Lineage) -> Hold | None:
    """Invariant I13: only a removal that the applied range shows is a removal."""
    if decision.bucket is not Bucket.ORPHANED or lineage.accepted:
        return None
    if lineage.broken is not None:
        sentence = f"its document is not there, but {lineage.broken}"
    elif decision.ref in lineage.removed or decision.ref in world.ledger.witnessed:
        return None
    else:
        sentence = "its document is not there, but no commit since the last apply removed it"
    return _hold(decision, "witness", sentence, "trueup accept REVISION", Action.DESTROY)


def protected(decision: Decision, action: Action) -> Hold | None:
    """Invariant I7: protection outlives the document; lifting takes its own reviewed change first."""
    remembered = _protection(decision)
    if action not in (Action.DESTROY, Action.REPLACE, Action.PURGE) or not remembered:
        return None
    return _hold(
        decision,
        "protected",
        "it is protected against deletion",
        PROTECTION_LIFTS,
        action,
    )


def unclear(decision: Decision) -> Hold | None:
    """What cannot be acted on because of what was, or could not be, seen (invariants I1, I2)."""
    ref = short(decision.ref)
    if decision.bucket is Bucket.CONFLICT:
        return _hold(
            decision,
            "conflict",
            f"more than one object bears its marks: {decision.detail}",
            "remove all but one by hand",
        )
    if decision.bucket is Bucket.UNKNOWN:
        return _hold(
            decision,
            "unknown",
            f"it is bound to {decision.target}, of which nothing is known: {decision.detail}",
            "make the node answer",
        )
    if decision.bucket is Bucket.VANISHED:
        lifts = f"trueup heal {ref} makes a new one; trueup forget {ref} gives it up"
        sentence = f"it was made on {decision.target} and is gone, without a destroy of ours"
        return _hold(decision, "vanished", sentence, lifts, Action.CREATE if decision.resource else None)
    return None


def uncovered(decision: Decision, gaps: tuple[Target, ...]) -> Hold | None:
    """Invariant I2: no creation while an object of this name may live where nobody has looked. `gaps`: targets that
    cannot be read and have not been listed since the ledger began."""
    if not gaps:
        return None
    return _hold(decision, "coverage", _gaps(gaps), GAPS_LIFT, Action.CREATE)


def unlisted_addresses(ref: Ref, target: Target, action: Action, gaps: tuple[Target, ...]) -> Hold:
    """No address is taken while somebody may have it where nobody has looked."""
    return Hold(ref, "coverage", f"it would take an address, and {_gaps(gaps)}", GAPS_LIFT, target, action)


def _gaps(gaps: tuple[Target, ...]) -> str:
    more = " …" if len(gaps) > 3 else ""
    return f"{', '.join(gaps[:3])}{more} has not been listed completely since this ledger began"


def unproved(decision: Decision, world: World, action: Action, request: Request) -> Hold | None:
    """Invariant I8: nothing is purged on the word of a clock alone."""
    if action is not Action.PURGE or request.clock is None:
        return None
    assert decision.uid is not None, "what is purged has an identity"
    why = _unproved(world.ledger, decision.uid, request.clock)
    return _hold(decision, "clock", why, CLOCK_LIFTS, action) if why is not None else None


def unrested(ledger: Ledger, step: Step, clock: Instant) -> str | None:
    """The executor's own look before something is purged: None, or why not."""
    return _unproved(ledger, step.uid, clock)


def _unproved(ledger: Ledger, uid: Uid, clock: Instant) -> str | None:
    left = ledger.rests.unproved(uid, clock)
    if left is None:
        return "it was put into quarantine by another controller, and no time server says that this clock is right"
    return f"by the clock its time in quarantine is over; {duration(left)} of it are not proved" if left else None


def claim_held(ref: Ref, target: Target, world: World, request: Request) -> Hold | None:
    """A claim is a change like any other: it waits for who paused the node, and comes from git."""
    pause = pauses.of_node(world.ledger, target, request.now)
    if pause is not None:
        return pauses.hold(pause, ref, target, Action.ADOPT)
    if request.lineage.older:
        return Hold(ref, "older", OLDER, OLDER_LIFTS, target, Action.ADOPT)
    if not request.intent:
        return Hold(ref, "follow", "the loop does not follow git here", "trueup apply", target, Action.ADOPT)
    return None


def occupied(decision: Decision, world: World) -> Hold | None:
    """A tenant's project goes when nothing is in it, in quarantine neither; what is left in it is never taken along."""
    assert decision.found is not None, "what is to go was seen"
    assert decision.target is not None, "what was seen is somewhere"
    inside = (found.native_name for found in world.inside(name_of(decision.ref), decision.target))
    held = sorted({*decision.found.holds, *inside})
    if not held:
        return None
    sentence = f"{held[0]}{f' and {len(held) - 1} more are' if len(held) > 1 else ' is'} in its project"
    lifts = "wait for the purge of what is ours; what people made there they take away themselves"
    return _hold(decision, "in-use", sentence, lifts, Action.DESTROY)


def abandoned(world: World) -> tuple[Hold, ...]:
    """Invariant I13: the document of a node is missed until nothing of ours lives there."""
    holds = []
    for target in sorted(world.abandoned):
        count = len(world.homes.get(target, ()))
        if count:
            sentence = f"its document was removed, and {count} machine{'s' if count > 1 else ''} of ours may live there"
            lifts = f"bring the document back, or trueup forget Node/{node_of(target)}"
            holds.append(Hold(f"Node/{target}", "node", sentence, lifts, target, Action.FORGET))
    return tuple(holds)


def stuck(decision: Decision, why: str, lifts: str) -> Hold:
    """It is where it should not be, and cannot be moved now."""
    assert decision.departure is not None, "only what should leave is stuck"
    sentence = f"it lives on {decision.target}, but {decision.departure.reason.sentence}; {why}"
    return _hold(decision, "move", sentence, lifts, Action.MOVE)


def standing_drains(world: World) -> tuple[Hold, ...]:
    """A Hold for every target whose machines are stopped for now, so that each plan shows it."""
    holds = []
    for target, drain in sorted(world.drains.items()):
        count = sum(world.resource(ref) is not None for ref in world.homes.get(target, ()))
        if drain.how == "stop" and count:
            sentence = f"it {drain.sentence}; what lives there ({count}) stays stopped until that is lifted"
            lifts = f"take `drain` out of Node/{node_of(target)}"
            holds.append(Hold(f"Node/{target}", "drain", sentence, lifts, target))
    return tuple(holds)


def on_the_way(
    decision: Decision, differences: tuple[Difference, ...]
) -> tuple[tuple[Difference, ...], tuple[Hold, ...]]:
    """Of the differences that may be made those that a machine can take along as it moves; the others wait until it has
    moved."""
    taken = tuple(each for each in differences if each.manner is not Manner.REPLACE and each.path[:6] != "/disks")
    later = tuple(each for each in differences if each not in taken)
    if not later:
        return taken, ()
    hold = Hold(decision.ref, "move", "it moves first", "the next plan", decision.target, Action.UPDATE, later)
    return taken, (hold,)


def marks_may(decision: Decision, behind: str | None, request: Request) -> bool:
    """Whether marks that are behind may be written alone: they come from git, but for a heal that was cut short."""
    comparison = decision.comparison
    unfinished = comparison is not None and comparison.last == comparison.wanted
    return behind is not None and (request.intent or decision.former is not None or unfinished)


def allowed_differences(
    decision: Decision, policy: Policy, request: Request
) -> tuple[tuple[Difference, ...], tuple[Hold, ...]]:
    """The differences that may be made, and the Holds for those that may not. What was changed on the node is put back
    as the policy says, but never by a new object unless somebody asks for just that: whoever can write on the object
    could have it set aside."""
    comparison, resource = decision.comparison, decision.resource
    assert comparison is not None, "a match was compared"
    assert resource is not None, "a match is wanted"
    drift = resource.behaviour.drift or policy.drift
    heal = drift == "heal" or request.heals(decision.ref)
    made: list[Difference] = []
    held: dict[str, list[Difference]] = {}
    guarded = _protection(decision)
    for difference in comparison.differences:
        asked = heal if difference.manner is not Manner.REPLACE else request.heals(decision.ref)
        rule = _withheld(difference, heal=asked, intent=request.intent, replace=resource.behaviour.replace)
        if rule == "drift" and drift == "off":
            continue
        if rule is None and guarded and loses_disk(difference):
            rule = "protected"
        if rule is None:
            made.append(difference)
        else:
            held.setdefault(rule, []).append(difference)
    holds = [_difference_hold(decision, rule, tuple(held[rule])) for rule in sorted(held)]
    if comparison.unknown:
        path, why = comparison.unknown[0]
        holds.append(_hold(decision, "unknown", f"{path[1:]} could not be read: {why}", "make it readable"))
    return tuple(made), tuple(holds)


def possible_differences(decision: Decision) -> tuple[tuple[Difference, ...], tuple[Hold, ...]]:
    """The differences that something can take with it as it comes back from quarantine, whoever made them."""
    comparison, resource = decision.comparison, decision.resource
    assert comparison is not None, "what comes back was compared"
    assert resource is not None, "what comes back is wanted"
    made: list[Difference] = []
    held: dict[str, list[Difference]] = {}
    for difference in comparison.differences:
        rule = _withheld(difference, heal=True, intent=True, replace=resource.behaviour.replace)
        (made if rule is None else held.setdefault(rule, [])).append(difference)
    return tuple(made), tuple(_difference_hold(decision, rule, tuple(held[rule])) for rule in sorted(held))


def _withheld(difference: Difference, *, heal: bool, intent: bool, replace: bool) -> str | None:
    if difference.cause is Cause.DRIFT and not heal:
        return "drift"
    if difference.cause is not Cause.DRIFT and not intent:
        return "both" if difference.cause is Cause.BOTH else "follow"
    if difference.manner is Manner.IMPOSSIBLE:
        return "impossible"
    if difference.manner is Manner.MOVE:
        return "move"
    if difference.manner is Manner.REPLACE and not replace:
        return "replace"
    return None


def _protection(decision: Decision) -> bool:
    """Remembered on the object and by us, so that neither a deleted file nor a deleted line lifts it."""
    marks = decision.found.marks if decision.found else None
    return bool(marks and marks.protected) or bool(decision.binding and decision.binding.protected)


def loses_disk(difference: Difference) -> bool:
    """A data disk goes: a difference of it, or of `/disks` where it is the last one."""
    depth = difference.path.count("/")
    return difference.path.startswith("/disks") and depth < 3 and difference.after is None


def _difference_hold(decision: Decision, rule: str, differences: tuple[Difference, ...]) -> Hold:
    ref = short(decision.ref)
    culprit = decision.found.culprit if decision.found else None
    by = f" by {culprit}" if culprit else ""
    words = {
        "drift": (f"changed on the node{by}", f"to revert it: trueup heal {ref}; to keep it: commit it"),
        "follow": ("the loop does not follow git here", "trueup apply"),
        "both": (f"changed on the node{by}, and in git too", "trueup apply makes it what git says now"),
        "protected": ("a disk would be destroyed, and it is protected against deletion", PROTECTION_LIFTS),
        "impossible": ("the node cannot be changed so", "commit a value that it can take"),
        "move": ("it would have to move", "not possible with this driver"),
        "replace": ("it takes a new object, the old one goes to quarantine", "`update: {replace: allowed}`"),
    }
    sentence, lifts = words[rule]
    if rule == "impossible" and kind_of(decision.ref) == "Image":
        sentence, lifts = "images are immutable, and this is another one", "give it a name of its own, and name that"
    if rule == "impossible" and any(difference.path == "/project" for difference in differences):
        node = node_of(decision.target or "")
        sentence = f"it lives {_project(differences, 'before')}, and Node/{node} says {_project(differences, 'after')}"
        lifts = f"put `tenants` of Node/{node} back; or take it out of git, and make it anew once that is done"
    action = Action.REPLACE if rule == "replace" else Action.UPDATE
    return Hold(decision.ref, rule, sentence, lifts, decision.target, action, differences)


def _project(differences: tuple[Difference, ...], side: str) -> str:
    name = next(getattr(difference, side) for difference in differences if difference.path == "/project")
    return f"in the project {name}" if name is not None else "in the project that all share"


def is_single(ref: Ref) -> bool:
    """A machine or a volume."""
    return ref.startswith(_SINGLE)


_SINGLE = tuple(f"{kind}/" for kind in sorted(SINGLE))
