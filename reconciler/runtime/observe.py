"""Asking the nodes: all at once within limits, each within its deadline, none able to spoil the others.

Owns: turning whatever a driver does (reports, silence, an exception) into a Report per declared target. A node that
cannot be read gives an incomplete report with its problem: unknown is never absent.
Must not go here: what a report means (core), how a node is read (drivers), when to ask (loop).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from time import monotonic
from typing import Any, NamedTuple, Protocol

import msgspec

from reconciler.core.desired import NodeWant
from reconciler.core.ledger import Covered, Ledger
from reconciler.core.observed import Capacity, Object, Report, Told, Unchanged
from reconciler.core.refs import Target
from reconciler.core.standing import standing
from reconciler.driver import NodeUnreachable
from reconciler.driver.prompt import Prompt, Tells
from reconciler.errors import FenceLost
from reconciler.ports import Journal
from reconciler.runtime.events import Emit, NodeAsked, harmless
from reconciler.runtime.foreign import contained
from reconciler.runtime.nodes import Nodes
from reconciler.waiting import alone, loop


class Asking(msgspec.Struct, frozen=True):
    """How many nodes are asked side by side, how many seconds each may take, and whom to tell meanwhile. `take` is
    given each report as it comes, whole; what is returned is then without objects, which of a large fleet are many.
    `beside`: who asks some of the nodes in our stead."""

    nodes: int = 64
    deadline: float = 30.0
    emit: Emit | None = None
    take: Callable[[Report | Told], object] | None = None
    beside: Beside | None = None


class Answer(NamedTuple):
    """What one node came to: its reports without their objects, and what is new in coverage."""

    asked: NodeAsked
    reports: tuple[Report, ...]
    fresh: tuple[Covered, ...]


class Beside(Protocol):
    """Other processes that ask part of the nodes. What their reports hold they give on by themselves."""

    at_once: int
    """So many of the nodes that may be asked side by side are asked there."""

    @property
    def source(self) -> int:
        """Readable when there is news."""
        ...

    def begin(self, nodes: Sequence[NodeWant]) -> None:
        """To be called before there is an event loop."""
        ...

    def claim(self, late: int) -> Sequence[NodeWant]:
        """Some more of the nodes that are left to us, to be asked now; none if there are no more. `late`: so many that
        were claimed are still to be asked in an event loop."""
        ...

    def heard(self, *, wait: bool = False) -> list[Answer]:
        """What has come; `wait`: once something has."""
        ...

    @property
    def forks(self) -> bool:
        """Whether more processes are to begin. Until then nothing may be asked here: a connection is of one process."""
        ...

    @property
    def busy(self) -> bool:
        """Whether there are nodes that will be answered for."""
        ...

    def lost(self) -> list[NodeWant]:
        """Nodes that no process will answer for any more; told once."""
        ...

    def end(self) -> None: ...


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
    held, since = _known_of(node, known)
    problem = f"no answer within {deadline:g} s"
    import anyio.lowlevel

    with anyio.move_on_after(deadline):
        try:
            driver = nodes.driver(node)
            await anyio.lowlevel.checkpoint()  # a driver that answers at once would hold up everybody else
            with contained:
                answers = await driver.observe(began=began, since=since)
            # in here, whatever it gave: what cannot be read concerns its node alone too
            return {at: _opened(report) for at, report in _reported(node, answers, held, began, _SILENT).items()}
        except NodeUnreachable as error:
            problem = str(error) or _UNREACHED
        except Exception as error:
            # Whatever a driver raises concerns its node alone; the text is all that people can be told of it.
            problem = in_words(error)
    return {target: unread(target, began, problem) for target in targets_of(node)}


def observe_at_once(
    node: NodeWant, nodes: Nodes, *, began: int, known: Mapping[Target, Report] | None = None, unread: bool = False
) -> dict[Target, Report | Told] | None:
    """The same of a node whose driver answers at once; needs no event loop. None where it does not: then it is to be
    asked as any other. `unread`: objects may be as they are written."""
    held, since = _known_of(node, known)
    try:
        driver = nodes.driver(node)
        if not isinstance(driver, Prompt) or not driver.prompt():
            return None
        if unread and isinstance(driver, Tells):
            answers = _driven(driver.tell(began, since))
        else:
            answers = _driven(driver.observe(began=began, since=since))
    except NodeUnreachable as error:
        return _reported(node, (), held, began, str(error) or _UNREACHED)
    except Exception:
        return None  # it may be the want of a loop: what it is will be told by asking in one
    return _reported(node, answers, held, began, _SILENT) if answers is not None else None


Answers = tuple[Report | Told | Unchanged, ...]


def _driven(asking: Coroutine[Any, Any, Answers]) -> Answers | None:
    """What a coroutine returns that never waits; None if it does, and it is ended then. Raises what it raises."""
    try:
        asking.send(None)
    except StopIteration as done:
        answers: Answers = done.value
        return answers
    asking.close()
    return None


_SILENT = "its driver said nothing of it"
_UNREACHED = "it could not be reached"


def _known_of(
    node: NodeWant, known: Mapping[Target, Report] | None
) -> tuple[dict[Target, Report], dict[Target, str] | None]:
    """The reports that we hold of it, and the digests of those that it may say are so still."""
    held = {target: known[target] for target in targets_of(node) if target in known} if known else {}
    return held, {at: report.digest for at, report in held.items() if report.complete and report.digest} or None


def _reported(
    node: NodeWant,
    answers: Answers,
    held: Mapping[Target, Report],
    began: int,
    problem: str,
) -> dict[Target, Report | Told]:
    """A report for each of its targets; `problem`: why one of which nothing was said is unread."""
    seen = {answer.target: _dated(answer, held, began) for answer in answers}
    return {target: seen.get(target) or unread(target, began, problem) for target in targets_of(node)}


def in_words(error: BaseException) -> str:
    """An exception that was not made for people, on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _opened(report: Report | Told) -> Report:
    return report.opened() if isinstance(report, Told) else report


