"""From works to changes: steps from the shape, ids, needs, gates, journal entries; and the proof.

Owns: everything that is stitched onto a shape's series, and the prediction that the next plan is empty.
Must not go here: what is to be done (planner), in which order changes come (order).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from reconciler.core import work as works_module
from reconciler.core.budgets import creates, halts
from reconciler.core.compare import compare, differing, marks_behind, wanted_of
from reconciler.core.desired import Budget, Demand
from reconciler.core.ledger import (
    Bound,
    Claimed,
    Entry,
    Forgotten,
    Moving,
    Purged,
    Quarantined,
    Renamed,
    Settled,
    Spent,
)
from reconciler.core.observed import Marks, Object
from reconciler.core.plan import Action, Change, Expect, Gate, Risk, Step, Undo
from reconciler.core.refs import SINGLE, Target, kind_of
from reconciler.core.shape import Draft, Shape
from reconciler.core.values import replaced
from reconciler.core.work import KEPT, Work
from reconciler.core.world import World

_RISKS = tuple(Risk)
_UNDOS = (Undo.EXACT, Undo.LOSSY, Undo.IMPOSSIBLE)


def make_change(work: Work, world: World) -> Change:
    """The change with its steps, in series; needs and gates across changes come later."""
    policy = world.desired.policy if world.desired else None
    recoverable = kind_of(work.ref) in SINGLE and work.action in (Action.DESTROY, Action.REPLACE)
    bare = Change(
        work.id,
        work.ref,
        work.uid,
        work.target,
        work.action,
        work.reason,
        source=work.source,
        before=work.found.fields if work.found else None,
        after=work.after,
        differences=work.differences,
        addresses=work.addresses,
        recoverable_for=float(policy.quarantine) if policy and recoverable else None,
    )
    marks = works_module.marks_of(work, world)
    if work.marks is None:
        series = world.shape_of(work.target).steps(Draft(bare, work.found, work.resource, work.context, marks))
    else:
        assert work.found is not None, "what is marked is there"
        series = (pause_step(work.found, marks, work.target),)
    steps = _journalled(_laden(_meant(bare.id, series, work), work, world), work, world, bare)
    risk = min([step.risk for step in steps], key=_RISKS.index, default=Risk.NONE)
    undo = max([step.undo for step in steps], key=_UNDOS.index, default=Undo.EXACT)
    return msgspec.structs.replace(bare, steps=steps, risk=risk, undo=undo)


def pause_step(found: Object, marks: Marks, target: Target) -> Step:
    """The step that writes marks and nothing else: what differs is the pause that they bear."""
    pause = marks.paused_until
    return Step(
        id="1-mark",
        target=target,
        ref=marks.ref,
        uid=marks.uid,
        verb="mark",
        args={"marks": msgspec.to_builtins(marks)},
        precondition=Expect(found.lifecycle, applied=marks.applied),
        effect=Expect(found.lifecycle, applied=marks.applied, paused=pause),
        summary="write the pause on it" if pause is not None else "take the pause off it",
        seconds=0.05,
    )


def _meant(change: str, series: tuple[Step, ...], work: Work) -> tuple[Step, ...]:
    """In series, with ids of this change. Each step starts from the thing that bears the name; the first of a rename
    from what bears the former one, and the first of any change from what nobody has paused since."""
    meant: list[Step] = []
    was = work.found.marks.paused_until if work.found is not None and work.found.marks is not None else None
    node = kind_of(work.ref) == "Node"
    for step in series:
        expect = step.precondition
        if not node and expect.lifecycle != "absent":
            ref = work.ref if work.former is None else (None if meant else work.former)
            expect = msgspec.structs.replace(expect, ref=ref, paused=msgspec.UNSET if meant else was)
        needs = (meant[-1].id,) if meant else ()
        meant.append(msgspec.structs.replace(step, id=f"{change}:{step.id}", needs=needs, precondition=expect))
    return tuple(meant)


def _laden(steps: tuple[Step, ...], work: Work, world: World) -> tuple[Step, ...]:
    """The step that carries a machine says which volumes go along: `volumes`, uid to ref."""
    if not work.along:
        return steps
    volumes = {entry.uid: entry.ref for entry in _bound_there(work, world)}
    laden = []
    for step in steps:
        if step.source is not None:
            size = step.args.get("bytes")
            size = None if size is None else size + works_module.together(world, work.along).disk
            summary = f"{step.summary}, with {', '.join(volumes.values())}"
            args = {**step.args, "bytes": size, "volumes": volumes}
            step = msgspec.structs.replace(step, args=args, summary=summary)
        laden.append(step)
    return tuple(laden)


def _bound_there(work: Work, world: World) -> Iterator[Bound]:
    """The volumes that go along, where they go."""
    for ref in work.along:
        thing = world.only(ref, work.source or work.target)
        assert thing is not None, "what goes along was seen"
        assert thing.marks is not None, "what goes along is ours"
        demand = world.facts[ref].demand
        sizes = (demand.memory, demand.cpu, demand.disk)
        yield Bound(ref, thing.marks.uid, thing.marks.incarnation, work.target, (), sizes)


def _journalled(steps: tuple[Step, ...], work: Work, world: World, change: Change) -> tuple[Step, ...]:
    """The ledger's entries ride on the steps, so that the executor makes no choices."""
    result = []
    last = len(steps) - 1
    loss = next((step.id for step in steps if step.verb in ("quarantine", "destroy-disk")), None)
    for index, step in enumerate(steps):
        before: list[Entry] = [*_bound(work, world), *_on_the_way(work, world)] if index == 0 else []
        after: list[Entry] = []
        if step.id == loss:  # a change spends one, however much of the machine it takes away
            before.append(Spent("destroys", work.ref, work.target))
        if step.verb == "quarantine":
            old = work.found.marks if work.found and work.found.marks else None
            incarnation = old.incarnation if old else work.incarnation
            seconds = change.recoverable_for or 0.0
            after.append(Quarantined(work.ref, step.uid, incarnation, work.target, seconds))
        restarts = step.risk is Risk.RESTART and work.action is not Action.DESTROY
        if step.verb == "stop" and (restarts or halts(work.differences)):
            before.append(Spent("restarts", work.ref, step.target))
        if index == 0 and world.desired and world.desired.policy.creates != Budget() and creates(work):
            before.append(Spent("creates", work.ref, work.target))
        if step.verb == "create" and work.action is Action.REPLACE:
            before.append(_bind(work))
        if step.source is not None:
            after += [_bind(work), *_bound_there(work, world)]
        if index == last:
            after.extend(_settled(work, world))
        result.append(msgspec.structs.replace(step, on_intent=tuple(before), on_applied=tuple(after)))
    return tuple(result)


