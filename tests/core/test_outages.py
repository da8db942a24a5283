"""How long machines were down, told from what the journal holds."""

from __future__ import annotations

import msgspec
import pytest

from reconciler.core.entries import Entry, Forgotten, Intent, Purged, Quarantined, Result, Settled, Status
from reconciler.core.ledger import Ledger, Record
from reconciler.core.outages import Outage
from reconciler.core.plan import Change
from reconciler.core.refs import Ref, Target, Uid
from tests.builders import NOW, machine
from tests.core.test_moves import FANS, A, B, C, cluster, on_a, site, the_move

WEB, UID = Ref("Machine/acme/web"), Uid("w")


class Story:
    """A journal in the making; `at` is what its clock says."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.at = 0.0

    def say(self, *entries: Entry) -> None:
        first = len(self.records) + 1
        self.records += [Record(number, self.at, entry) for number, entry in enumerate(entries, first)]

    def begin(self, verb: str, target: Target, *, plan: str = "p", source: Target | None = None) -> None:
        turns = {"stop": "stopped", "start": "running"}.get(verb, "")
        self.say(Intent(plan, verb, target, WEB, UID, source, turns))

    def end(
        self, verb: str, target: Target, status: Status = "applied", *, plan: str = "p", source: Target | None = None
    ) -> None:
        self.say(Result(plan, verb, target, WEB, status, source=source))

    def do(self, verb: str, target: Target, seconds: float, status: Status = "applied", **more: object) -> None:
        self.begin(verb, target, **more)  # type: ignore[arg-type]
        self.at += seconds
        self.end(verb, target, status, **more)  # type: ignore[arg-type]

    def settle(self) -> None:
        self.say(Settled(WEB, UID, B, {"state": "running"}, "c1"))

    @property
    def last(self) -> Outage | None:
        return Ledger(self.records).outages.last.get(UID)

    @property
    def since(self) -> float | None:
        return Ledger(self.records).outages.down_since(UID, runs=False)


def moved(*, ready: float | None = None) -> Story:
    """Stopped at 10 within 2 s, carried over in 3, started in 1."""
    story = Story()
    story.at = 10
    story.do("stop", A, 2)
    story.do("move", B, 3, source=A)
    story.do("start", B, 1)
    if ready is not None:
        story.do("ready", B, ready)
    return story


def test_a_move_is_measured_from_the_intent_of_its_stop_to_the_end_of_its_start() -> None:
    story = moved()
    assert (story.last, story.since) == (None, 10), "until its change is over"
    story.settle()
    assert story.last == Outage(10, 16, "p", "start", B, A)
    assert story.last.seconds == 6
    assert story.since is None


def test_a_machine_with_a_check_is_down_until_it_is_ready() -> None:
    story = moved(ready=4)
    story.settle()
    assert story.last == Outage(10, 20, "p", "ready", B, A)


def test_a_check_that_fails_does_not_end_it_and_one_that_another_plan_passes_does() -> None:
    story = moved()
    story.do("ready", B, 4, "failed")
    assert story.since == 10
    story.at += 100
    story.do("ready", B, 1, plan="next")
    story.settle()
    assert story.last == Outage(10, 121, "next", "ready", B, A)


def test_a_restart_where_it_is_has_no_source() -> None:
    story = Story()
    story.do("stop", B, 2)
    story.do("configure", B, 1)
    story.do("start", B, 1)
    story.settle()
    assert story.last == Outage(0, 4, "p", "start", B)


@pytest.mark.parametrize("resumed", [True, False])
def test_after_a_kill_it_counts_from_the_stop_before(resumed: bool) -> None:
    story = Story()
    story.begin("stop", A)
    assert story.since == 0
    assert Ledger(story.records).outages.down_since(UID, runs=True) is None, "it was not stopped"
    story.at = 50
    if resumed:
        story.do("stop", A, 0, "unchanged")
    else:
        story.end("stop", A, "unconfirmed")
    story.do("move", B, 3, plan="later", source=A)
    story.do("start", B, 1, plan="later")
    story.settle()
    assert story.last == Outage(0, 54, "later", "start", B, A)


def test_what_ran_when_it_was_stopped_at_last_was_not_down_before() -> None:
    story = Story()
    story.begin("stop", A)
    story.at = 50
    story.do("stop", A, 2)
    story.do("start", A, 1)
    story.settle()
    assert story.last == Outage(50, 53, "p", "start", A)


@pytest.mark.parametrize("status", ["failed", "deferred"])
def test_a_stop_that_was_not_carried_out_begins_nothing(status: Status) -> None:
    story = Story()
    story.do("stop", A, 2, status)
    assert story.since is None
    story.do("start", A, 1, plan="next")
    story.settle()
    assert story.last is None, "somebody else stopped it, nobody knows when"


def test_a_move_that_fails_leaves_it_down_and_the_next_attempt_goes_on() -> None:
    story = Story()
    story.do("stop", A, 2)
    story.do("move", B, 3, "failed", source=A)
    assert story.since == 0
    story.at = 60
    story.do("move", C, 3, plan="next", source=A)
    story.do("start", C, 1, plan="next")
    story.settle()
    assert story.last == Outage(0, 64, "next", "start", C, A)


def test_who_moves_twice_before_it_runs_comes_from_where_it_ran() -> None:
    story = Story()
    story.do("stop", A, 1)
    story.do("move", B, 1, source=A)
    story.do("move", C, 1, plan="next", source=B)
    story.do("start", C, 1, plan="next")
    story.settle()
    assert story.last == Outage(0, 4, "next", "start", C, A)


def test_what_is_to_stay_stopped_is_no_outage() -> None:
    story = Story()
    story.do("stop", A, 2)
    story.settle()
    assert (story.last, story.since) == (None, None)
    story.do("start", A, 1, plan="next")
    story.settle()
    assert story.last is None


def test_a_clock_that_was_set_back_meanwhile_tells_nothing() -> None:
    story = moved()
    story.at = 5
    story.settle()
    assert (story.last, story.since) == (None, None)


@pytest.mark.parametrize("end", [Purged(WEB, UID, B), Forgotten(WEB, UID, B), Quarantined(WEB, UID, 1, B, 9.0)])
def test_what_is_gone_was_not_down_any_longer(end: Entry) -> None:
    story = moved()
    story.settle()
    story.do("stop", B, 1, plan="next")
    story.say(end)
    assert (story.last, story.since) == (None, None)


def test_only_the_step_that_ended_it_tells_of_it() -> None:
    story = moved()
    story.settle()
    outages = Ledger(story.records).outages
    assert outages.by(UID, "p", "start") == story.last
    assert outages.by(UID, "p", "move") is None
    assert outages.by(UID, "other", "start") is None
    assert outages.by(Uid("other"), "p", "start") is None


def planned() -> Change:
    return the_move(on_a(machine()).plan(site(machine(), at=cluster(a=FANS))))


def test_steps_say_what_they_turn_a_machine_into() -> None:
    change = planned()
    assert [step.turns for step in change.steps] == ["stopped", "", "running"]
    assert change.steps[0].intent("p").turns == "stopped"
    assert change.downtime == sum(step.seconds for step in change.steps)
    assert msgspec.structs.replace(change, steps=change.steps[1:]).downtime == 0


def test_a_planned_move_is_measured_whole() -> None:
    fleet, change = on_a(machine()), planned()
    for number, step in enumerate(change.steps):
        fleet.journal(step.intent("p"), *step.on_intent, at=NOW + number)
        fleet.journal(
            Result("p", step.id, step.target, step.ref, "applied", source=step.source), *step.on_applied,
            at=NOW + number + 1,
        )  # fmt: skip
    outage = fleet.ledger().outages.last[change.uid]
    assert (outage.source, outage.target, outage.seconds) == (change.source, change.target, 3)
    assert outage.target in (B, C)
