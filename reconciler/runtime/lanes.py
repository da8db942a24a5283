"""Which step comes next: lanes, needs, gates and the turns of targets.

Owns: the bookkeeping of one plan being carried out. Synchronous, no IO, no clock: the executor asks `next`, tells
`finish` when a step has ended and `release` once that is durable.
Must not go here: calling drivers, journalling, deciding what a step does.

A lane is one change: its steps run in series, in one hand as long as they stay on one target (a machine that was
stopped is started by the same worker, so that it waits for nobody in between). Targets take turns, and on a target
its tenants do. No object is made per step, and what went well is not remembered by step: what waits is a lane, and how
far it came tells what it has behind it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from functools import cached_property

from reconciler.core.ledger import Status
from reconciler.core.plan import Change, Gate, Step
from reconciler.core.refs import Target, tenant_of
from reconciler.driver import Outcome
from reconciler.runtime.summary import GOOD

BEFORE = Outcome("unchanged", "applied before")
_BECAME = {"failed": "failed", "deferred": "was deferred", "unconfirmed": "has no known outcome"}


class Lane:
    """One change on its way. `position` is the step that is next, or in hand."""

    __slots__ = ("blockers", "change", "position", "steps", "tenant")

    def __init__(self, change: Change) -> None:
        self.change = change
        self.steps = change.steps
        self.position = 0
        self.blockers = 0
        self.tenant = tenant_of(change.ref)

    @property
    def step(self) -> Step:
        return self.steps[self.position]

    def passed(self, step: str) -> bool:
        """Whether it has this step behind it."""
        return any(each.id == step for each in self.steps[: self.position])


class Barrier:
    """A gate on its way: `left` steps have not ended; `shut` once too many of its changes failed; `until` is when its
    pause ends, by the executor's clock."""

    __slots__ = ("failed", "gate", "left", "open", "shut", "until", "waiting")

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.left = len(set(gate.steps))
        self.failed: set[str] = set()
        self.open = False
        self.shut = False
        self.until: float | None = None
        self.waiting: list[Lane] = []


class _Place:
    """A target: its ready lanes by tenant, and how many steps it may still take."""

    __slots__ = ("free", "queued", "ready")

    def __init__(self, free: int) -> None:
        self.free = free
        self.queued = False
        self.ready: dict[str | None, deque[Lane]] = {}

    def put(self, lane: Lane) -> None:
        lanes = self.ready.get(lane.tenant)
        if lanes is None:
            self.ready[lane.tenant] = deque((lane,))
        else:
            lanes.append(lane)

    def take(self) -> Lane:
        """The next tenant's first lane; the tenant goes to the end of the turn."""
        tenant = next(iter(self.ready))
        lanes = self.ready.pop(tenant)
        lane = lanes.popleft()
        if lanes:
            self.ready[tenant] = lanes
        return lane


