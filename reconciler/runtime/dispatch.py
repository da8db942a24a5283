"""Which changes of a plan can begin now, beside what is under way already.

Owns: groups of changes that wait for each other, and leaving out those that touch a busy or a stale node.
Pure. Must not go here: what the changes are (planner), carrying them out (execute).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from reconciler.core.ledger import Ledger
from reconciler.core.observed import Report
from reconciler.core.plan import Change, Verdict
from reconciler.core.refs import Target, node_of


class Dispatch(msgspec.Struct, frozen=True):
    """Ids of changes: `now` can begin, `waiting` for their next attempt, `postponed` until their nodes are free and
    have been read again; `unsure` are never made unattended."""

    now: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    postponed: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()


def nodes_of(changes: Iterable[Change]) -> frozenset[str]:
    """Every node that the changes touch."""
    return frozenset(node_of(place) for change in changes for step in change.steps for place in step.places)


def fresh(target: Target, reports: Mapping[Target, Report], ledger: Ledger) -> bool:
    """True if what is known of a target was read after our last write there had ended."""
    report = reports.get(target)
    return report is not None and not ledger.flying.get(target) and report.began >= ledger.written.get(target, 0)


def groups(changes: Iterable[Change]) -> list[tuple[Change, ...]]:
    """Changes that wait for each other, directly or through others, together; in the order of the plan."""
    listed = tuple(changes)
    owner = {step.id: number for number, change in enumerate(listed) for step in change.steps}
    lead = list(range(len(listed)))

    def find(number: int) -> int:
        while lead[number] != number:
            lead[number] = lead[lead[number]]
            number = lead[number]
        return number

    for number, change in enumerate(listed):
        for step in change.steps:
            awaited = (*step.needs, *(named for gate in step.gates for named in gate.steps))
            for other in awaited:
                if other in owner:
                    one, two = sorted((find(number), find(owner[other])))
                    lead[two] = one
    found: dict[int, list[Change]] = {}
    for number, change in enumerate(listed):
        found.setdefault(find(number), []).append(change)
    return [tuple(group) for group in found.values()]


def choose(
    changes: Iterable[Change],
    *,
    free: Callable[[Change], bool],
    settled: Callable[[Target], bool],
    waits: Callable[[Change], bool],
) -> Dispatch:
    """`free`: neither the thing nor its nodes are in use; `settled`: see `fresh`; `waits`: see Retries."""
    now: list[str] = []
    waiting: list[str] = []
    postponed: list[str] = []
    unsure: list[str] = []
    for group in groups(changes):
        targets = {place for change in group for step in change.steps for place in step.places}
        if not all(settled(target) for target in targets) or not all(free(change) for change in group):
            postponed.extend(change.id for change in group)
            continue
        for change in group:
            if change.verdict is Verdict.UNCERTAIN:
                unsure.append(change.id)
            elif waits(change):
                waiting.append(change.id)
            else:
                now.append(change.id)
    return Dispatch(tuple(now), tuple(waiting), tuple(postponed), tuple(unsure))