def _bind(work: Work) -> Bound:
    demand = work.resource.demand if work.resource else Demand()
    sizes = (demand.memory, demand.cpu, demand.disk)
    return Bound(work.ref, work.uid, work.incarnation, work.target, work.addresses, sizes)


def _bound(work: Work, world: World) -> tuple[Entry, ...]:
    """Place, addresses and room are taken with the first intent of whatever is made, grows or was lost from memory; a
    newer thing that never came to be gives way to an older one that is taken up again."""
    if work.resource is None or kind_of(work.ref) == "Node" or work.action is Action.REPLACE:
        return ()
    ref, place = work.former or work.ref, work.source or work.target
    entry = _bind(msgspec.structs.replace(work, ref=ref, target=place))
    goes = (Moving(ref, work.uid, work.target),) if work.source is not None else ()
    known = world.ledger.bindings.get((ref, place))
    if known is not None and (known.uid, known.addresses, known.demand) == (entry.uid, entry.addresses, entry.demand):
        return goes
    newer = [each for each in world.ledger.bindings.of(ref) if each.incarnation > work.incarnation]
    return (*(Forgotten(each.ref, each.uid, each.target) for each in newer), entry, *goes)


def _on_the_way(work: Work, world: World) -> Iterator[Moving]:
    return (Moving(entry.ref, entry.uid, entry.target) for entry in _bound_there(work, world))


