"""One pair of hands of an execution: takes a step, journals its intent, calls the driver, keeps the outcome.

Owns: the order of journal and driver around a step, and what the workers of one execution share (Board).
Must not go here: which step comes next (lanes), when all ends (execute), what a step does (drivers).

A worker keeps the result of a step until it journals its next intent, so that both share one commit; what waited for
that step goes on only after it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence

import anyio
import msgspec

from reconciler.core.ledger import Entry, Intent, Ledger, Result, Spent
from reconciler.core.outages import Downtime
from reconciler.core.pauses import refusal as paused
from reconciler.core.plan import Plan, Step
from reconciler.core.refs import Target
from reconciler.core.rules import unrested
from reconciler.driver import Driver, Outcome, StepContext
from reconciler.errors import TrueupError
from reconciler.ports import Clock, Fencing, Files, Journal, Secrets
from reconciler.runtime.events import Emit, StepEnded, StepProgress, Stopping, started
from reconciler.runtime.foreign import of_the_call
from reconciler.runtime.lanes import Lane, Lanes
from reconciler.runtime.observe import in_words
from reconciler.runtime.provide import content, files_for, plain, redacted, secret_names, secrets_for
from reconciler.runtime.summary import GOOD

Allowance = Callable[[tuple[Spent, ...], Ledger, float], str | None]
"""What the rules say to spending these at a time (unix seconds): None, or why not. Pure."""

_NOTHING: Mapping[str, str] = {}
_SLOWEST, _HUGE = 10 << 20, 100 << 30
"""Bytes a second that data are carried over at least, and how many there are where nobody can tell."""


class Pace(msgspec.Struct, frozen=True):
    """Bounds: `workers` steps in all and `per_target` of them on one target side by side; seconds that a step may
    take at least (`deadline`, more if it is expected to take long), and that one in hand has when all stops (`grace`).
    """

    workers: int = 200
    per_target: int = 4
    deadline: float = 120.0
    grace: float = 30.0

    def seconds(self, step: Step) -> float:
        """How long a step may take: a good deal more than expected, and longer than it waits for readiness."""
        seconds, args = 10 * step.seconds, step.args
        if step.verb == "ready":
            seconds = max(seconds, float(args.get("ready", {}).get("within", 0)) + 10)
        if "bytes" in args:
            seconds = max(seconds, (args["bytes"] or _HUGE) / _SLOWEST)
        return seconds if seconds > self.deadline else self.deadline


class Means(msgspec.Struct, frozen=True):
    """What an execution works with. `driver` may raise, in words for people."""

    journal: Journal
    clock: Clock
    fencing: Fencing
    driver: Callable[[Target], Driver]
    secrets: Secrets | None = None
    files: Files | None = None
    allowance: Allowance = lambda _spent, _ledger, _now: None
    spending: anyio.Lock = msgspec.field(default_factory=anyio.Lock)
    """One for all executions that share the journal."""


class Board:
    """What the workers of one execution share. `generation` is the run's, `tried` the steps whose intent an earlier
    run of the plan has journalled already."""

    def __init__(self, plan: Plan, means: Means, pace: Pace, *, lanes: Lanes, emit: Emit | None) -> None:
        self.plan = plan
        self.means = means
        self.ledger = means.journal.ledger
        self.pace = pace
        self.lanes = lanes
        self.emit = emit
        self.generation = plan.generation
        self.tried: frozenset[str] = frozenset()
        self.workers: list[Worker] = []
        self.resting: deque[Worker] = deque()
        self.refused: list[str] = []
        self.downtimes: list[Downtime] = []
        self.stopped: str | None = None
        self.over = False
        self.latest = float("inf")
        self.ticked = anyio.current_time()
        """The time as the executor's watch read it last, a moment ago."""
        self.fence_lost = False
        self.error: TrueupError | None = None

    def stop(self, reason: str) -> None:
        """Hand out no more steps; those in hand have the grace to finish. Only the first reason is kept."""
        if self.stopped is not None:
            return
        self.stopped = reason
        self.latest = anyio.current_time() + self.pace.grace
        if self.emit is not None:
            in_hand = tuple(worker.step.id for worker in self.workers if worker.step is not None)
            self.emit(Stopping(reason, in_hand, self.pace.grace))
        self.nudge()

    def fail(self, error: TrueupError) -> None:
        """The journal cannot be written: nothing more may begin."""
        self.error = self.error or error
        self.stop(error.message)

    def give_way(self) -> bool:
        """True if another controller has taken over; then all stops."""
        if self.means.fencing.lost():
            self.outbid()
        return self.stopped is not None

    def outbid(self) -> None:
        """Another controller has taken over, by the lock's word or by a node's."""
        self.fence_lost = True
        self.stop("another controller has taken over")

    def time(self) -> float:
        """The loop's time; near enough where nobody is told how long a step took."""
        return self.ticked if self.emit is None else anyio.current_time()

    def tell_ended(self, step: Step, outcome: Outcome, began: float) -> None:
        down = self._downtime(step) if self.ledger.outages.last else None
        if down is not None:
            self.downtimes.append(down)
        if self.emit is not None:
            said = (outcome.status, outcome.reason, anyio.current_time() - began)
            self.emit(StepEnded(step.id, step.ref, step.target, step.verb, *said, down))

    def _downtime(self, step: Step) -> Downtime | None:
        """How long the machine was down that this step brought back."""
        outage = self.ledger.outages.by(step.uid, self.plan.digest, step.id)
        if outage is None:
            return None
        predicted = self.lanes.change_of(step).downtime or None
        return Downtime(step.ref, outage.target, outage.seconds, predicted, outage.source)

    def tell_passed(self) -> None:
        if self.emit is not None:
            for step, outcome in self.lanes.passed:
                self.emit(StepEnded(step.id, step.ref, step.target, step.verb, outcome.status, outcome.reason))
        self.lanes.passed.clear()

    def nudge(self) -> None:
        """Wake as many resting workers as there is work for; all of them once nothing can come any more: all
        stopped, or nobody has a step, none is ready and no pause runs."""
        idle = len(self.resting) == len(self.workers)
        if self.stopped is not None or (idle and not self.lanes.turns and not self.lanes.pausing):
            self.over = True
        wanted = len(self.resting) if self.over else min(len(self.resting), self.lanes.turns)
        for _ in range(wanted):
            self.resting.popleft().wake.set()


