"""How things stand, on one page.

Owns: the page of `trueup status` and the record it is made from. Must not go here: gathering (cli).
"""

from __future__ import annotations

import msgspec

from reconciler.core.plan import Plan
from reconciler.core.refs import short
from reconciler.core.render import quantities
from reconciler.core.render.changes import INDENT, View
from reconciler.core.render.fold import fold_holds
from reconciler.core.render.lines import finished, pair
from reconciler.core.render.names import counted
from reconciler.core.render.plan import hold_block, problem_lines, summary


class Waiting(msgspec.Struct, frozen=True):
    """Something that ends by itself: a quarantine or a pause. `until`: unix seconds."""

    subject: str
    until: float
    target: str = ""
    reason: str = ""


class Situation(msgspec.Struct, frozen=True):
    """What `trueup status` tells. Times in unix seconds."""

    plan: Plan
    applied: str | None
    """The revision applied last, or None."""
    head: str
    loop: str
    """What runs by itself, in words."""
    quarantined: tuple[Waiting, ...] = ()
    paused: tuple[Waiting, ...] = ()
    in_flight: tuple[str, ...] = ()
    """Steps that were begun and of which no outcome is known."""
    sequence: int = 0
    problem: str = ""
    """Why the newest revision is not in force."""


def status_text(found: Situation, view: View | None = None) -> str:
    view = view or View()
    plan = found.plan
    lines = [*problem_lines(plan, view), f"{plan.datacenter} · {plan.branch or 'no branch'} · {found.loop}", ""]
    lines.append(f"{'Applied':<12}{_revision(found)}")
    for number, line in enumerate(found.problem.split("\n") if found.problem else []):
        lines.append(f"{'' if number else 'Not in force':<12} {line}")
    lines.append(f"{'Pending':<12}{summary(plan).removeprefix('Plan: ')}")
    if found.in_flight:
        lines.append(f"{'Cut short':<12}{counted(len(found.in_flight), 'step')}; the next apply goes on from there")
        lines += [f"{INDENT}{step}" for step in found.in_flight[:5]]
    lines += _waiting("Quarantine", found.quarantined, "brought back by: trueup restore {}", view)
    lines += _waiting("Paused", found.paused, "ended by: trueup resume {}", view)
    if plan.holds:
        lines += ["", f"Held {len(plan.holds)}"]
        for group in fold_holds(plan.holds, expand=view.expand):
            lines += hold_block(group)
    return finished(lines)


def _revision(found: Situation) -> str:
    if found.applied is None:
        return f"nothing yet; git is at {found.head[:7]}"
    if found.applied == found.head:
        return f"{found.applied[:7]}, as in git"
    return f"{quantities.revision(found.applied)}; git is at {found.head[:7]}"


def _waiting(title: str, waiting: tuple[Waiting, ...], way: str, view: View) -> list[str]:
    if not waiting:
        return []
    lines = ["", f"{title} {len(waiting)}"]
    for each in waiting:
        left = f", {quantities.duration(each.until - view.now)} left" if view.now is not None else ""
        lines.append(pair(f"  {each.subject} until {quantities.moment(each.until)}{left}", each.target))
        lines += [f"{INDENT}{each.reason}"] if each.reason else []
    subjects = {each.subject for each in waiting}
    subject = short(next(iter(subjects))) if len(subjects) == 1 and "Node/" not in next(iter(subjects)) else "REF"
    return [*lines, f"{INDENT}{way.format(subject)}"]
