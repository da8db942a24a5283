"""A whole plan as text: head, changes worst first, room, limits, holds, summary.

Owns: the page that people approve. Must not go here: a change's wording (changes), grouping (fold).
"""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.core.plan import WORDS, Action, BudgetUse, Change, Headroom, Hold, LimitUse, Plan, Risk
from reconciler.core.refs import kind_of, short
from reconciler.core.render import quantities
from reconciler.core.render.changes import INDENT, View, block
from reconciler.core.render.fold import fold, fold_holds, place_in_page, predicted_seconds
from reconciler.core.render.lines import finished, pair
from reconciler.core.render.names import compressed, counted, listed

_SECTIONS = {
    Risk.DATA_LOSS: "DATA LOSS",
    Risk.RESTART: "RESTART",
    Risk.DISRUPTIVE: "DISRUPTIVE",
    Risk.LIVE: "LIVE",
    Risk.NONE: "NONE",
}
_PROBLEMS_SHOWN = 5
_STALE = 10


def plan_text(plan: Plan, view: View | None = None) -> str:
    """The plan for people, worst first. Equal plans and views give equal text."""
    view = view or View()
    lines = [*problem_lines(plan, view), *_head(plan, view), ""]
    for risk, title in _SECTIONS.items():
        changes = sorted((c for c in plan.changes if c.risk is risk), key=place_in_page)
        if changes:
            lines.append(f"{title} {len(changes)}")
            for group in fold(changes, expand=view.expand):
                lines += block(group, view)
            lines.append("")
    room = [*_headroom(plan.headroom, view), *_limits(plan.limits, view), *_budgets(plan.budgets)]
    lines += [*room, ""] if room else []
    lines += _holds(plan.holds, view)
    lines += [summary(plan), *_last(plan, view)]
    return finished(lines)


def problem_lines(plan: Plan, view: View) -> list[str]:
    """What could not be seen comes before everything else. Empty if all was seen."""
    if plan.complete:
        return []
    count = counted(len(plan.problems), "problem")
    lines = [f"OBSERVATION INCOMPLETE, {count}: what cannot be seen is left alone"]
    shown = plan.problems if view.expand else plan.problems[:_PROBLEMS_SHOWN]
    lines += [f"  ! {problem}" for problem in shown]
    rest = len(plan.problems) - len(shown)
    return [*lines, f"  ! and {rest} more (--expand)"] if rest else lines


def _head(plan: Plan, view: View) -> list[str]:
    revision = plan.commit[:7] if plan.commit else f"uncommitted tree {plan.tree[:7]}"
    since = [view.since, "→"] if view.since and view.since != revision else []
    words = [plan.datacenter, " ".join(word for word in (plan.branch, *since, revision) if word)]
    if plan.observed_at:
        words.append(_observed(plan, view))
    lines = [" · ".join(words)]
    if plan.changes:
        worst = min((change.risk for change in plan.changes), key=list(Risk).index)
        lines.append(
            f"plan {plan.digest[:8]} · {counted(len(plan.changes), 'change')}, {counted(len(plan.steps), 'step')}"
            f" · about {quantities.duration(predicted_seconds(plan))} · {_worst(worst, plan)}"
        )
    return lines


def _observed(plan: Plan, view: View) -> str:
    age = view.now - plan.observed_at if view.now is not None else 0
    old = f" ({quantities.duration(age)} old)" if age > _STALE else ""
    whole = "complete" if plan.complete else "incomplete"
    seen = listed(room.target for room in plan.headroom)
    return f"observed {quantities.time_of_day(plan.observed_at)}{old}, {whole}" + (f": {seen}" if seen else "")


def _worst(worst: Risk, plan: Plan) -> str:
    if worst is Risk.NONE:
        return "nothing is at risk"
    if worst is not Risk.DATA_LOSS:
        return f"worst: {_SECTIONS[worst].lower()}"
    losses = [change for change in plan.changes if change.risk is worst]
    if not all(change.recoverable_for for change in losses):
        return "worst: DATA LOSS"
    seconds = min(change.recoverable_for or 0 for change in losses)
    return f"worst: DATA LOSS, recoverable for {quantities.duration(seconds)}"


def _headroom(rooms: Sequence[Headroom], view: View) -> list[str]:
    lines = []
    for title, name, spell in (
        ("Free memory", "memory", quantities.size),
        ("Free cpu", "cpu", quantities.cores),
        ("Free disk", "disk", quantities.size),
    ):
        words = []
        for room in rooms:
            pair_: tuple[int, int] | None = getattr(room, name)
            if pair_ is not None and pair_[0] != pair_[1]:
                note = f" ({room.note})" if room.note else ""
                words.append(f"{room.target} {spell(pair_[0])} → {spell(pair_[1])}{note}")
        if words:
            shown = words if view.expand else words[:6]
            rest = [f"and {len(words) - len(shown)} more"] if len(words) > len(shown) else []
            lines.append(f"{title:<14}" + "   ".join([*shown, *rest]))
    return lines