class Lanes:
    """All changes that are carried out together. `done`: steps that the journal already tells of as good."""

    def __init__(self, changes: Iterable[Change], *, done: Collection[str], per_target: int) -> None:
        self.counts: dict[Status, int] = {}
        """Steps that have ended, by what became of them."""
        self.unapplied: dict[str, Outcome] = {}
        """Those of them that did not go well."""
        self.skipped: set[str] = set()
        """Those that had been applied before, by an earlier run of the same plan."""
        self.passed: list[tuple[Step, Outcome]] = []
        """Ended in nobody's hand, deferred or skipped, since the executor last looked: it tells of them."""
        self.pausing: list[Barrier] = []
        """Gates whose steps have ended well; the executor waits out their pause, then calls `let_through`."""
        self._done = done
        self._per_target = per_target
        self._places: dict[Target, _Place] = {}
        self._turn: deque[_Place] = deque()
        self._waiting: dict[str, list[Lane]] = {}
        self._lanes = [Lane(change) for change in changes if change.steps]
        self._barriers: dict[Gate, Barrier] = {}
        self._closes: dict[str, list[Barrier]] = {}
        for lane in self._lanes:
            for step in lane.steps:
                for gate in step.gates:
                    self._barrier(gate)
        self._advance(self._lanes)

    def __len__(self) -> int:
        return len(self._lanes)

    @property
    def turns(self) -> int:
        """How many targets have something that may run now."""
        return len(self._turn)

    @cached_property
    def _owner(self) -> dict[str, Lane]:
        """By step. Not made before somebody waits for another's step."""
        return {step.id: lane for lane in self._lanes for step in lane.steps}

    def change_of(self, step: Step) -> Change:
        return self._owner[step.id].change

    def ended(self, step: str) -> bool:
        """Whether it is known what became of a step. Its result may still be on its way to the disk: it was handed in
        before anybody else had a turn, so it is in no later commit than the intent of who needs it."""
        lane = self._owner.get(step)
        return step in self.unapplied or (lane is not None and lane.passed(step))

    def next(self) -> Lane | None:
        """A lane whose step may run now; its slot on the target is taken. None: nothing may run at the moment."""
        if not self._turn:
            return None
        place = self._turn.popleft()
        lane = place.take()
        place.free -= 1
        if place.ready and place.free:
            self._turn.append(place)
        else:
            place.queued = False
        return lane

    def finish(self, lane: Lane, outcome: Outcome) -> bool:
        """The step in hand has ended. True: the lane's next step may run at once in the same hand (the slot is
        kept). What waits for the step in other lanes is not told before `release`."""
        steps, position = lane.steps, lane.position
        step = steps[position]
        good = self._count(step, outcome)
        lane.position = position = position + 1
        if good and position < len(steps) and not self._done:
            after = steps[position]
            if after.needs == (step.id,) and not after.gates and after.target == step.target:
                return True  # the usual case, told quickly: it needs the one before it, and nothing else
        ready = self._ready(lane)
        if ready and lane.step.target == step.target:
            return True
        place = self._places[step.target]
        place.free += 1
        self._queue(place)
        if ready:
            self._enqueue(lane)
        return False

    def release(self, step: str) -> None:
        """The outcome of the step is durable: lanes that waited for it may go on."""
        if step in self._waiting or step in self._closes:
            self._advance(self._ended(step))

    def let_through(self, barrier: Barrier) -> None:
        """The pause of a gate is over."""
        self.pausing.remove(barrier)
        barrier.open = True
        self._advance(self._freed(barrier.waiting))

    def close(self, reason: str) -> None:
        """Nothing more will run: every step that has not ended is deferred."""
        for lane in self._lanes:
            for step in lane.steps[lane.position :]:
                if step.id not in self.unapplied:
                    self._defer(step, reason)

    def _barrier(self, gate: Gate) -> None:
        if gate in self._barriers:
            return
        barrier = self._barriers[gate] = Barrier(gate)
        for step in set(gate.steps):
            if step in self._owner:
                self._closes.setdefault(step, []).append(barrier)
            else:
                # What is not carried out here has not been applied: the gate counts it so.
                barrier.failed.add(step)
                self._countdown(barrier)

    def _countdown(self, barrier: Barrier) -> list[Lane]:
        """One step of a gate has ended; the lanes that this sets free."""
        barrier.left -= 1
        if barrier.left:
            return []
        if len(barrier.failed) > barrier.gate.max_failures:
            barrier.shut = True
        elif barrier.gate.pause:
            self.pausing.append(barrier)
            return []
        else:
            barrier.open = True
        return self._freed(barrier.waiting)

    def _ended(self, step: str) -> list[Lane]:
        """The lanes that the end of a step sets free."""
        freed = self._freed(self._waiting.pop(step, []))
        for barrier in self._closes.pop(step, ()):
            if step in self.unapplied:
                barrier.failed.add(self._owner[step].change.id)
            freed += self._countdown(barrier)
        return freed

    def _count(self, step: Step, outcome: Outcome) -> bool:
        """A step has ended. True: well."""
        counts, status = self.counts, outcome.status
        counts[status] = counts.get(status, 0) + 1
        if status in GOOD:
            return True
        self.unapplied[step.id] = outcome
        return False

    @staticmethod
    def _freed(waiting: list[Lane]) -> list[Lane]:
        freed = []
        for lane in waiting:
            lane.blockers -= 1
            if not lane.blockers:
                freed.append(lane)
        waiting.clear()
        return freed

    def _advance(self, lanes: Iterable[Lane]) -> None:
        """Move lanes on as far as they go without a driver; a loop, since one deferral can bring on many."""
        moving = deque(lanes)
        while moving:
            lane = moving.popleft()
            if self._ready(lane, moving):
                self._enqueue(lane)

    def _ready(self, lane: Lane, moving: deque[Lane] | None = None) -> bool:
        """True if the lane's next step may run; else the lane waits for what blocks it, or has come to its end."""
        steps = lane.steps
        while lane.position < len(steps):
            step = steps[lane.position]
            if step.id in self._done:
                self.skipped.add(step.id)
                self._count(step, BEFORE)
                self.passed.append((step, BEFORE))
            else:
                refusal, blocked = self._outlook(lane, step)
                if refusal is None:
                    if blocked:
                        self._wait(lane, step)
                    return not blocked
                self._defer(step, refusal)
            lane.position += 1
            freed = self._ended(step.id)
            if moving is None:
                self._advance(freed)
            else:
                moving.extend(freed)
        return False

    def _outlook(self, lane: Lane, step: Step) -> tuple[str | None, bool]:
        """Why the lane's next step can no longer run, as far as is known by now; and whether it has to wait."""
        blocked = False
        for need in step.needs:
            outcome = self.unapplied.get(need)
            if outcome is not None:
                return f"it needs {need}, which {_BECAME[outcome.status]}", False
            if lane.passed(need):
                continue
            if need not in self._owner:
                return f"it needs {need}, which is not carried out", False
            blocked = blocked or not self.ended(need)
        for gate in step.gates:
            barrier = self._barriers[gate]
            if barrier.shut:
                failed, allowed = len(barrier.failed), gate.max_failures
                return f"too many before it were not applied ({failed}, allowed {allowed})", False
            blocked = blocked or not barrier.open
        return None, blocked

    def _wait(self, lane: Lane, step: Step) -> None:
        for need in step.needs:
            if not self.ended(need):
                self._waiting.setdefault(need, []).append(lane)
                lane.blockers += 1
        for gate in step.gates:
            barrier = self._barriers[gate]
            if not barrier.open:
                barrier.waiting.append(lane)
                lane.blockers += 1

    def _defer(self, step: Step, reason: str) -> None:
        outcome = Outcome("deferred", reason)
        self._count(step, outcome)
        self.passed.append((step, outcome))

    def _enqueue(self, lane: Lane) -> None:
        target = lane.step.target
        place = self._places.get(target)
        if place is None:
            place = self._places[target] = _Place(self._per_target)
        place.put(lane)
        self._queue(place)

    def _queue(self, place: _Place) -> None:
        if place.ready and place.free and not place.queued:
            place.queued = True
            self._turn.append(place)
