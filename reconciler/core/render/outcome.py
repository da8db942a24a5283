"""What became of a plan, in words.

Owns: the line of an ended step and the page after an apply. Must not go here: counting (runtime.summary).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from reconciler.core.outages import Downtime
from reconciler.core.plan import Plan
from reconciler.core.render import quantities
from reconciler.core.render.changes import INDENT
from reconciler.core.render.lines import finished, pair
from reconciler.core.render.names import counted

SIGNS = {"applied": "✓", "unchanged": "=", "deferred": "·", "failed": "✗", "unconfirmed": "?"}
_SHOWN = 20


class Unfinished(msgspec.Struct, frozen=True):
    """A change that did not come to its end: the first of its steps that was not applied, and why."""

    ref: str
    target: str
    verb: str
    status: str
    reason: str


class Result(msgspec.Struct, frozen=True):
    """What the page after an apply tells. `steps`: counts by status."""

    changes: int
    steps: Mapping[str, int]
    seconds: float
    before: int = 0
    unfinished: Sequence[Unfinished] = ()
    refused: Sequence[str] = ()
    stopped: str | None = None
    fence_lost: bool = False
    downtimes: Sequence[Downtime] = ()


def down_words(found: Downtime) -> str:
    """`moved inc/a → inc/b, down 4.2 s, predicted 2.5 s`."""
    words = [f"moved {found.source} → {found.target}"] if found.source is not None else []
    words.append(f"down {quantities.duration(found.seconds)}")
    words += [f"predicted {quantities.duration(found.predicted)}"] if found.predicted is not None else []
    return ", ".join(words)


def step_line(status: str, ref: str, target: str, summary: str, seconds: float) -> str:
    """`✓ Machine/acme/web-1  start   edge1, 0.2 s`."""
    took = f", {quantities.duration(seconds)}" if seconds >= 0.05 else ""
    return quantities.clean(pair(f"  {SIGNS.get(status, '?')} {ref}  {summary}", f"{target}{took}"))


def result_text(found: Result) -> str:
    lines: list[str] = []
    for each in found.unfinished[:_SHOWN]:
        lines.append(pair(f"  ! {each.ref}: {each.verb} {each.status}", each.target))
        lines += [INDENT + quantities.clean(line.strip()) for line in each.reason.split("\n") if line.strip()]
    if len(found.unfinished) > _SHOWN:
        lines.append(f"  ! and {len(found.unfinished) - _SHOWN} more")
    lines += [f"  ! {reason}" for reason in found.refused]
    lines += _downtimes(found.downtimes)
    lines += [""] if lines else []
    done = f"{counted(found.changes, 'change')} in {quantities.duration(found.seconds)}"
    earlier = f" ({counted(found.before, 'step')} had been applied before)" if found.before else ""
    if found.fence_lost:
        lines.append(f"Stopped: another controller took over. Applied {done}{earlier}.")
        lines.append("Stop one of the two; if the state folder was lost: trueup journal rebuild")
    elif not found.unfinished:
        lines.append(f"Done: {done}{earlier}.")
    else:
        why = f"Stopped: {found.stopped}. " if found.stopped else ""
        lines.append(f"{why}Applied {done}{earlier}; {len(found.unfinished)} not finished.")
        lines.append("The next apply plans anew and goes on from what is there.")
    return finished(lines)


def _downtimes(found: Sequence[Downtime]) -> list[str]:
    """One line: how long they were down, and the one that was the longest."""
    if not found:
        return []
    ordered = sorted(found, key=lambda each: each.seconds)
    longest = f"{ordered[-1].ref}: {down_words(ordered[-1])}"
    if len(found) == 1:
        return [f"  {longest}"]
    spans = dict.fromkeys(quantities.duration(each.seconds) for each in (ordered[0], ordered[-1]))
    return [f"  {counted(len(found), 'machine')} were down for {' to '.join(spans)}; the longest {longest}"]


def nothing_text(plan: Plan) -> str:
    """An apply of a plan without changes."""
    return finished(["Nothing was done." if plan.holds else "Nothing to do: git and the nodes agree."])
