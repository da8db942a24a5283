"""Nodes that promise to answer at once are asked without an event loop; a promise that is not kept costs only time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import msgspec
import pytest

from reconciler import waiting
from reconciler.core.desired import NodeWant
from reconciler.core.observed import Capacity, Claim, Marks, Object, Report, Told, Unchanged
from reconciler.core.refs import Ref, Target, Uid
from reconciler.core.values import canonical
from reconciler.driver import NodeUnreachable, Outcome, Shape, StepContext
from reconciler.driver.prompt import Prompt, Tells
from reconciler.runtime.events import NodeAsked
from reconciler.runtime.nodes import Nodes
from reconciler.runtime.observe import Asking, observe
from tests.runtime.worlds import Notes

DATACENTER = "00000000-0000-4000-8000-000000000001"

Harm = Callable[[], Awaitable[object]]


class Hasty:
    """A node that says that it answers at once; `harm` is what it does first."""

    shape: Shape

    def __init__(self, name: str, harm: Harm | None = None) -> None:
        self.target = Target(name)
        self.harm = harm
        self.asked: list[bool] = []
        """Whether there was a loop, each time."""

    def prompt(self) -> bool:
        return True

    async def observe(self, *, began: int, since: Mapping[Target, str] | None = None) -> tuple[Report | Unchanged, ...]:
        self.asked.append(not waiting.alone())
        if self.harm is not None:
            await self.harm()
        if since and since.get(self.target) == "seen":
            return (Unchanged(self.target, began, "seen"),)
        claim = Claim(DATACENTER, self.target)
        return (Report(self.target, began, True, self.target, claim, Capacity(), (), "seen"),)

    async def apply(self, step: Any, context: StepContext) -> Outcome:
        raise NotImplementedError

    async def close(self) -> None:
        pass


class Slow(Hasty):
    """The same, but honest."""

    def prompt(self) -> bool:
        return False


class Survey:
    """One look at nodes, as a command has it, and what came of it."""

    def __init__(
        self,
        *nodes: Hasty,
        known: Mapping[Target, Report] | None = None,
        deadline: float = 30,
        take: Callable[[Report | Told], object] | None = None,
    ) -> None:
        by_name = {str(node.target): node for node in nodes}
        self.told: list[Any] = []
        self.journal = Notes()
        self.looped = False

        async def command() -> dict[Target, Report]:
            wanted = [NodeWant(name, "hasty", name) for name in by_name]
            asking = Asking(deadline=deadline, emit=self.told.append, take=take)
            open_nodes = Nodes(lambda node: by_name[node.name])
            found = await observe(wanted, open_nodes, self.journal, datacenter=DATACENTER, known=known, asking=asking)
            self.looped = not waiting.alone()
            return found

        self.reports = waiting.run(command())


async def nothing() -> None:
    pass


async def yields() -> None:
    await asyncio.sleep(0)


async def sleeps() -> None:
    await anyio.sleep(0.001)


async def forks_off() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 0)


async def threads() -> None:
    await anyio.to_thread.run_sync(len, ())


async def holds_on() -> None:
    """Somebody who does not let himself be ended."""
    try:
        await asyncio.sleep(0)
    except GeneratorExit:
        await asyncio.sleep(0)


def test_a_node_can_say_so() -> None:
    assert isinstance(Hasty("a"), Prompt)


@pytest.mark.parametrize("harm", [None, nothing])
def test_nodes_that_answer_at_once_need_no_loop(harm: Harm | None) -> None:
    nodes = [Hasty(name, harm) for name in ("b", "a", "c")]
    survey = Survey(*nodes)
    assert list(survey.reports) == ["a", "b", "c"]
    assert all(report.complete for report in survey.reports.values())
    assert [node.asked for node in nodes] == [[False]] * 3
    assert not survey.looped
    assert [(event.node, event.done, event.all) for event in survey.told if isinstance(event, NodeAsked)] == [
        ("b", 1, 3), ("a", 2, 3), ("c", 3, 3),
    ]  # fmt: skip
    assert survey.journal.ledger.covered == {"a", "b", "c"}


def test_one_that_takes_its_time_is_asked_in_a_loop_and_the_others_are_not() -> None:
    hasty, slow = Hasty("a"), Slow("b", sleeps)
    survey = Survey(slow, hasty)
    assert (hasty.asked, slow.asked, survey.looped) == ([False], [True], True)
    assert all(report.complete for report in survey.reports.values())


@pytest.mark.parametrize("harm", [yields, sleeps, forks_off, threads, holds_on, waiting.loop])
def test_who_promised_and_waits_is_asked_again_as_any_other(harm: Harm) -> None:
    liar, honest = Hasty("liar", harm), Hasty("honest")
    survey = Survey(liar, honest)
    assert (liar.asked, honest.asked) == ([False, True], [False])
    assert all(report.complete for report in survey.reports.values())
    assert survey.journal.ledger.covered == {"liar", "honest"}
    assert [event.node for event in survey.told if isinstance(event, NodeAsked)] == ["honest", "liar"]


def test_who_promised_and_never_answers_is_left_at_the_deadline() -> None:
    survey = Survey(Hasty("liar", anyio.sleep_forever), Hasty("honest"), deadline=0.02)
    assert survey.reports[Target("liar")].problem == "no answer within 0.02 s"
    assert survey.reports[Target("honest")].complete
    assert survey.journal.ledger.covered == {"honest"}


def test_what_a_driver_raises_is_told_of_its_node_alone() -> None:
    async def breaks() -> None:
        raise RuntimeError("a driver's\nown")

    broken = Hasty("broken", breaks)
    survey = Survey(broken, Hasty("whole"))
    assert survey.reports[Target("broken")].problem == "RuntimeError: a driver's own"
    assert broken.asked == [False, True], "without a loop it may have been the want of one"
    assert survey.reports[Target("whole")].complete


@pytest.mark.parametrize(("said", "problem"), [("no route", "no route"), ("", "it could not be reached")])
def test_a_node_that_cannot_be_reached_is_told_without_a_loop(said: str, problem: str) -> None:
    async def lost() -> None:
        raise NodeUnreachable(said)

    survey = Survey(Hasty("a", lost))
    assert (survey.reports[Target("a")].problem, survey.reports[Target("a")].complete) == (problem, False)
    assert not survey.looped
    assert survey.journal.ledger.covered == frozenset()


def test_a_promise_that_raises_is_none() -> None:
    class Confused(Hasty):
        def prompt(self) -> bool:
            raise OSError("which file?")

    confused = Confused("a")
    assert Survey(confused).reports[Target("a")].complete
    assert confused.asked == [True]


def test_breaking_off_is_not_taken_for_an_answer() -> None:
    async def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Survey(Hasty("a", interrupted))


def test_what_is_held_of_a_node_may_be_so_still() -> None:
    first = Survey(Hasty("a")).reports
    second = Survey(Hasty("a"), known=first).reports
    assert second == first
    assert second[Target("a")] is first[Target("a")]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_in_a_loop_others_run_between_two_nodes_that_answer_at_once(anyio_backend: str) -> None:
    nodes = {f"n{number}": Hasty(f"n{number}") for number in range(5)}
    turns: list[int] = []

    async def somebody_else() -> None:
        while True:
            turns.append(sum(len(node.asked) for node in nodes.values()))
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(somebody_else)
        await anyio.lowlevel.checkpoint()
        wanted = [NodeWant(name, "hasty", name) for name in nodes]
        open_nodes = Nodes(lambda node: nodes[node.name])
        found = await observe(wanted, open_nodes, Notes(), datacenter=DATACENTER, asking=Asking(nodes=1))
        group.cancel_scope.cancel()
    assert len(found) == 5
    assert set(turns) >= {1, 2, 3, 4}, "no turn was theirs before all nodes were asked"


class Writer(Hasty):
    """One that keeps its objects written down."""

    objects: tuple[Object, ...] = (Object("Machine", "m", "1", {"memory": 1}, "d"),)
    garbled = False

    async def observe(self, *, began: int, since: Mapping[Target, str] | None = None) -> tuple[Report | Unchanged, ...]:
        return tuple([each.opened() if isinstance(each, Told) else each for each in await self.tell(began, since)])

    async def tell(self, began: int, since: Mapping[Target, str] | None = None) -> tuple[Told | Unchanged, ...]:
        (report,) = await super().observe(began=began, since=since)
        if isinstance(report, Unchanged):
            return (report,)
        return (Told.of(report, tuple(map(canonical, self.objects)) if not self.garbled else (b"{}",)),)


def _looked(node: Hasty, take: Callable[[Report | Told], object] | None, **known: Report) -> tuple[Survey, Report]:
    survey = Survey(node, known={Target(name): report for name, report in known.items()}, take=take)
    return survey, survey.reports[node.target]


def test_who_takes_reports_gets_objects_as_they_are_written() -> None:
    taken: list[Report | Told] = []
    survey, report = _looked(Writer("a"), taken.append)
    assert isinstance(Writer("a"), Tells)
    (told,) = taken
    assert isinstance(told, Told)
    assert report == told.report
    assert told.opened().objects == Writer.objects
    assert [event.objects for event in survey.told if isinstance(event, NodeAsked)] == [1]
    assert survey.journal.ledger.covered == {"a"}


def test_others_get_them_read() -> None:
    assert _looked(Writer("a"), None)[1].objects == Writer.objects
    taken: list[Report | Told] = []
    _looked(Hasty("a"), taken.append)
    assert [type(each) for each in taken] == [Report]


def test_one_that_says_so_is_unchanged_whoever_reads() -> None:
    (held,) = waiting.run(Writer("a").observe(began=0))
    assert isinstance(held, Report)
    taken: list[Report | Told] = []
    assert _looked(Writer("a"), taken.append, a=held)[1].objects == ()
    assert taken == [held]


def test_what_is_written_and_is_no_object_is_unknown() -> None:
    node, taken = Writer("a"), list[Report | Told]()
    node.garbled = True
    report = _looked(node, taken.append)[1]
    assert not report.complete
    assert str(report.problem).startswith("ValidationError: ")
    assert taken == [report]


def test_an_object_of_ours_that_is_not_remembered_leaves_its_target_uncovered_unread_too() -> None:
    node = Writer("a")
    marks = Marks(Uid("u"), Ref("Machine/acme/web"), DATACENTER, 1, 1, 1, "", "")
    node.objects = (msgspec.structs.replace(Writer.objects[0], marks=marks),)
    assert _looked(node, lambda _: None)[0].journal.ledger.covered == set()
