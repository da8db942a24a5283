"""`trueup run`: one process that keeps a datacenter as git wants it. Level-triggered: triggers are reasons, never data.

Owns: what runs side by side (the source, the rounds of the nodes, planning, executions) and how it ends.
Must not go here: the arithmetic of waiting (triggers, retries), what can begin (dispatch), deciding (core).

Planning is global, from the latest report of each node; carrying out is per node: a plan's changes begin where no
step is under way and where the node has been read since our last write. So a node that hangs holds up its own lane.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence

import anyio
import msgspec

from reconciler.core.desired import Desired, Lineage, NodeWant
from reconciler.core.ledger import Entry, Ledger
from reconciler.core.observed import Report
from reconciler.core.plan import Plan
from reconciler.core.planner import Planner
from reconciler.core.refs import Target
from reconciler.core.rules import Request
from reconciler.core.sights import Compress, at_once
from reconciler.errors import FenceLost, Mend, TrueupError, TryLater
from reconciler.handlers import Handlers
from reconciler.ports import Journal
from reconciler.runtime.cycle import means_of, unattended, unfinished
from reconciler.runtime.dispatch import Dispatch, choose, fresh
from reconciler.runtime.events import Emit
from reconciler.runtime.execute import beginning
from reconciler.runtime.handling import Handling
from reconciler.runtime.hints import Hints
from reconciler.runtime.nodes import Nodes
from reconciler.runtime.observe import Asking, coverage, in_words, observe_node, outbid, targets_of
from reconciler.runtime.retries import Retries
from reconciler.runtime.revision import Ports, in_force, newest
from reconciler.runtime.rounds import Cadence, Rounds
from reconciler.runtime.runs import Promise, Runs
from reconciler.runtime.status import Cycle, Status, fold, node_statuses
from reconciler.runtime.summary import Summary
from reconciler.runtime.triggers import Random, Reasons, Trigger, backoff, jittered
from reconciler.runtime.worker import Means, Pace

Watching = Callable[[], AsyncIterator[str]]
"""Yields a word whenever the source may have changed: a hint, never data."""

_LATE = 60.0
"""Seconds from which a source that does not answer is told of."""
_SHOWN = 8  # reasons of a cycle that are kept in words; the rest is counted


class Settings(msgspec.Struct, frozen=True):
    """How the loop waits, asks and works."""

    cadence: Cadence = Cadence()
    asking: Asking = Asking()
    pace: Pace = Pace()
    compress: Compress = at_once


class Noted:
    """A journal that tells the planner's world of each entry, once the shared ledger has folded it."""

    def __init__(self, journal: Journal, note: Callable[[Entry], None]) -> None:
        self._journal = journal
        self._note = note

    @property
    def ledger(self) -> Ledger:
        return self._journal.ledger

    async def append(self, entries: Sequence[Entry]) -> None:
        if entries:
            await self._journal.append(entries)
        for entry in entries:
            self._note(entry)