def _dated(answer: Report | Told | Unchanged, held: Mapping[Target, Report], began: int) -> Report | Told | None:
    """The full report behind an answer, never dated later than we began to ask."""
    if isinstance(answer, Told):
        return msgspec.structs.replace(answer, report=_dated(answer.report, held, began))
    report = held.get(answer.target) if isinstance(answer, Unchanged) else answer
    if report is None or report.digest != answer.digest:
        return None
    when = min(answer.began, began)
    return report if report.began == when else msgspec.structs.replace(report, began=when)


def coverage(reports: Iterable[Report | Told], ledger: Ledger, datacenter: str) -> tuple[Covered, ...]:
    """Entries for the targets whose complete listing can be trusted for the first time, and holds nothing of ours that
    the ledger does not know: what it does not know goes into it with the plan's own entries, and only then may the
    target fall silent without its machines being made elsewhere (invariant I2)."""
    fresh = []
    for report in reports:
        said = report.report if isinstance(report, Told) else report
        state = standing(report.target, said, ledger.claims, datacenter)
        if report.target in ledger.covered or state.problem is not None or state.partial is not None:
            continue
        if all(_remembered(found, report.target, ledger) for found in _opened(report).objects):
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
    survey = _Survey(list(wanted), nodes, journal, datacenter, known, asking or Asking())
    if not survey.wanted:
        return {}
    found = await survey.all()
    if survey.fresh:
        survey.fresh.sort(key=lambda entry: entry.target)
        await journal.append(survey.fresh)
    return {target: found[target] for target in sorted(found)}


