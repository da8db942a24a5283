"""What was changed on the nodes by hand, with both ways back.

Owns: the page of `trueup drift`, made from a plan that leaves intent aside. Must not go here: finding drift.
"""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.core.plan import Cause, Change, Hold, Plan
from reconciler.core.refs import short
from reconciler.core.render import quantities
from reconciler.core.render.changes import INDENT, View, block
from reconciler.core.render.fold import fold, fold_holds
from reconciler.core.render.lines import finished
from reconciler.core.render.names import counted
from reconciler.core.render.plan import hold_block, problem_lines

DRIFT_RULES = frozenset({"drift", "both", "vanished"})


def drifted(plan: Plan) -> tuple[list[Change], list[Hold]]:
    """What drifted: changes that heal it, and what is only reported."""
    caused = (Cause.DRIFT, Cause.BOTH)
    changes = [c for c in plan.changes if any(found.cause in caused for found in c.differences)]
    return changes, [hold for hold in plan.holds if hold.rule in DRIFT_RULES]


def drift_text(plan: Plan, view: View | None = None) -> str:
    view = view or View()
    changes, holds = drifted(plan)
    count = len({change.ref for change in changes} | {hold.ref for hold in holds})
    lines = problem_lines(plan, view)
    if not count:
        rest = f" {counted(plan.unmanaged, 'unmanaged object')}." if plan.unmanaged else ""
        what = "no drift was seen" if not plan.complete else "the nodes hold what was applied last"
        return finished([*lines, f"Drift: none, {what}.{rest}"])
    if plan.observed_at:
        lines.append(f"{plan.datacenter} · observed {quantities.time_of_day(plan.observed_at)}")
    lines.append("")
    for group in fold_holds(holds, expand=view.expand):
        lines += hold_block(group)
    for changed in fold(changes, expand=view.expand):
        lines += block(changed, view)
    return finished([*lines, "", f"Drift: {counted(count, 'object')} changed on the nodes, not in git.", *_ways(holds)])


def _ways(holds: Sequence[Hold]) -> list[str]:
    refs = sorted({short(hold.ref) for hold in holds if hold.rule != "both"})
    if holds and not refs:
        return []
    if not refs:
        return [f"{INDENT}the next apply takes it back"]
    one = refs[0] if len(refs) == 1 else "--all"
    return [f"To take it back: trueup heal {one}.  To keep it: write it into git and commit."]