def _settled(work: Work, world: World) -> tuple[Entry, ...]:
    if kind_of(work.ref) == "Node":
        return (Claimed(work.target, str((work.after or {}).get("identity"))),)
    if work.action is Action.PURGE or (work.action is Action.DESTROY and kind_of(work.ref) not in SINGLE):
        return (Purged(work.ref, work.uid, work.target),)
    if work.action is Action.FORGET:
        return (Forgotten(work.ref, work.uid, work.target),)
    if work.resource is None or work.settled is None or world.desired is None:
        return ()
    revision = f"tree:{world.desired.revision.tree}"
    renamed = (Renamed(work.uid, work.former, work.ref),) if work.former is not None else ()
    settled = Settled(work.ref, work.uid, work.target, work.settled, revision, protected=work.resource.protected)
    return (*renamed, settled)


def stitch(
    changes: Iterable[Change], needs: Mapping[str, set[str]], gates: Mapping[str, tuple[Gate, ...]]
) -> tuple[Change, ...]:
    """Give each change's first step what other changes owe it."""
    changes = tuple(changes)
    ends = {change.id: change.steps[-1].id for change in changes if change.steps}
    stitched = []
    for change in changes:
        owed, gated = [ends[other] for other in needs.get(change.id, ()) if other in ends], gates.get(change.id, ())
        if owed or gated:
            first, *rest = change.steps
            first = msgspec.structs.replace(first, needs=tuple(sorted(owed)), gates=gated)
            change = msgspec.structs.replace(change, steps=(first, *rest))
        stitched.append(change)
    return tuple(stitched)


def predicted(work: Work, change: Change) -> Object | None:
    """The object as the steps' effects leave it; None if it is gone (or is no object: a claim)."""
    found = work.found if work.action is not Action.REPLACE else None
    fields: Mapping[str, Any] = found.fields if found else {}
    lifecycle = found.lifecycle if found else "live"
    marks = found.marks if found else None
    for step in change.steps:
        if step.uid != work.uid:
            continue
        if step.effect.lifecycle == "absent":
            return None
        lifecycle = step.effect.lifecycle
        for path, value in step.effect.fields.items():
            fields = replaced(fields, path, value)
        written = step.args.get("marks")
        marks = msgspec.convert(written, Marks) if written else marks
    name = found.native_name if found else ""
    return Object(kind_of(work.ref), name, name, fields, "", marks, lifecycle)


def unproved(work: Work, change: Change, world: World) -> str | None:
    """None if the next plan has nothing left of this change but what is withheld; else which field, and whose fault
    (invariant I3)."""
    if work.resource is None or work.context is None or kind_of(work.ref) == "Node":
        return None
    found = predicted(work, change)
    if found is None:
        return f"{change.id}: its steps would leave nothing"
    left = _left(work, found, world.shape_of(work.target))
    left -= _withheld(work, world) if left else set()
    driver = world.targets[work.target].driver
    if work.source is not None and not any(step.source == work.source for step in change.steps):
        return f"{change.id}: driver {driver} would leave it on {work.source}"
    if left:
        return f"{change.id}: driver {driver} would leave {', '.join(sorted(left))} as it is"
    behind = marks_behind(work.resource, found, work.applied)
    return f"{change.id}: driver {driver} would leave the marks behind: {behind}" if behind is not None else None


def _left(work: Work, found: Object, shape: Shape) -> set[str]:
    """Paths in which the thing, as the change would leave it, is not what is wanted of it."""
    assert work.resource is not None, "only what is wanted is proved"
    assert work.context is not None, "what is wanted is wanted somewhere"
    wanted = wanted_of(work.resource, shape, work.context)
    if found.fields == wanted:
        return set()
    return {each.path for each in differing(work.resource, found, wanted, None, shape, work.context)[0]}


def _withheld(work: Work, world: World) -> set[str]:
    """Paths that the change leaves as they are, because they were withheld or could not be read."""
    if work.found is None or work.resource is None or work.context is None:
        return set()
    shape = world.shape_of(work.target)
    before = compare(work.resource, work.found, work.settled, shape, work.context)
    made = {difference.path for difference in work.differences}
    paths = {difference.path for difference in before.differences} | {path for path, _ in before.unknown}
    if work.action is Action.REPLACE:
        return {path for path in paths if path.startswith(KEPT)}
    return paths - made - ({"/state"} if work.action is Action.RESTORE else set())
