"""Asking the nodes: all at once within limits, each within its deadline, none able to spoil the others.

Owns: turning whatever a driver does (reports, silence, an exception) into a Report per declared target. A node that
cannot be read gives an incomplete report with its problem: unknown is never absent.
Must not go here: what a report means (core), how a node is read (drivers), when to ask (loop).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping

import msgspec

from reconciler.core.desired import NodeWant
from reconciler.core.ledger import Covered, Ledger
from reconciler.core.observed import Capacity, Object, Report, Unchanged
from reconciler.core.refs import Target
from reconciler.core.standing import standing
from reconciler.driver import NodeUnreachable
from reconciler.errors import FenceLost
from reconciler.ports import Journal
from reconciler.runtime.events import Emit, NodeAsked, harmless
from reconciler.runtime.nodes import Nodes
from reconciler.waiting import loop


class Asking(msgspec.Struct, frozen=True):
    """How many nodes are asked side by side, how many seconds each may take, and whom to tell meanwhile. `take` is
    given each report as it comes, whole; what is returned is then without objects, which of a large fleet are many."""

    nodes: int = 64
    deadline: float = 30.0
    emit: Emit | None = None
    take: Callable[[Report], object] | None = None


def targets_of(node: NodeWant) -> tuple[Target, ...]:
    """Where things can live on a node: its members if it has any, else itself."""
    if not node.members:
        return (Target(node.name),)
    return tuple(Target(f"{node.name}/{member}") for member in node.members)


def unread(target: Target, began: int, problem: str) -> Report:
    """The report of a target that could not be asked: it proves nothing."""
    return Report(
        target=target,
        began=began,
        complete=False,
        identity=None,
        claim=None,
        capacity=Capacity(),
        objects=(),
        digest="",
        problem=problem,
    )


async def observe_node(
    node: NodeWant,
    nodes: Nodes,
    *,
    began: int,
    known: Mapping[Target, Report] | None = None,
    deadline: float = 30.0,
) -> dict[Target, Report]:
    """A report for each target of the node; raises nothing but cancellation. `known`: the reports we hold, which
    an unchanged target may answer to. `began`: the journal's sequence now."""
    targets = targets_of(node)
    held = {target: known[target] for target in targets if target in known} if known else {}
    since = {target: report.digest for target, report in held.items() if report.complete and report.digest}
    problem = f"no answer within {deadline:g} s"
    answers: tuple[Report | Unchanged, ...] = ()
    import anyio

    with anyio.move_on_after(deadline):
        try:
            answers = await nodes.driver(node).observe(began=began, since=since or None)
            problem = "its driver said nothing of it"
        except NodeUnreachable as error:
            problem = str(error) or "it could not be reached"
        except Exception as error:
            # Whatever a driver raises concerns its node alone; the text is all that people can be told of it.
            problem = in_words(error)
    seen = {answer.target: _dated(answer, held, began) for answer in answers}
    return {target: seen.get(target) or unread(target, began, problem) for target in targets}


def in_words(error: BaseException) -> str:
    """An exception that was not made for people, on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _dated(answer: Report | Unchanged, held: Mapping[Target, Report], began: int) -> Report | None:
    """The full report behind an answer, never dated later than we began to ask."""
    report = held.get(answer.target) if isinstance(answer, Unchanged) else answer
    if report is None or report.digest != answer.digest:
        return None
    when = min(answer.began, began)
    return report if report.began == when else msgspec.structs.replace(report, began=when)


def coverage(reports: Iterable[Report], ledger: Ledger, datacenter: str) -> tuple[Covered, ...]:
    """Entries for the targets whose complete listing can be trusted for the first time, and holds nothing of ours that
    the ledger does not know: what it does not know goes into it with the plan's own entries, and only then may the
    target fall silent without its machines being made elsewhere (invariant I2)."""
    fresh = []
    for report in reports:
        state = standing(report.target, report, ledger.claims, datacenter)
        if report.target in ledger.covered or state.problem is not None or state.partial is not None:
            continue
        if all(_remembered(found, report.target, ledger) for found in report.objects):
            fresh.append(Covered(report.target))
    return tuple(fresh)


def _remembered(found: Object, target: Target, ledger: Ledger) -> bool:
    binding = ledger.bindings.get((found.marks.ref, target)) if found.marks is not None else None
    return found.marks is None or (binding is not None and binding.uid == found.marks.uid)


def outbid(reports: Iterable[Report], fence: int, datacenter: str) -> FenceLost | None:
    """The error to give way with, if a node of ours has seen a higher fence than our own."""
    for report in reports:
        claim = report.claim
        if claim is not None and claim.datacenter == datacenter and claim.fence > fence:
            return FenceLost(
                f"{report.target} was written to with fence {claim.fence}, ours is {fence}: another controller acts",
                hint="stop one of the two; if the state folder was lost, `trueup journal rebuild` makes a new one",
            )
    return None


async def observe(
    wanted: Iterable[NodeWant],
    nodes: Nodes,
    journal: Journal,
    *,
    datacenter: str,
    known: Mapping[Target, Report] | None = None,
    asking: Asking | None = None,
) -> dict[Target, Report]:
    """Ask these nodes; a report for every target of theirs, in order of the targets. `datacenter`: its id.
    Journals coverage. Raises only what the journal raises."""
    waiting = deque(wanted)
    if not waiting:
        return {}
    await loop()
    import anyio

    asking = asking or Asking()
    emit = harmless(asking.emit)
    every, found, fresh = len(waiting), dict[Target, Report](), list[Covered]()

    async def ask() -> None:
        while waiting:
            node = waiting.popleft()
            start, began = anyio.current_time(), journal.ledger.sequence
            reports = await observe_node(node, nodes, began=began, known=known, deadline=asking.deadline)
            fresh.extend(coverage(reports.values(), journal.ledger, datacenter))
            for target, report in reports.items():
                found[target] = report if asking.take is None else _taken(report, asking.take)
            asked.append(node.name)
            if emit is not None:
                emit(_asked(node, reports, len(asked), every, anyio.current_time() - start))

    asked: list[str] = []
    async with anyio.create_task_group() as group:
        for _ in range(min(asking.nodes, every)):
            group.start_soon(ask)
    if fresh:
        fresh.sort(key=lambda entry: entry.target)
        await journal.append(fresh)
    return {target: found[target] for target in sorted(found)}


def _taken(report: Report, take: Callable[[Report], object]) -> Report:
    take(report)
    return msgspec.structs.replace(report, objects=())


def _asked(node: NodeWant, reports: Mapping[Target, Report], done: int, every: int, seconds: float) -> NodeAsked:
    problems = [report.problem or "read in part" for report in reports.values() if not report.complete]
    objects = sum(len(report.objects) for report in reports.values())
    return NodeAsked(node.name, done, every, objects, seconds, problems[0] if problems else None)