def _limits(limits: Sequence[LimitUse], view: View) -> list[str]:
    """`acme memory 30Gi → 37Gi of 64Gi`: what tenants take of their limits."""
    words = []
    for use in limits:
        before, after, limit = (quantities.value(f"/{use.what}", each) for each in (use.before, use.after, use.limit))
        words.append(f"{use.tenant} {use.what} {before} → {after} of {limit}")
    shown = words if view.expand else words[:6]
    rest = [f"and {len(words) - len(shown)} more"] if len(words) > len(shown) else []
    return [f"{'Limits':<14}" + "   ".join([*shown, *rest])] if words else []


def _budgets(budgets: Sequence[BudgetUse]) -> list[str]:
    spent: dict[str, list[str]] = {}
    for use in budgets:
        if use.spent:
            window = WORDS.get(use.window, use.window).format(use.of)
            spent.setdefault(use.budget, []).append(f"{use.spent} of {use.allowed} {window}")
    words = [f"{budget} {', '.join(uses)}" for budget, uses in spent.items()]
    return [f"{'Budgets':<14}" + "   ".join(words)] if words else []


def _holds(holds: Sequence[Hold], view: View) -> list[str]:
    if not holds:
        return []
    lines = [f"Held {len(holds)}"]
    for group in fold_holds(holds, expand=view.expand):
        lines += hold_block(group)
    return [*lines, ""]


def hold_block(group: Sequence[Hold]) -> list[str]:
    head = group[0]
    where = listed(hold.target for hold in group if hold.target)
    if len(group) == 1:
        subject = head.ref
    else:
        subject = f"{kind_of(head.ref)} {compressed((short(hold.ref) for hold in group), 8)}"
    told = not where or where == short(head.ref) or where in head.sentence
    lines = [pair(f"  ! {subject}: {head.sentence}", "" if told else where)]
    lines += [f"{INDENT}{line}" for line in _held_differences(group)]
    lifts = head.lifts.replace(short(head.ref), _named(group))
    lines.append(f"{INDENT}rule {head.rule}" + (f" · {lifts}" if lifts else ""))
    return lines


def _named(group: Sequence[Hold]) -> str:
    """What a command that lifts them all is told: each, as long as they fit into a line."""
    return " ".join(short(hold.ref) for hold in group) if len(group) <= 3 else "REF"


def _held_differences(group: Sequence[Hold]) -> list[str]:
    lines = []
    for found in group[0].differences:
        before, after = quantities.difference(found.path, found.before, found.after)
        lines.append(f"{quantities.field_name(found.path)} is {before}, git says {after}")
    return lines


def summary(plan: Plan) -> str:
    """`Plan: 1 to add, 7 to change (1 with restart), 1 to destroy (recoverable). 1 held. 3 unmanaged objects.`"""
    held = [f"{len(plan.holds)} held."] if plan.holds else []
    strange = [f"{counted(plan.unmanaged, 'unmanaged object')}."] if plan.unmanaged else []
    if not plan.changes:
        agree = "Nothing to do: git and the nodes agree." if not held and plan.complete else "Nothing to do."
        return " ".join([agree, *held, *strange])
    by = {action: [c for c in plan.changes if c.action is action] for action in Action}
    words = [f"{len(by[Action.CREATE])} to add", _updates(by[Action.UPDATE]), _destroys(by[Action.DESTROY])]
    for action, what in _MORE.items():
        if action is Action.ADOPT:
            nodes = [c for c in by[action] if kind_of(c.ref) == "Node"]
            words += [f"{len(nodes)} to claim"] if nodes else []
            words += [f"{len(by[action]) - len(nodes)} {what}"] if len(by[action]) > len(nodes) else []
        elif by[action]:
            words.append(f"{len(by[action])} {what}")
    return " ".join([f"Plan: {', '.join(words)}.", *held, *strange])


_MORE = {
    Action.REPLACE: "to replace",
    Action.MOVE: "to move",
    Action.RENAME: "to rename",
    Action.RESTORE: "to restore",
    Action.PURGE: "to purge",
    Action.FORGET: "to forget",
    Action.ADOPT: "to adopt",
}


def _updates(changes: Sequence[Change]) -> str:
    restarts = sum(change.risk is Risk.RESTART for change in changes)
    return f"{len(changes)} to change" + (f" ({restarts} with restart)" if restarts else "")


def _destroys(changes: Sequence[Change]) -> str:
    machines = [change for change in changes if change.risk is Risk.DATA_LOSS]
    recoverable = machines and all(change.recoverable_for for change in machines)
    return f"{len(changes)} to destroy" + (" (recoverable)" if recoverable else "")


def _last(plan: Plan, view: View) -> list[str]:
    if not plan.changes:
        return []
    proof = "Next plan proved empty" + (" but for what is held. " if plan.holds else ". ") if plan.proved else ""
    how = f"Apply exactly this: trueup apply {plan.digest[:8]}" if plan.commit else "Commit it to apply it."
    if view.learning:
        how += " Its nodes are for learning: trueup apply --dirty takes it as it is."
    return [f"{proof}{how}"]