class _Survey:
    """One asking of nodes: see `observe`."""

    def __init__(
        self,
        wanted: list[NodeWant],
        nodes: Nodes,
        journal: Journal,
        datacenter: str,
        known: Mapping[Target, Report] | None,
        asking: Asking,
    ) -> None:
        self.wanted, self.nodes, self.journal, self.datacenter = wanted, nodes, journal, datacenter
        self.known, self.asking, self.emit = known, asking, harmless(asking.emit)
        self.waiting: deque[NodeWant] = deque()
        self.found: dict[Target, Report] = {}
        self.fresh: list[Covered] = []
        self.done = 0

    async def all(self) -> Mapping[Target, Report]:
        asking, beside = self.asking, self.asking.beside
        try:
            if beside is None:
                self.waiting.extend(self.wanted)
            else:
                beside.begin(self.wanted)
                self._heed(beside)  # there may be nodes for which no process could be had
            if alone():
                self._at_once()
            if not self.waiting and not (beside is not None and beside.busy):
                return self.found
            await loop()
            import anyio

            async with anyio.create_task_group() as group:
                if beside is not None:
                    group.start_soon(self._hear, beside)
                for _ in range(min(asking.nodes - (beside.at_once if beside is not None else 0), len(self.waiting))):
                    group.start_soon(self._ask)
        finally:
            if beside is not None:
                beside.end()
        return self.found

    def _at_once(self) -> None:
        """Ask those that answer at once, one after the other; what is left then needs an event loop."""
        beside, late = self.asking.beside, list[NodeWant]()
        while beside is not None and beside.forks:
            self._heed(beside, wait=True)
        while True:
            if beside is not None and not self.waiting:
                self.waiting.extend(beside.claim(len(late)))
            if not self.waiting:
                if beside is None or not beside.busy or late:
                    break
                self._heed(beside, wait=True)
                continue
            node, start, began = self.waiting.popleft(), monotonic(), self.journal.ledger.sequence
            unread = self.asking.take is not None
            reports = observe_at_once(node, self.nodes, began=began, known=self.known, unread=unread)
            if reports is None:
                late.append(node)
            else:
                self._seen(node, reports, monotonic() - start)
                if beside is not None:
                    self._heed(beside)
        self.waiting.extend(late)

    async def _ask(self) -> None:
        import anyio

        while self.waiting:
            node = self.waiting.popleft()
            start, began, deadline = anyio.current_time(), self.journal.ledger.sequence, self.asking.deadline
            reports = await observe_node(node, self.nodes, began=began, known=self.known, deadline=deadline)
            self._seen(node, reports, anyio.current_time() - start)

    def _seen(self, node: NodeWant, reports: Mapping[Target, Report | Told], seconds: float) -> None:
        """A node was asked here."""
        fresh, take = coverage(reports.values(), self.journal.ledger, self.datacenter), self.asking.take
        kept = [_opened(report) if take is None else _taken(report, take) for report in reports.values()]
        self._answered(Answer(asked(node, reports, seconds), tuple(kept), fresh))

    async def _hear(self, beside: Beside) -> None:
        """Until the last of the nodes they were given is answered for; those for which nobody will are asked here. In
        a loop nobody else heeds them, for what was heard already wakes nobody."""
        import anyio

        while beside.busy:
            await anyio.wait_readable(beside.source)
            self._heed(beside)
        async with anyio.create_task_group() as group:
            for _ in range(min(beside.at_once, len(self.waiting))):
                group.start_soon(self._ask)

    def _heed(self, beside: Beside, *, wait: bool = False) -> None:
        for answer in beside.heard(wait=wait):
            self._answered(answer)
        self.waiting.extend(beside.lost())

    def _answered(self, answer: Answer) -> None:
        self.done += 1
        self.fresh += answer.fresh
        self.found.update([(report.target, report) for report in answer.reports])
        if self.emit is not None:
            self.emit(msgspec.structs.replace(answer.asked, done=self.done, all=len(self.wanted)))


def _taken(report: Report | Told, take: Callable[[Report | Told], object]) -> Report:
    take(report)
    return report.report if isinstance(report, Told) else msgspec.structs.replace(report, objects=())


def asked(node: NodeWant, reports: Mapping[Target, Report | Told], seconds: float) -> NodeAsked:
    """What is told of it, for whoever knows which of how many it is."""
    said = [report.report if isinstance(report, Told) else report for report in reports.values()]
    problems = [report.problem or "read in part" for report in said if not report.complete]
    objects = sum(len(each.written if isinstance(each, Told) else each.objects) for each in reports.values())
    return NodeAsked(node.name, 0, 0, objects, seconds, problems[0] if problems else None)
