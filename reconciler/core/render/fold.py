"""Which changes are told as one, and in which waves they run.

Owns: grouping. Must not go here: wording.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from reconciler.core.plan import PLACE, Action, Change, Hold, Plan, Step
from reconciler.core.refs import kind_of, short
from reconciler.core.render.names import stem
from reconciler.core.values import MAPS, Fields, canonical, flatten

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
    if change.action is Action.MOVE:
        others = [found for found in change.differences if found.path != PLACE]
        return (*common, change.source, change.reason.code, canonical(msgspec.to_builtins(others)))
    if change.action is Action.UPDATE and change.differences:
        return (*common, canonical(msgspec.to_builtins(change.differences)))
    if change.action in (Action.CREATE, Action.RESTORE) and not change.differences:
        return (*common, canonical(_shared(change.after or {})))
    return (*common, change.reason.code, kind_of(change.ref) == "Machine" or change.reason.sentence)


def shared_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves by path, without what each machine has for itself."""
    return {path: leaf for path, leaf in flatten(fields).items() if path.rpartition("/")[2] not in _OWN}


def _shared(fields: Fields) -> dict[str, Any]:
    """The same without telling leaves by their paths, which takes longer for a comparison of very many."""
    return {
        key: _shared(value) if isinstance(value, MAPS) else value
        for key, value in fields.items()
        if key not in _OWN or (isinstance(value, MAPS) and value)
    }


def rows(group: Sequence[Change]) -> list[tuple[Change, ...]]:
    """A folded group's lines: what shares a name but for the number, then the rest in one."""
    found: dict[str, list[Change]] = {}
    for change in group:
        found.setdefault(stem(short(change.ref)), []).append(change)
    together = [sorted(row, key=lambda change: natural(change.ref)) for row in found.values() if len(row) > 1]
    single = [row[0] for row in found.values() if len(row) == 1]
    return [tuple(row) for row in [*together, single] if row]


_KINDS = ("Node", "Image", "Network", "Tenant", "Volume", "Machine")


def place_in_page(change: Change) -> tuple[int, tuple[str, int, str]]:
    """What others stand on comes first; names in natural order."""
    kind = kind_of(change.ref)
    return (_KINDS.index(kind) if kind in _KINDS else len(_KINDS), natural(change.ref))


def natural(name: str) -> tuple[str, int, str]:
    """web-2 before web-10."""
    base = stem(name)
    number = name[len(base) + 1 :]
    return (base, int(number) if number.isdigit() else -1, name)


def waves(row: Sequence[Change]) -> list[Wave]:
    """The row in the order that its gates impose. A single wave if nothing waits for anything in the row."""
    owner = {step.id: change.id for change in row for step in change.steps}
    before = {
        change.id: {owner[name] for step in change.steps for gate in step.gates for name in gate.steps if name in owner}
        - {change.id}
        for change in row
    }
    depth: dict[str, int] = {}
    for change_id in sorted_by_need(before):
        depth[change_id] = max((depth.get(other, 0) + 1 for other in before[change_id]), default=0)
    levels: dict[int, list[Change]] = {}
    for change in row:
        levels.setdefault(depth[change.id], []).append(change)
    return [Wave(tuple(levels[index]), _pause(levels[index])) for index in sorted(levels)]


def _pause(changes: Iterable[Change]) -> float:
    return max((gate.pause for change in changes for step in change.steps for gate in step.gates), default=0)


def sorted_by_need(needs: Mapping[str, Iterable[str]]) -> list[str]:
    """Keys after the keys they need, else in their own order; what is in a circle comes last, as it stands."""
    waiting = {key: {other for other in others if other in needs} for key, others in needs.items()}
    users: dict[str, list[str]] = {}
    for key, others in waiting.items():
        for other in others:
            users.setdefault(other, []).append(key)
    done = [key for key, others in waiting.items() if not others]
    for key in done:
        for user in users.get(key, ()):
            waiting[user].discard(key)
            if not waiting[user]:
                done.append(user)
    seen = set(done)
    return done + [key for key in needs if key not in seen]


def fold_holds(holds: Iterable[Hold], *, expand: bool = False) -> list[tuple[Hold, ...]]:
    """Holds of one rule that say the same of several refs, down to the fields that differ."""
    groups: dict[object, list[Hold]] = {}
    for index, hold in enumerate(holds):
        fields = canonical(msgspec.to_builtins(hold.differences))
        same = (hold.rule, hold.sentence, hold.lifts.replace(short(hold.ref), "…"), kind_of(hold.ref), fields)
        groups.setdefault(index if expand else same, []).append(hold)
    return [tuple(group) for group in groups.values()]


def predicted_seconds(plan: Plan, lanes: int = 4) -> float:
    """How long the plan takes when each target runs so many steps at once: the longest chain, or the busiest target."""
    busy: dict[str, float] = {}
    for step in plan.steps:
        busy[step.target] = busy.get(step.target, 0) + step.seconds
    return max(_longest_chain(plan.changes), max(busy.values(), default=0) / lanes)


def _longest_chain(changes: Sequence[Change]) -> float:
    """Seconds until the last step ends, if each begins once the one before it in its change, and all that it needs,
    have ended. A change is gone through up to a step that needs one without an end, and on from there once it has."""
    ends: dict[str, float | None] = {step.id: None for change in changes for step in change.steps}
    halted: dict[str, list[tuple[Sequence[Step], int, float]]] = {}
    going: list[tuple[Sequence[Step], int, float]] = [(change.steps, 0, 0.0) for change in reversed(changes)]
    while going:
        steps, begin, end = going.pop()
        for index in range(begin, len(steps)):
            step = steps[index]
            needs = [name for name in _needed(step) if name in ends]
            awaited = next((name for name in needs if ends[name] is None), None)
            if awaited is not None:
                halted.setdefault(awaited, []).append((steps, index, end))
                break
            end = max([end, *(ends[name] or 0.0 for name in needs)]) if needs else end
            end += step.seconds + max((gate.pause for gate in step.gates), default=0)
            ends[step.id] = end
            if halted:
                going += halted.pop(step.id, ())
    return max((end for end in ends.values() if end is not None), default=0)


def _needed(step: Step) -> Sequence[str]:
    return [*step.needs, *(name for gate in step.gates for name in gate.steps)] if step.gates else step.needs
