"""Random plans, random outcomes: what the bookkeeping promises whatever happens."""

from __future__ import annotations

import random
from collections import Counter

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.plan import Change, Gate, Step
from reconciler.driver import Outcome
from reconciler.runtime.lanes import Lane, Lanes
from tests.runtime.worlds import change

PER_TARGET = 2


@st.composite
def plans(draw: st.DrawFn) -> list[Change]:
    """Changes on three targets; needs and gates point at steps of earlier changes, so that no circle arises."""
    made: list[Change] = []
    for number in range(draw(st.integers(1, 9))):
        earlier = [step.id for each in made for step in each.steps]
        fresh = change(f"m{number}", draw(st.sampled_from("abc")), *["x"] * draw(st.integers(1, 3)))
        steps = []
        for step in fresh.steps:
            needs = draw(st.lists(st.sampled_from(earlier), max_size=2)) if earlier else []
            gates = []
            if earlier and draw(st.booleans()):
                named = draw(st.lists(st.sampled_from(earlier), min_size=1, max_size=4))
                gates.append(Gate(tuple(named), draw(st.integers(0, 1)), draw(st.sampled_from([0.0, 5.0]))))
            steps.append(msgspec.structs.replace(step, needs=(*step.needs, *needs), gates=tuple(gates)))
        made.append(msgspec.structs.replace(fresh, steps=tuple(steps)))
    return draw(st.permutations(made))


class Run:
    """Carries a plan out without a clock or a driver, and watches."""

    def __init__(self, changes: list[Change], chance: random.Random, done: set[str]) -> None:
        self.lanes = Lanes(changes, done=done, per_target=PER_TARGET)
        self.gates = {gate for each in changes for step in each.steps for gate in step.gates}
        self.chance = chance
        self.hands: list[Lane] = []
        self.order: list[str] = []
        self.unreleased: list[str] = []

    def run(self) -> None:
        for _ in range(10_000):
            moves = [move for move in (self.take, self.finish, self.release, self.pass_time) if move(dry=True)]
            if not moves:
                return
            self.chance.choice(moves)()
        raise AssertionError("it never ends")

    def take(self, *, dry: bool = False) -> bool:
        if dry or not self.lanes.turns:
            return bool(self.lanes.turns)
        lane = self.lanes.next()
        assert lane is not None
        self.begin(lane)
        return True

    def begin(self, lane: Lane) -> None:
        step = lane.step
        assert step.id not in self.order
        assert not self.lanes.ended(step.id)
        self.may_run(step)
        self.hands.append(lane)
        self.order.append(step.id)
        busy = Counter(each.step.target for each in self.hands)
        assert max(busy.values()) <= PER_TARGET

    def may_run(self, step: Step) -> None:
        lanes = self.lanes
        assert all(lanes.ended(need) and need not in lanes.unapplied for need in step.needs)
        for gate in step.gates:
            assert all(map(lanes.ended, gate.steps))
            bad = {each.partition(":")[0] for each in gate.steps if each in lanes.unapplied}
            assert len(bad) <= gate.max_failures

    def finish(self, *, dry: bool = False) -> bool:
        if dry or not self.hands:
            return bool(self.hands)
        lane = self.hands.pop(self.chance.randrange(len(self.hands)))
        self.unreleased.append(lane.step.id)
        if self.lanes.finish(lane, Outcome(self.chance.choice(("applied", "applied", "unchanged", "failed")))):
            self.begin(lane)
        return True

    def release(self, *, dry: bool = False) -> bool:
        if dry or not self.unreleased:
            return bool(self.unreleased)
        self.lanes.release(self.unreleased.pop(0))
        return True

    def pass_time(self, *, dry: bool = False) -> bool:
        if dry or not self.lanes.pausing:
            return bool(self.lanes.pausing)
        self.lanes.let_through(self.lanes.pausing[0])
        return True


@given(plans(), st.randoms(use_true_random=False))
def test_every_step_ends_once_and_none_runs_before_its_time(changes: list[Change], chance: random.Random) -> None:
    run = Run(changes, chance, set())
    run.run()
    steps, lanes = {step.id for each in changes for step in each.steps}, run.lanes
    assert all(map(lanes.ended, steps))
    assert sum(lanes.counts.values()) == len(steps)
    assert steps.difference(run.order) == {step for step, it in lanes.unapplied.items() if it.status == "deferred"}


@given(plans(), st.randoms(use_true_random=False), st.data())
def test_what_was_done_before_is_not_begun_again(
    changes: list[Change], chance: random.Random, data: st.DataObject
) -> None:
    done = {step.id for each in changes for step in each.steps[: data.draw(st.integers(0, 3))]}
    run = Run(changes, chance, done)
    run.run()
    assert done.isdisjoint(run.order)
    assert run.lanes.skipped == done
    steps = {step.id for each in changes for step in each.steps}
    assert all(map(run.lanes.ended, steps))
    assert sum(run.lanes.counts.values()) == len(steps)
