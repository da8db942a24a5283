"""What a person asked for by name and git says nothing of: `forget`, and pauses written on their objects.

Owns: making such a plan with the planner's own parts, so that it is carried out, journalled and fenced like any other.
Must not go here: whether it may be asked for (cli), anything that git could say.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from reconciler.core.desired import Desired
from reconciler.core.finish import make_change
from reconciler.core.ledger import Entry, Forgotten, Ledger, Paused, Released
from reconciler.core.observed import Object
from reconciler.core.pauses import of_node
from reconciler.core.plan import Action, Change, Plan, Reason, plan_digest
from reconciler.core.refs import Ref, Target, kind_of, node_of
from reconciler.core.work import Work
from reconciler.core.world import World


def forgetting(world: World, ref: Ref, now: float) -> Plan:
    """Take the marks off every live object of a ref and drop its bindings; the objects stay as they are."""
    changes: list[Change] = []
    for target, found in world.seen(ref):
        if found.lifecycle == "live" and found.marks is not None:
            marks = found.marks
            reason = Reason("forget", "asked for by name; nothing of the object itself is changed")
            work = Work(ref, target, Action.FORGET, marks.uid, marks.incarnation, reason, found=found)
            changes.append(make_change(work, world))
    seen = {change.target for change in changes}
    entries = tuple(
        Forgotten(ref, binding.uid, binding.target)
        for binding in world.ledger.bindings.of(ref)
        if binding.target not in seen and binding.quarantined_until is None
    )
    return _plan(world, tuple(changes), entries, now)


def marking(world: World, ref: Ref, now: float) -> Plan:
    """Write on the objects of a ref what was said of its pause, and nothing else; it may be empty."""
    changes = tuple(make_change(work, world) for work in unwritten(world, now) if work.ref == ref)
    return _plan(world, changes, (), now)


def unwritten(world: World, now: float) -> Iterator[Work]:
    """Works that write on objects what was said of them: a pause, or its end. They take nothing and change nothing
    else; where a node is paused, or cannot be read, they wait."""
    ledger = world.ledger
    for subject in sorted({*ledger.pauses, *ledger.lifted}):
        pause = ledger.pauses.get(subject)
        pause = pause if pause is not None and pause.until > now else None
        for target, found in world.seen(Ref(subject)) if kind_of(Ref(subject)) != "Node" else ():
            if target in world.unclaimed or of_node(ledger, target, now) is not None:
                continue
            marks = found.marks
            assert marks is not None, "only what is ours is seen"
            borne = marks.paused_until
            if pause is not None and (borne, marks.paused_reason) == (pause.until, pause.reason):
                continue
            if pause is None and (borne is None or borne <= now or borne not in ledger.lifted[subject]):
                continue
            yield _pausing(Ref(subject), target, found, pause)


def _pausing(ref: Ref, target: Target, found: Object, pause: Paused | None) -> Work:
    assert found.marks is not None, "only what is ours is seen"
    until, why = (pause.until, pause.reason) if pause is not None else (None, None)
    marks = msgspec.structs.replace(found.marks, paused_until=until, paused_reason=why)
    sentence = f"it is paused: {why}" if pause is not None else "its pause was ended"
    return Work(
        ref,
        target,
        Action.UPDATE,
        marks.uid,
        marks.incarnation,
        Reason("pause", sentence),
        found=found,
        after=found.fields,
        marks=marks,
        apart=found.lifecycle != "live",
    )


def releasing(desired: Desired, ledger: Ledger, node: str) -> tuple[Entry, ...]:
    """Entries that give up a node and all that is bound there; nothing is asked of it: it may be gone."""
    targets = {target for target in (*ledger.claims, *ledger.covered) if node_of(target) == node}
    bound = [binding for (_, target), binding in sorted(ledger.bindings.items()) if node_of(target) == node]
    targets |= {binding.target for binding in bound}
    forgotten = tuple(Forgotten(binding.ref, binding.uid, binding.target) for binding in bound)
    return (*forgotten, *(Released(Target(target)) for target in sorted(targets)))


def _plan(world: World, changes: tuple[Change, ...], entries: tuple[Entry, ...], now: float) -> Plan:
    """Nothing of git is applied by it: the executor is told not to move the revision."""
    desired = world.desired
    assert desired is not None, "take_desired comes first"
    revision = desired.revision
    return Plan(
        datacenter=desired.datacenter,
        datacenter_id=desired.datacenter_id,
        tree=revision.tree,
        changes=changes,
        holds=(),
        digest=plan_digest(desired.datacenter_id, revision.tree, changes),
        generation=world.generation + 1,
        entries=entries,
        commit=revision.commit,
        branch=revision.branch or "",
        root=revision.root,
        repository=revision.repository,
        observed_at=now,
    )