class Worker:
    """Takes lanes, one step at a time. `step` and `expires` are set exactly while a driver has the step, `fetching`
    while secrets or files for it are. Only then may it be `cut_off`."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.step: Step | None = None
        self.expires = 0.0
        self.fetching = False
        self.wake = anyio.Event()
        self._scope = anyio.CancelScope(shield=True)
        self._cut = False
        self._lane: Lane | None = None
        self._outcome: Outcome | None = None
        self._intended = False
        self._began = 0.0
        self._kept: list[Entry] = []
        self._halfway: int | None = None
        """Where in them the result stands of which the change goes on in this hand."""
        self._ended: list[tuple[Step, Outcome, float]] = []

    def cut_off(self) -> None:
        """What is in hand has taken too long, or is not needed any more."""
        self._cut = True
        self._scope.cancel()

    async def run(self) -> None:
        """Until nothing can come any more. Shielded: whoever wants it to end stops the board."""
        more = True
        while more:
            self._cut = False
            with anyio.CancelScope(shield=True) as self._scope:
                more = await self._work()
            if self._scope.cancelled_caught and self._intended:
                waited = anyio.current_time() - self._began
                self._outcome = Outcome("unconfirmed", f"cut off: no answer within {waited:.0f} s")

    async def _work(self) -> bool:
        """Lane after lane. True: the scope has been cancelled, go on in a fresh one."""
        board = self.board
        while not self._cut:
            if self._outcome is not None:
                self._record(self._outcome)
            lane = None if board.stopped is not None else self._lane or board.lanes.next()
            if lane is not None:
                self._lane = lane
                if board.resting and board.lanes.turns:
                    board.nudge()
                await self._carry_out(lane)
            elif self._kept or self._ended:
                await self._journal([])
            elif not await self._rest():
                return False
        return True

    async def _rest(self) -> bool:
        """Wait for something to do; False when nothing can come any more."""
        board = self.board
        self.wake = anyio.Event()
        board.resting.append(self)
        board.nudge()
        await self.wake.wait()
        return not board.over

    async def _carry_out(self, lane: Lane) -> None:
        """Step after step, for as long as the lane stays in this hand. In one frame, since most steps need nothing
        but their intent and their call."""
        board, means = self.board, self.board.means
        while self._lane is lane and board.stopped is None:
            step = lane.steps[lane.position]
            self._began, self._intended = board.time(), False
            secrets = files = _NOTHING
            try:
                if not plain(step):
                    secrets, files = await self._fetch(step)
                driver = means.driver(step.target)
            except TrueupError as error:
                self._record(Outcome("failed", str(error)))
                continue
            except Exception as error:
                # Opening a driver is its author's code: what goes wrong there is this step's failure alone.
                self._record(Outcome("failed", in_words(error)))
                continue
            if self._cut or board.give_way():
                return
            asked = board.ledger.pauses or step.verb == "purge"
            refusal = self._refusal(lane, step) if asked else None
            if refusal is not None:
                self._refuse(refusal)
                continue
            intent = step.intent(board.plan.digest)
            if step.on_intent:
                if not await self._spend(step, intent):
                    continue
            else:
                try:
                    await self._handed_in(intent)
                except TrueupError as error:
                    self._unwritten(error)
                    return
                if self._ended:
                    self._let_go()
            context = self._context(step, secrets, files)
            self.expires, self._intended, self.step = self._began + context.deadline, True, step
            if board.emit is not None:
                board.emit(started(step))
            try:
                outcome = await driver.apply(step, context)
                if not isinstance(outcome, Outcome):
                    raise TypeError("it gave no outcome")
            except BaseException as error:
                # Against the contract: nobody can say what happened on the node.
                outcome = Outcome("unconfirmed", f"its driver broke off: {in_words(of_the_call(error))}")
            finally:
                self.step = None
            if outcome.outbid:
                board.outbid()
            if secrets:
                outcome = Outcome(outcome.status, redacted(outcome.reason, secrets))
            if self._cut:
                self._outcome = outcome
                return
            self._record(outcome)

    async def _fetch(self, step: Step) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """Secrets and files, if it needs any. Raises TrueupError if one cannot be had."""
        means, names, wanted = self.board.means, secret_names(step), content(step)
        if not names and not wanted:
            return _NOTHING, _NOTHING
        await self._journal([])
        self.fetching = True
        try:
            return await secrets_for(names, means.secrets), await files_for(wanted, means.files)
        finally:
            self.fetching = False
            # Fetching has its own patience; the step's time begins now.
            self._began = self.board.time()

    def _context(self, step: Step, secrets: Mapping[str, str], files: Mapping[str, str]) -> StepContext:
        board, means, emit = self.board, self.board.means, self.board.emit
        applied, generation = board.ledger.applied, board.generation
        if applied is not None and applied.generation > generation:
            # Plans of this controller run side by side, each on things of its own: to a node they are one writer.
            generation = applied.generation
        fence, now, seconds = means.fencing.fence, means.clock.now(), board.pace.seconds(step)
        if emit is None:
            return StepContext(fence, generation, now, seconds, secrets=secrets, files=files)

        def progress(text: str) -> None:
            emit(StepProgress(step.id, step.ref, step.target, redacted(text, secrets)))

        return StepContext(fence, generation, now, seconds, progress, secrets, files)

    def _refusal(self, lane: Lane, step: Step) -> str | None:
        """Why it is to be left alone, by what is known by now; None if it is not."""
        board = self.board
        refusal = None
        if lane.position == 0 and board.ledger.pauses:
            refusal = paused(board.ledger, step, board.means.clock.now())
        if refusal is None and step.verb == "purge":
            refusal = unrested(board.ledger, step, board.means.clock.instant())
        return refusal

    async def _spend(self, step: Step, intent: Intent) -> bool:
        """Make durable an intent and what comes with it, if the budgets allow what that spends. False: it was not to
        be."""
        board = self.board
        again = step.id in board.tried
        entries = [intent, *(entry for entry in step.on_intent if not (again and isinstance(entry, Spent)))]
        spent = tuple(entry for entry in entries if isinstance(entry, Spent))
        if not spent:
            return await self._journal(entries)
        await self._journal([])
        # One after the other, whichever plan it is of: what one spends is in the ledger before the next one asks.
        async with board.means.spending:
            refusal = board.means.allowance(spent, board.ledger, board.means.clock.now())
            if refusal is None:
                return board.stopped is None and await self._journal(entries)
        self._refuse(refusal)
        return False

    def _refuse(self, why: str) -> None:
        self.board.refused.append(why)
        self._record(Outcome("deferred", why))

    def _record(self, outcome: Outcome) -> None:
        """A step has ended. Its result waits for the next commit of this worker."""
        board, lane = self.board, self._lane
        assert lane is not None
        self._outcome, step, place = None, lane.steps[lane.position], len(self._kept)
        good = outcome.status in GOOD
        if self._intended:
            plan, status, reason = board.plan.digest, outcome.status, outcome.reason
            self._kept.append(Result(plan, step.id, step.target, step.ref, status, reason, step.source))
        if good and step.on_applied:
            self._kept.extend(step.on_applied)
        self._ended.append((step, outcome, self._began))
        goes_on = board.lanes.finish(lane, outcome)
        self._halfway = place if good and self._intended and lane.position < len(lane.steps) else None
        if not goes_on:
            self._lane = None
            self._rests_halfway()
        if board.resting and board.lanes.turns:
            board.nudge()

    def _rests_halfway(self) -> None:
        """The result that is kept last is not followed by the next intent of its change in the same commit: whoever
        comes after us has to know."""
        place, self._halfway = self._halfway, None
        if place is not None:
            self._kept[place] = msgspec.structs.replace(self._kept[place], more=True)

    async def _journal(self, entries: Sequence[Entry]) -> bool:
        """Make durable what is kept and these; then tell of the steps that ended and let go on what waited for them."""
        if self._halfway is not None and not entries:
            self._rests_halfway()
        if self._kept or entries:
            try:
                await self._handed_in(*entries)
            except TrueupError as error:
                self._unwritten(error)
                return False
        if self._ended:
            self._let_go()
        return True

    def _handed_in(self, *entries: Entry) -> Awaitable[None]:
        """What is kept and these, on their way. To be awaited at once; then `_let_go`, or `_unwritten`."""
        self._halfway = None
        kept, self._kept = self._kept, []
        kept += entries
        return self.board.means.journal.append(kept)

    def _unwritten(self, error: TrueupError) -> None:
        self._ended = []
        self.board.fail(error)

    def _let_go(self) -> None:
        """What ended is durable: tell of it, and let go on what waited for it."""
        board, lanes = self.board, self.board.lanes
        telling = board.emit is not None or board.ledger.outages.last
        for step, outcome, began in self._ended:
            lanes.release(step.id)
            if telling:
                board.tell_ended(step, outcome, began)
        self._ended = []
        if lanes.passed:
            board.tell_passed()
        if board.resting:
            board.nudge()
