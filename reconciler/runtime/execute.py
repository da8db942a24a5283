"""Carrying out a plan: a pool of workers over the lanes of its changes. It makes no choices.

Owns: beginning and resuming a run, stopping it, the clock of gates and of overdue steps.
Must not go here: which step comes next (lanes), the order around one step (worker), whether it should be done (core).

Workers are shielded: a cancellation stops the handing out of steps, and those in hand have a grace to come to their
end. What is then still in hand is `unconfirmed`; the next observation will tell.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import anyio
import msgspec

from reconciler.core.ledger import Applied, Bound, Ledger, Moving, Result
from reconciler.core.plan import Change, Plan
from reconciler.runtime.events import Emit, harmless
from reconciler.runtime.lanes import BEFORE, Lanes
from reconciler.runtime.summary import GOOD, Summary, summarise
from reconciler.runtime.worker import Board, Means, Pace, Worker

_TICK = 0.5  # seconds: how late a pause may end, or an overdue step be cut off


def resumes(plan: Plan, ledger: Ledger) -> bool:
    """True if the plan was begun before as it stands. The same changes planned anew are another run."""
    run = ledger.runs.get(plan.digest)
    return run is not None and plan.generation <= run.generation


def reservations(changes: Iterable[Change], ledger: Ledger) -> list[Bound | Moving]:
    """Places and addresses that the changes take, for all of them at once: nothing that is planned while some of them
    wait can take them twice. What replaces another thing keeps its reservation until the step that makes it."""
    wanted = (entry for change in changes for step in change.steps for entry in step.on_intent)
    return [
        entry
        for entry in wanted
        if isinstance(entry, Bound | Moving)
        and all(binding.uid == entry.uid for binding in ledger.bindings.of(entry.ref))
    ]


def beginning(plan: Plan, ledger: Ledger, fence: int, *, moves: bool = True) -> Applied | None:
    """The entry that begins a run of the plan; None where there is nothing to begin.

    `moves` False (only drift is healed), a plan made before the run that was begun last, and a plan of an older
    revision: writes are ordered after what was written, and the lineage stays where it is. (Else the older revision
    would be the newest at the next look, and undo what came after it.)
    """
    last = ledger.applied
    fresh = Applied(
        plan=plan.digest,
        generation=max(plan.generation, ledger.generation + 1),
        fence=fence,
        revision=plan.commit or f"tree:{plan.tree}",
        tree=plan.tree,
        branch=plan.branch or (last.branch if last else ""),
        root=plan.root,
        repository=plan.repository,
        removed=plan.removed,
        returned=plan.returned,
    )
    if last is None:
        return fresh
    if not moves or plan.older or plan.generation <= last.generation:
        stays = msgspec.structs.replace(
            last, plan=plan.digest, generation=fresh.generation, fence=fence, removed=(), returned=()
        )
        return stays if plan.changes else None
    news = plan.changes or plan.removed or plan.returned or (last.revision, last.tree) != (fresh.revision, fresh.tree)
    return fresh if news else None


class Execution:
    """One plan, or those `changes` of it (ids), carried out once. Carrying out a plan again resumes it: steps that the
    journal tells of as applied are not repeated, those that it does not know are re-proved by the driver."""

    def __init__(
        self,
        plan: Plan,
        means: Means,
        *,
        changes: Collection[str] | None = None,
        pace: Pace | None = None,
        emit: Emit | None = None,
        moves: bool = True,
    ) -> None:
        """`moves`: the plan's revision becomes the new end of the lineage (see `beginning`)."""
        self.plan = plan
        self.changes = tuple(change for change in plan.changes if changes is None or change.id in changes)
        self._means = means
        self._pace = pace or Pace()
        self._emit = harmless(emit)
        self._moves = moves
        self._board: Board | None = None
        self._stop: str | None = None
        self._over = False
        self._watching = anyio.CancelScope()
        self.begun = anyio.Event()
        """Set once what the plan reserves is in the ledger, or it could not be begun."""

    async def run(self) -> Summary:
        """Raises what the journal raises (then nothing more was begun), and cancellation, once all in hand ended."""
        start = anyio.current_time()
        try:
            board = self._board = await self._begin()
        finally:
            self.begun.set()
        if self._stop is not None:
            board.stop(self._stop)
        async with anyio.create_task_group() as group:
            group.start_soon(self._watch, board)
            try:
                async with anyio.create_task_group() as hands:
                    for worker in board.workers:
                        hands.start_soon(worker.run)
            finally:
                self._over = True
                self._watching.cancel()
        if board.error is not None:
            raise board.error
        board.lanes.close(board.stopped or "what it waits for waits for it: the plan's order is circular here")
        board.tell_passed()
        if board.stopped is None:
            await self._close_left(board)
        return msgspec.structs.replace(
            summarise(self.plan, self.changes, board.lanes.counts, board.lanes.unapplied),
            before=len(board.lanes.skipped),
            refused=tuple(board.refused),
            stopped=board.stopped,
            fence_lost=board.fence_lost,
            downtimes=tuple(board.downtimes),
            seconds=anyio.current_time() - start,
        )

    def stop(self, reason: str) -> None:
        """Hand out no more steps and let those in hand finish, for which they have the grace."""
        self._stop = self._stop or reason
        if self._board is not None:
            self._board.stop(reason)

    async def _begin(self) -> Board:
        plan, ledger = self.plan, self._means.journal.ledger
        if not resumes(plan, ledger) and not self._means.fencing.lost():
            opening = beginning(plan, ledger, self._means.fencing.fence, moves=self._moves)
            # Housekeeping was right when the plan was made; nothing else may have been begun since.
            housekeeping = plan.entries if plan.generation > ledger.generation else ()
            taken = reservations(self.changes, ledger)
            await self._means.journal.append([*([opening] if opening else []), *housekeeping, *taken])
        run = ledger.runs.get(plan.digest)
        known = run.outcomes if run is not None else {}
        done = {step for step, status in known.items() if status in GOOD}
        lanes = Lanes(self.changes, done=done, per_target=self._pace.per_target)
        board = Board(plan, self._means, self._pace, lanes=lanes, emit=self._emit)
        board.generation = run.generation if run is not None else plan.generation
        board.tried = frozenset(known) | {step for digest, step in ledger.in_flight if digest == plan.digest}
        board.workers = [Worker(board) for _ in range(min(self._pace.workers, len(lanes)))]
        board.tell_passed()
        return board

    async def _close_left(self, board: Board) -> None:
        """Intents of an earlier run that this one could not take up again: nobody knows what became of them, and the
        next observation tells. Left open they would keep the node unknown for ever. And changes that came to a halt
        halfway, which are planned anew."""
        ledger, plan = self._means.journal.ledger, self.plan.digest
        flying, unapplied = ledger.in_flight, board.lanes.unapplied
        left = [step for change in self.changes if flying for step in change.steps if (plan, step.id) in flying]
        rests = {entry.step for entry in ledger.halfway.values() if entry.plan == plan}
        closing = []
        for change in self.changes if rests else ():
            open_ = [step for step in change.steps if step.id in unapplied]
            if open_ and not rests.isdisjoint(step.id for step in change.steps):
                step, reason = open_[0], unapplied[open_[0].id].reason
                closing.append(Result(plan, step.id, step.target, step.ref, "deferred", reason, step.source))
        for step in left:
            reason = f"cut short, and not taken up again: {unapplied.get(step.id, BEFORE).reason}"
            closing.append(Result(plan, step.id, step.target, step.ref, "unconfirmed", reason, step.source))
        if closing:
            await self._means.journal.append(closing)

    async def _watch(self, board: Board) -> None:
        """Ends pauses and overdue steps; notices cancellation, and then stops in order."""
        with self._watching:
            try:
                await self._tick(board)
            except anyio.get_cancelled_exc_class():
                if not self._watching.cancel_called:
                    board.stop("interrupted")
                    with anyio.CancelScope(shield=True) as self._watching:
                        if not self._over:
                            await self._tick(board)
                raise

    @staticmethod
    async def _tick(board: Board) -> None:
        while True:
            now = board.ticked = anyio.current_time()
            for barrier in board.lanes.pausing.copy():
                if barrier.until is None:
                    barrier.until = now + barrier.gate.pause
                if barrier.until <= now:
                    board.lanes.let_through(barrier)
                    board.tell_passed()
                    board.nudge()
            for worker in board.workers:
                overdue = worker.step is not None and min(worker.expires, board.latest) <= now
                if overdue or (worker.fetching and board.stopped is not None):
                    worker.cut_off()
            await anyio.sleep(_TICK)


async def execute(plan: Plan, means: Means, *, pace: Pace | None = None, emit: Emit | None = None) -> Summary:
    """Carry out a plan whole, from the beginning or from where an earlier run of it ended."""
    return await Execution(plan, means, pace=pace, emit=emit).run()
