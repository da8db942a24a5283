"""Which changes are told as one, and in which waves they run.

Owns: grouping. Must not go here: wording.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from reconciler.core.plan import Action, Change, Hold, Plan
from reconciler.core.refs import kind_of, short
from reconciler.core.render.names import stem
from reconciler.core.values import canonical, flatten

_OWN = ("ip", "mac", "hostname")
"""Fields that every machine has for itself: they do not keep creations apart."""


class Wave(msgspec.Struct, frozen=True):
    """Changes that may run together; `pause` seconds after the wave before."""

    changes: tuple[Change, ...]
    pause: float = 0


def fold(changes: Iterable[Change], *, expand: bool = False) -> list[tuple[Change, ...]]:
    """Groups of changes that say the same, in order of first sight; each alone when expanded."""
    groups: dict[object, list[Change]] = {}
    for change in changes:
        groups.setdefault(change.id if expand else _sameness(change), []).append(change)
    return [tuple(group) for group in groups.values()]


def _sameness(change: Change) -> object:
    common = (change.action, kind_of(change.ref), change.risk, change.undo, change.verdict, change.verdict_reason)
    if change.action is Action.UPDATE and change.differences:
        return (*common, canonical(msgspec.to_builtins(change.differences)))
    if change.action is Action.CREATE:
        return (*common, canonical(shared_fields(change.after or {})))
    return (*common, change.reason.code, kind_of(change.ref) == "Machine" or change.reason.sentence)


def shared_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves by path, without what each machine has for itself."""
    return {path: leaf for path, leaf in flatten(fields).items() if path.rpartition("/")[2] not in _OWN}


def rows(group: Sequence[Change]) -> list[tuple[Change, ...]]:
    """A folded group's lines: what shares a name but for the number."""
    found: dict[str, list[Change]] = {}
    for change in group:
        found.setdefault(stem(short(change.ref)), []).append(change)
    return [tuple(sorted(row, key=lambda change: natural(change.ref))) for row in found.values()]


def natural(name: str) -> tuple[str, int, str]:
    """web-2 before web-10."""
    base = stem(name)
    number = name[len(base) + 1 :]
    return (base, int(number) if number.isdigit() else -1, name)


def waves(row: Sequence[Change]) -> list[Wave]:
    """The row in the order that its gates impose. A single wave if nothing waits for anything in the row."""
    by_step = {step.id: change.id for change in row for step in change.steps}
    depth: dict[str, int] = {}
    pauses: dict[int, float] = {}
    before = {change.id: _waits_for(change, by_step) for change in row}

    def level(change_id: str, seen: frozenset[str] = frozenset()) -> int:
        if change_id not in depth:
            below = [level(other, seen | {change_id}) for other in before[change_id] if other not in seen]
            depth[change_id] = 1 + max(below) if below else 0
        return depth[change_id]

    levels: dict[int, list[Change]] = {}
    for change in row:
        levels.setdefault(level(change.id), []).append(change)
        pauses[depth[change.id]] = max((gate.pause for step in change.steps for gate in step.gates), default=0)
    return [Wave(tuple(levels[index]), pauses[index]) for index in sorted(levels)]


def _waits_for(change: Change, by_step: Mapping[str, str]) -> set[str]:
    named = {by_step[step] for own in change.steps for gate in own.gates for step in gate.steps if step in by_step}
    return named - {change.id}


def fold_holds(holds: Iterable[Hold], *, expand: bool = False) -> list[tuple[Hold, ...]]:
    """Holds of one rule that say the same of several refs."""
    groups: dict[object, list[Hold]] = {}
    for index, hold in enumerate(holds):
        same = (hold.rule, hold.sentence, hold.lifts.replace(short(hold.ref), "…"), kind_of(hold.ref))
        groups.setdefault(index if expand else same, []).append(hold)
    return [tuple(group) for group in groups.values()]


def predicted_seconds(plan: Plan) -> float:
    """How long the plan takes if every target has four lanes: the longest chain, or the busiest target."""
    seconds = {step.id: step for step in plan.steps}
    ends: dict[str, float] = {}
    busy: dict[str, float] = {}
    pending = list(plan.steps)
    for step in pending:
        busy[step.target] = busy.get(step.target, 0) + step.seconds
    while pending:
        rest = []
        for step in pending:
            names = [*step.needs, *(name for gate in step.gates for name in gate.steps)]
            if any(name in seconds and name not in ends for name in names):
                rest.append(step)
                continue
            pause = max((gate.pause for gate in step.gates), default=0)
            ends[step.id] = max((ends.get(name, 0) for name in names), default=0) + pause + step.seconds
        if len(rest) == len(pending):
            break  # a circle: the planner's fault, not worth hanging for
        pending = rest
    return max(max(ends.values(), default=0), max(busy.values(), default=0) / 4)


def downtime(change: Change) -> float:
    """Seconds from the first stop to the start (or the end of waiting until ready); 0 if it is never stopped."""
    verbs = [step.verb for step in change.steps]
    if "stop" not in verbs or "start" not in verbs:
        return 0
    first, last = verbs.index("stop"), verbs.index("start")
    return sum(step.seconds for step in change.steps[first : last + 1])
