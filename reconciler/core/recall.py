"""What the ledger should remember and does not: things that bear our marks, names that were changed, listings.

Owns: from what is seen to entries, journalled when a plan begins, so that what a node says now still counts when it is
silent later (invariant I2). Must not go here: rebuilding a whole ledger (rebuild), deciding.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from reconciler.core.compare import takes_of
from reconciler.core.decide import Decision
from reconciler.core.desired import Demand, Policy
from reconciler.core.ledger import Binding, Bound, Entry, Forgotten, Quarantined, Renamed, Settled
from reconciler.core.moves import departure
from reconciler.core.observed import Marks, Object
from reconciler.core.pauses import standing
from reconciler.core.placement import most
from reconciler.core.plan import rest_digest
from reconciler.core.refs import PER_TARGET, Ref, Target, kind_of
from reconciler.core.rests import Instant
from reconciler.core.rules import Request
from reconciler.core.world import World


def recalled(world: World, ref: Ref, target: Target | Literal[""], now: float) -> tuple[Entry, ...]:
    """`target`: for kinds with a realisation on each. Empty if the ledger knows already, or nothing is sure."""
    if kind_of(ref) in PER_TARGET:
        return _realisation(world, ref, target, now) if target else ()
    bound = world.ledger.bindings.of(ref)
    binding = bound[0] if bound else None
    seen = world.seen(ref)
    if binding is not None and not any([found.marks and found.marks.uid == binding.uid for _, found in seen]):
        heirs = world.others(binding.uid, ref)
        if heirs:
            sure = len(heirs) == 1 and all(_now(world, ref, place) for place, _ in world.seen(heirs[0]))
            return (Renamed(binding.uid, ref, heirs[0]),) if sure else ()
    live = [pair for pair in seen if pair[1].lifecycle == "live"]
    if len(live) > 1 or not seen:
        return ()
    place, found = live[0] if live else max(seen, key=lambda pair: pair[1].marks.incarnation if pair[1].marks else 0)
    marks = found.marks
    if marks is None or world.others(marks.uid, ref) or not _now(world, ref, place):
        return ()
    return (*_thing(world, binding, place, found, marks, now), *_pause(world, marks, now))


def believed(entry: Entry, policy: Policy, clock: Instant | None) -> Entry:
    """What is found in quarantine rests as long as it says itself, if the clock can be trusted to tell when that is;
    else as long as what is put there now."""
    if clock is None or clock.synced or not isinstance(entry, Quarantined):
        return entry
    return msgspec.structs.replace(entry, seconds=max(entry.seconds, policy.quarantine), said=entry.seconds)


def uncounted(decision: Decision, world: World, request: Request) -> tuple[Entry, ...]:
    """The time of something that is to be purged begins to be counted, where nobody has done so."""
    assert decision.uid is not None, "what is purged has an identity"
    assert decision.target is not None, "what is purged is somewhere"
    assert world.desired is not None, "a purge is planned"
    if request.clock is None or world.ledger.rests.left(decision.uid, request.clock) is not None:
        return ()
    about = (decision.ref, decision.uid, decision.incarnation, decision.target)
    return (believed(Quarantined(*about, 0.0), world.desired.policy, request.clock),)


def _now(world: World, ref: Ref, target: Target) -> bool:
    """What was seen before our last write there is what we knew before it."""
    if world.fresh(target):
        return True
    world.waits_on(target, ref)
    return False


def _thing(
    world: World, binding: Binding | None, target: Target, found: Object, marks: Marks, now: float
) -> tuple[Entry, ...]:
    entries: list[Entry] = []
    same = binding is not None and binding.uid == marks.uid
    if binding is not None and not same and binding.incarnation > marks.incarnation:
        sure = binding.sealed is None and world.unreadable(binding.target) is None
        if found.lifecycle != "live" or binding.quarantined_until is not None or not sure:
            return ()
        entries.append(Forgotten(binding.ref, binding.uid, binding.target))
    resting = found.lifecycle == "quarantined"
    known = binding if same else None
    if known is None or known.target != target or (known.quarantined_until is not None) > resting:
        proved = known or world.proved(marks.ref, target, found)
        entries.append(Bound(marks.ref, marks.uid, marks.incarnation, target, proved.addresses, proved.demand))
    elif not resting and (sizes := _less(world, known, found, marks.ref)) is not None:
        entries.append(Bound(marks.ref, marks.uid, marks.incarnation, target, known.addresses, sizes))
    elif not resting and known.moving is not None and _stays(world, marks.ref, target):
        entries.append(Bound(marks.ref, marks.uid, marks.incarnation, target, known.addresses, known.demand))
    if known is None or known.sealed is None:
        entries.extend(_settled(found, marks, target))
    if resting and (known is None or known.quarantined_until is None):
        seconds = max((marks.quarantined_until or now) - now, 0.0)
        entries.append(Quarantined(marks.ref, marks.uid, marks.incarnation, target, seconds))
    return tuple(entries)


def _pause(world: World, marks: Marks, now: float) -> tuple[Entry, ...]:
    """A pause that only the object tells of: another controller's word, or ours of before the ledger was lost."""
    pause = standing(world.ledger, marks.ref, marks, now)
    return () if pause is None or pause is world.ledger.pauses.get(marks.ref) else (pause,)


def _stays(world: World, ref: Ref, target: Target) -> bool:
    """Whether a machine that was on its way elsewhere is to be where it is after all: its room there is given back."""
    resource = world.resource(ref)
    return resource is None or departure(world, resource, target) is None


def _less(world: World, known: Binding, found: Object, ref: Ref) -> tuple[int, int, int] | None:
    """What a machine takes, if that is less than is kept for it: it was to grow, and that was taken back."""
    resource, kept = world.resource(ref), Demand(*known.demand)
    if resource is None:
        return None
    real = most(resource.demand, takes_of(found.fields, resource.demand))
    return None if most(kept, real) == real else (real.memory, real.cpu, real.disk)


def _settled(found: Object, marks: Marks, target: Target) -> tuple[Entry, ...]:
    """Only if the marks say so is what is there what was applied last; else it could be drift."""
    if marks.applied != rest_digest(marks.ref, found.fields, protected=marks.protected):
        return ()
    return (Settled(marks.ref, marks.uid, target, found.fields, marks.revision, protected=marks.protected),)


def _realisation(world: World, ref: Ref, target: Target, now: float) -> tuple[Entry, ...]:
    seen = world.seen_on(ref, target)
    marks = seen[0].marks if len(seen) == 1 else None
    if marks is None or not _now(world, ref, target):
        return ()
    binding = world.ledger.bindings.get((ref, target))
    if binding is not None and binding.uid == marks.uid:
        rest = () if binding.sealed is not None else _settled(seen[0], marks, target)
        return (*rest, *_pause(world, marks, now))
    bound = Bound(ref, marks.uid, marks.incarnation, target)
    return (bound, *_settled(seen[0], marks, target), *_pause(world, marks, now))