class Loop:
    """`random` gives numbers in [0, 1); `emit` hears of the steps; `watching` hints at changes of the source;
    `handling` calls people's handlers."""

    def __init__(
        self,
        ports: Ports,
        settings: Settings,
        *,
        random: Random,
        watching: Watching | None = None,
        emit: Emit | None = None,
        handling: Handling | None = None,
    ) -> None:
        self._planner = Planner(ports.shapes, ports.journal.ledger, compress=settings.compress)
        self._ports = msgspec.structs.replace(ports, journal=Noted(ports.journal, self._planner.world.note))
        self._settings = settings
        self._random = random
        self._watching = watching
        cadence = settings.cadence
        self._nodes = Nodes(ports.opening)
        self._rounds = Rounds(self._ask, self._answered, now=ports.clock.now, cadence=cadence, random=random)
        self._hints = Hints(self._nodes, self._rounds.ask)
        self._retries = Retries(first=cadence.retry, longest=cadence.longest, jitter=cadence.jitter, random=random)
        self._handling = handling or Handling(Handlers(), warn=lambda _: None)
        self._runs = Runs(
            settings.pace,
            freed=self._freed,
            ended=self._ended,
            settled=self._settled,
            heard=emit,
            told=self._handling.ended,
        )
        self._reading = anyio.Lock()
        """A source does one thing at a time."""
        self._asked: float | None = None
        """Since when it is being asked for the newest revision."""
        self._source_reasons = Reasons()
        self._reasons = Reasons()
        self._desired: Desired | None = None
        self._means: Means | None = None
        self._lineage: tuple[object, Lineage] | None = None
        self._problems: dict[str, str] = {}
        self._cycles = 0
        self._cycle: Cycle | None = None
        self._last: Summary | None = None
        self.halted = anyio.Event()
        """Set when it begins nothing more, whatever the reason."""
        self._reason = "stopping"
        self._error: TrueupError | None = None

    # -- what others ask of it ---------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until `stop`. Raises what made going on impossible: FenceLost, a broken journal."""
        try:
            async with anyio.create_task_group() as self._runs.group, anyio.create_task_group() as group:
                tasks = (self._follow_source, self._watch_source, self._rounds.run, self._hints.run)
                for task in (*tasks, self._keep_planning, self._handling.run):
                    group.start_soon(self._guarded, task)
                try:
                    await self.halted.wait()
                finally:
                    # Whatever ends it, and whatever (a source) takes its time to come to an end beside them.
                    self.stop("ending")
                    self._runs.stop(self._reason)
                group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await self._nodes.close()
        if self._error is not None:
            raise self._error

    def stop(self, reason: str) -> None:
        """Begin nothing more, let the steps in hand finish (they have the pace's grace), and return from `run`."""
        if not self.halted.is_set():
            self._reason = reason
            self.halted.set()

    def converge(self, subject: str = "") -> None:
        """Somebody wants it now: look at the source and at every node, then plan."""
        self._source_reasons.add(Trigger("converge", subject))
        self._rounds.ask()

    async def note(self, entries: Sequence[Entry]) -> None:
        """Journal a person's word (a pause, an accepted revision) and plan again. Raises what the journal raises."""
        await self._ports.journal.append(entries)
        self._reasons.add(Trigger("note"))

    async def apply(self, plan: Plan, emit: Emit | None = None, *, moves: bool = True) -> Summary:
        """Carry out an approved plan as it stands, once its nodes are free. It goes on if the caller goes away.
        `moves` False: it only heals, and its revision does not become the end of the lineage.

        Raises TrueupError if it could not be begun or the journal cannot be written.
        """
        if self.halted.is_set():
            raise TryLater(f"the loop is {self._reason}", hint="apply it again")
        await self._ports.plans.save(plan)
        if self.halted.is_set():
            raise TryLater(f"not begun: {self._reason}", hint="apply it again")
        promise = Promise(plan, emit, moves=moves)
        self._runs.promised.append(promise)
        self._reasons.add(Trigger("apply", plan.digest[:12]))
        return await promise.result()

    @property
    def executing(self) -> bool:
        """Whether a plan is under way."""
        return self._runs.executing

    @property
    def status(self) -> Status:
        found = fold(
            revision=self._desired.revision.commit or self._desired.revision.tree if self._desired else None,
            problems=(*self._problems.values(), *self._late()),
            cycles=self._cycles,
            cycle=self._cycle,
            ended=self._last,
            nodes=node_statuses(self._rounds.states, self._runs.busy),
        )
        if not self._runs.executing and all(map(self._settled, self._rounds.reports)):
            return found
        # A plan that is gone on with, of which no step has begun yet, makes no node busy; and what a target that was
        # not read since our last write held before says nothing about how it is now.
        return msgspec.structs.replace(found, ready=False, reconciling=True)

    def _late(self) -> tuple[str, ...]:
        """A source that hangs is in nobody's way, and is not followed."""
        waited = anyio.current_time() - self._asked if self._asked is not None else 0.0
        return (f"the source has not answered for {waited:.0f} s",) if waited > _LATE else ()

    # -- the source --------------------------------------------------------------------------------------------------

    async def _follow_source(self) -> None:
        cadence, failures = self._settings.cadence, 0
        reasons: tuple[Trigger, ...] = (Trigger("start"),)
        while True:
            self._asked = anyio.current_time()
            failures = 0 if await self._load(reasons) else failures + 1
            self._asked = None
            wait = backoff(failures, first=cadence.retry, longest=cadence.longest) if failures else cadence.poll
            reasons = (Trigger("poll"),)
            with anyio.move_on_after(jittered(wait, cadence.jitter, self._random)):
                reasons = await self._source_reasons.wait()

    async def _watch_source(self) -> None:
        if self._watching is not None:
            async for hint in self._watching():
                self._source_reasons.add(Trigger("watch", hint))
        await anyio.sleep_forever()

    async def _load(self, reasons: tuple[Trigger, ...]) -> bool:
        """Take the newest revision. False: it could not be read now; one with mistakes is read well enough."""
        readable = True
        try:
            async with self._reading:
                if self._desired is None:
                    found = await in_force(self._ports.source, self._ports.journal.ledger)
                    desired, problem = found.desired, found.problem
                else:
                    desired, problem = await newest(self._ports.source, self._ports.journal.ledger), None
            if problem is None:
                self._problems.pop("source", None)
            else:
                self._problems["source"], readable = str(problem), isinstance(problem, Mend)
            await self._take(desired)
        except (Mend, TryLater) as error:
            self._problems["source"], readable = str(error), isinstance(error, Mend)
        for reason in reasons:
            self._reasons.add(reason)
        return readable

    async def _take(self, desired: Desired) -> None:
        """Also when the revision is the same: the value of a secret changes without a commit."""
        self._desired = desired
        self._planner.world.take_desired(desired, self._ports.source.news())
        self._means = means_of(self._ports, self._nodes, desired)
        self._rounds.declare(desired.nodes)
        await self._nodes.keep(desired.nodes, busy=self._runs.busy)
        self._hints.declare(desired.nodes)

    # -- the nodes ---------------------------------------------------------------------------------------------------

    async def _ask(self, node: NodeWant, known: Mapping[Target, Report]) -> dict[Target, Report]:
        assert self._desired is not None, "nodes are declared by a revision"
        journal, datacenter = self._ports.journal, self._desired.datacenter_id
        deadline = self._settings.asking.deadline
        reports = await observe_node(node, self._nodes, began=journal.ledger.sequence, known=known, deadline=deadline)
        lost = outbid(reports.values(), self._ports.fencing.fence, datacenter)
        if lost is not None:
            self._fail(lost)
        entries = coverage(reports.values(), journal.ledger, datacenter)
        try:
            await journal.append(entries)
        except TrueupError as error:
            self._fail(error)
        return reports

    def _answered(self, name: str) -> None:
        """A node has been asked: tell the world, and plan again if that may change anything."""
        world, node = self._planner.world, self._desired.nodes.get(name) if self._desired else None
        news = self._cycle is None or bool(self._cycle.postponed)
        for target in targets_of(node) if node is not None else ():
            report, old = self._rounds.reports.get(target), world.reports.get(target)
            if report is not None:
                news = news or old is None or (old.digest, old.complete) != (report.digest, report.complete)
                news = self._planner.take_report(report) or news
        if news or world.dirty:
            self._reasons.add(Trigger("timer", name))

    def _settled(self, target: Target) -> bool:
        """It was read since our last write there, and none is under way."""
        return fresh(target, self._rounds.reports, self._ports.journal.ledger)

    def _freed(self, node: str) -> None:
        """Its steps have ended: what it holds now has to be read before anything more is begun there."""
        self._rounds.ask([node])

    # -- planning ----------------------------------------------------------------------------------------------------

    async def _keep_planning(self) -> None:
        reasons = await self._gather_first()
        await self._resume()
        while True:
            began = anyio.current_time()
            await self._plan(reasons)
            # However often nodes answer, planning takes at most a third of the time.
            await anyio.sleep(min(1.0, 2 * (anyio.current_time() - began)))
            due = self._retries.next_due(anyio.current_time())
            reasons = (Trigger("retry"),)
            with anyio.move_on_after(None if due is None else max(0.0, due - anyio.current_time())):
                reasons = await self._reasons.wait()

    async def _gather_first(self) -> tuple[Trigger, ...]:
        """Until there is a revision, and its nodes have had their time to answer: placing on the quickest would be
        placing by chance."""
        gathered: dict[Trigger, None] = {}
        while self._desired is None:
            gathered.update(dict.fromkeys(await self._reasons.wait()))
        with anyio.move_on_after(self._settings.cadence.first):
            while self._rounds.unasked:
                gathered.update(dict.fromkeys(await self._reasons.wait()))
        return tuple(gathered)

    async def _resume(self) -> None:
        """What an earlier process left in flight or halfway comes first, whether git is followed or not: it was begun,
        and approved."""
        assert self._means is not None, "there is a revision"
        for each in await unfinished(self._ports):
            await self._runs.begin(each.plan, self._means, changes=each.changes)

    async def _plan(self, reasons: tuple[Trigger, ...]) -> None:
        """One cycle: the plan of the world as it stands, and the beginning of what can begin."""
        desired, means = self._desired, self._means
        assert desired is not None, "a cycle needs a revision"
        assert means is not None, "they come with the revision"
        if self._ports.fencing.lost():
            raise FenceLost("another controller has taken over this datacenter", hint="stop one of the two")
        for promise in self._runs.ripe():
            await self._runs.begin(promise.plan, means, moves=promise.moves, promise=promise)
        at, start = self._ports.clock.now(), anyio.current_time()
        try:
            request = await self._request(desired)
            plan = self._planner.plan(request)
        except (Mend, TryLater) as error:
            self._problems["planning"] = str(error)
            return
        except Exception as error:
            # A fault of ours must not end the loop: it is shown, and the next trigger tries again.
            self._problems["planning"] = f"planning failed: {in_words(error)}"
            return
        self._problems.pop("planning", None)
        now = anyio.current_time()
        self._retries.keep(change.id for change in plan.changes)
        held = self._handling.planned(plan)
        if held:
            self._problems["handlers"] = "; ".join(f"{change} is held: {why}" for change, why in sorted(held.items()))
        else:
            self._problems.pop("handlers", None)
        chosen = choose(
            plan.changes,
            free=self._runs.frees,
            settled=self._settled,
            waits=lambda change: change.id in held or self._retries.waits(change, now),
        )
        self._record(plan, chosen, reasons, at=at, seconds=now - start)
        await self._carry_out(plan, chosen, means, moves=request.intent)

    async def _request(self, desired: Desired) -> Request:
        """The lineage is asked for again only when what it lies between has moved."""
        ledger = self._ports.journal.ledger
        key = (desired.revision, ledger.applied, len(ledger.accepted))
        if self._lineage is None or self._lineage[0] != key:
            async with self._reading:
                lineage = await self._ports.source.lineage(desired, ledger.applied, frozenset(ledger.accepted))
            self._lineage = (key, lineage)
        request, clock = unattended(desired.policy), self._ports.clock.instant()
        return msgspec.structs.replace(request, now=clock.at, clock=clock, lineage=self._lineage[1])

    async def _carry_out(self, plan: Plan, chosen: Dispatch, means: Means, *, moves: bool) -> None:
        ledger, fence = self._ports.journal.ledger, self._ports.fencing.fence
        plan = self._runs.proved(plan)
        idle = not plan.changes and moves and beginning(plan, ledger, fence) is not None
        if not (chosen.now or plan.entries or idle):
            return
        await self._ports.plans.save(plan)
        now, begun = anyio.current_time(), frozenset(chosen.now)
        for change in plan.changes:
            if change.id in begun:
                self._retries.tried(change, now)
        await self._runs.begin(plan, means, changes=begun, moves=moves)

    def _record(self, plan: Plan, chosen: Dispatch, reasons: tuple[Trigger, ...], *, at: float, seconds: float) -> None:
        words = [str(reason) for reason in reasons[:_SHOWN]]
        if len(reasons) > _SHOWN:
            words.append(f"{len(reasons) - _SHOWN} more")
        self._cycles += 1
        self._cycle = Cycle(
            at=at,
            reasons=tuple(words),
            seconds=seconds,
            plan=plan.digest,
            revision=plan.commit,
            changes=len(plan.changes),
            holds=len(plan.holds),
            begun=len(chosen.now),
            waiting=len(chosen.waiting),
            postponed=len(chosen.postponed),
            unsure=len(chosen.unsure),
        )

    # -- endings -----------------------------------------------------------------------------------------------------

    def _ended(self, result: Summary | TrueupError) -> None:
        if isinstance(result, Summary):
            self._last = result
            if result.fence_lost:
                self._fail(FenceLost("another controller has taken over this datacenter", hint="stop one of the two"))
        elif not isinstance(result, TryLater):
            self._fail(result)
        self._reasons.add(Trigger("ended"))

    def _fail(self, error: TrueupError) -> None:
        self._error = self._error or error
        self.stop(error.message)

    async def _guarded(self, task: Callable[[], Coroutine[object, object, None]]) -> None:
        try:
            await task()
        except TrueupError as error:
            self._fail(error)
        else:
            # It goes on for ever: without it the process would stay, and do only half of what it is there for.
            raise RuntimeError(f"{task.__qualname__} came to an end")
