"""A fleet that other processes ask part of is seen as one that is asked here, whatever becomes of those processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from drivers.sim import DRIVER
from drivers.sim.generate.site import Site
from drivers.sim.store import Store
from drivers.sim.world import World
from reconciler import waiting
from reconciler.core.desired import Desired, NodeWant, Revision
from reconciler.core.glimpse import Glimpse
from reconciler.core.ledger import Covered, Ledger
from reconciler.core.observed import Report
from reconciler.core.plan import to_json
from reconciler.core.planner import Planner, Request
from reconciler.core.refs import Target
from reconciler.core.resting import glimpsed
from reconciler.driver import Driver, NodeUnreachable
from reconciler.edge.forked import Forked, framed, possible, telling
from reconciler.edge.load.loader import load
from reconciler.edge.load.tree import MemoryTree
from reconciler.runtime import sharing
from reconciler.runtime.events import NodeAsked
from reconciler.runtime.nodes import Nodes
from reconciler.runtime.observe import Asking, observe
from reconciler.runtime.sharing import Glimpses, Runs, Send, Sharing, Work
from tests.benchmarks.remember import entries
from tests.runtime.worlds import Notes

pytestmark = pytest.mark.skipif(not possible(), reason="NOT RUN: this host has one core, or does not fork")

MACHINES, NODES = 90, 12


class Broken(BaseException):
    """As a signal breaks off what runs."""


class Fleet:
    """A generated fleet, as it is after everything was applied; what is covered is not remembered."""

    def __init__(self, folder: Path) -> None:
        numbers: dict[str, Any] = {"machines": MACHINES, "nodes": NODES, "differing": 0.1}
        DRIVER.generate(folder, lambda _: None, **numbers)
        site = Site(**numbers)
        tree = MemoryTree(dict(site.files()))
        self.desired: Desired = load(tree, {"sim": DRIVER.shape.capability}, Revision(commit="c", tree="t"))
        told = entries(Store(str(folder / "fleet.db")))
        self.remembered = [entry for entry in told if not isinstance(entry, Covered)]
        self.folder = folder
        self.parent = os.getpid()
        self.opening: Callable[[NodeWant], None] = lambda _: None
        self.told: list[Any] = []
        self.emit: Callable[[Any], object] = self.told.append
        self.fork: Callable[[Work], Forked] = telling
        self.processes: list[Forked] = []
        self.taken: list[Glimpse] = []
        self.after_them = False
        """Whether nothing is asked here before the processes have ended."""

    def open(self, node: NodeWant) -> Driver:
        if self.after_them and not self.in_process():
            for process in self.processes:
                with suppress(ChildProcessError):  # it was waited for already
                    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        self.opening(node)
        return DRIVER.open(node, {"root": str(self.folder)})

    async def planned(self, *, shared: bool) -> tuple[bytes, frozenset[Target]]:
        """The plan, and which targets are covered."""
        notes = Notes()
        await notes.append(self.remembered)
        planner = Planner({"sim": DRIVER.shape}, notes.ledger)
        planner.world.take_desired(self.desired)
        id_ = self.desired.datacenter_id

        def fork(work: Work) -> Forked:
            process = self.fork(work)
            self.processes.append(process)
            return process

        def take(glimpse: Glimpse) -> None:
            self.taken.append(glimpse)
            planner.take_glimpse(glimpse)

        nodes = Nodes(self.open)
        glimpses = Glimpses(partial(glimpsed, planner.world), take)
        beside = Sharing(fork, nodes, notes.ledger, id_, glimpses, things=MACHINES) if shared else None
        asking = Asking(emit=self.emit, take=planner.take_report, beside=beside)
        reports = await observe(self.desired.nodes.values(), nodes, notes, datacenter=id_, asking=asking)
        assert sorted(reports) == sorted(self.desired.nodes)
        assert not any(report.objects for report in reports.values())
        await nodes.close()
        return to_json(planner.plan(Request(1.79e9))), frozenset(notes.ledger.covered)

    def slow(self, which: Callable[[int], bool]) -> None:
        """These nodes take their time to answer."""
        with World(self.folder / "fleet.db") as world:
            for number, target in enumerate(sorted(row.name for row in world.targets())):
                world.set_latency(target, {"observe": 0.001} if which(number) else {})

    def plans(self) -> None:
        """Shared and alone are the same; no process is left."""
        assert waiting.run(self.planned(shared=True)) == waiting.run(self.planned(shared=False))
        self.gone()

    def gone(self) -> None:
        for process in self.processes:
            with pytest.raises(ProcessLookupError):
                os.kill(process.pid, 0)

    def in_process(self) -> bool:
        return os.getpid() != self.parent


@pytest.fixture(params=["one", "many"])
def fleet(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """Shared out with one process, or asked by four, two at a time, of three nodes each."""
    if request.param == "many":
        monkeypatch.setattr(sharing, "WHOLE", MACHINES - 1)
        monkeypatch.setattr(sharing, "PART", MACHINES // 4 + 1)
        monkeypatch.setattr(sharing, "_LATE", 1)
    return Fleet(tmp_path)


@pytest.fixture
def many(fleet: Fleet) -> bool:
    return sharing.WHOLE < MACHINES


def test_a_shared_look_gives_the_same_plan_and_the_same_coverage(fleet: Fleet, many: bool) -> None:
    fleet.after_them = True
    fleet.plans()
    assert len(fleet.processes) == (4 if many else 1)
    assert len(fleet.taken) == (NODES if many else NODES - 1)
    assert sum(len(glimpse.resting.refs) for glimpse in fleet.taken if glimpse.resting is not None) > MACHINES // 2


def test_every_node_is_told_of_once_by_its_number(fleet: Fleet) -> None:
    waiting.run(fleet.planned(shared=True))
    asked = [event for event in fleet.told if isinstance(event, NodeAsked)]
    assert [(event.done, event.all) for event in asked] == [(number, NODES) for number in range(1, NODES + 1)]
    assert {event.node for event in asked} == set(fleet.desired.nodes)
    assert sum(event.objects for event in asked) > MACHINES


@pytest.mark.parametrize("after", [0, 1, 2])
def test_what_a_process_that_dies_had_not_answered_for_is_asked_here(fleet: Fleet, after: int) -> None:
    seen = 0

    def dies(_: NodeWant) -> None:
        nonlocal seen
        if fleet.in_process():
            if seen == after:
                os.kill(os.getpid(), signal.SIGKILL)
            seen += 1

    fleet.opening, fleet.after_them = dies, True
    fleet.plans()
    assert len(fleet.taken) == after * len(fleet.processes)


def test_a_process_that_dies_within_a_message_has_not_sent_it(fleet: Fleet) -> None:
    def cut(work: Work) -> Forked:
        def tell(_: object, sink: BinaryIO) -> None:
            told = 0

            def send(data: bytes) -> None:
                nonlocal told
                sink.write(framed(data)[: None if told == 0 else -1])
                sink.flush()
                if told == 1:
                    os.kill(os.getpid(), signal.SIGKILL)
                told += 1

            work(send)

        return Forked(tell)

    fleet.fork, fleet.after_them = cut, True
    fleet.plans()
    assert len(fleet.taken) == len(fleet.processes)


def test_a_process_that_dies_once_it_has_told_all_is_not_missed(fleet: Fleet, many: bool) -> None:
    def all_told(work: Work) -> Forked:
        def dies(send: Send) -> None:
            work(send)
            os.kill(os.getpid(), signal.SIGKILL)

        return telling(dies)

    fleet.fork, fleet.after_them = all_told, True
    fleet.plans()
    assert len(fleet.taken) == (NODES if many else NODES - 1)


def test_a_process_that_does_not_end_is_ended(fleet: Fleet, many: bool) -> None:
    def stays(work: Work) -> Forked:
        def waits(send: Send) -> None:
            work(send)
            if not many or len(fleet.processes) == 3:
                signal.pause()

        return telling(waits)

    fleet.fork = stays
    fleet.plans()
    assert len(fleet.taken) == NODES or not many


@pytest.mark.parametrize("before", [0, 1, 3])
def test_nodes_for_which_no_process_can_be_had_are_asked_here(fleet: Fleet, many: bool, before: int) -> None:
    def full(work: Work) -> Forked:
        if len(fleet.processes) == before:
            raise BlockingIOError("resource temporarily unavailable")
        return telling(work)

    fleet.fork = full
    fleet.plans()
    assert len(fleet.processes) == min(before, 4 if many else 1)


def test_one_process_of_many_that_dies_is_the_only_one_whose_nodes_are_asked_here(fleet: Fleet, many: bool) -> None:
    asked: list[str] = []

    def dies(node: NodeWant) -> None:
        if fleet.in_process() and not fleet.processes:
            os.kill(os.getpid(), signal.SIGKILL)
        if not fleet.in_process():
            asked.append(node.name)

    fleet.opening = dies
    waiting.run(fleet.planned(shared=True))
    fleet.gone()
    assert len(asked) == (3 if many else NODES)


def test_a_node_that_cannot_be_reached_is_unknown_wherever_it_is_asked(fleet: Fleet) -> None:
    def broken(node: NodeWant) -> None:
        if int(node.name[-2:]) % 3 == 1:
            raise NodeUnreachable("no route to host")
        if int(node.name[-2:]) % 3 == 2:
            raise RuntimeError("a driver's own")

    fleet.opening = broken
    fleet.plans()
    problems = {event.problem for event in fleet.told if isinstance(event, NodeAsked)}
    assert problems == {None, "no route to host", "RuntimeError: a driver's own"}


def test_breaking_off_ends_the_process(fleet: Fleet, many: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "PART", MACHINES // 2)

    def interrupted(node: NodeWant) -> None:
        if not fleet.in_process():
            raise Broken
        if many and node == next(iter(fleet.desired.nodes.values())):
            os.kill(os.getpid(), signal.SIGKILL)  # so that something is asked here
        signal.pause()

    fleet.opening = interrupted
    with pytest.raises(Broken):
        waiting.run(fleet.planned(shared=True))
    fleet.gone()


def test_breaking_off_while_something_is_taken_in_ends_all_processes(fleet: Fleet) -> None:
    def breaks(_: Any) -> None:
        raise Broken

    fleet.emit = breaks
    with pytest.raises(Broken):
        waiting.run(fleet.planned(shared=True))
    fleet.gone()


@pytest.mark.parametrize("slow", [{0}, {11}, {2, 5, 8}, set(range(NODES))])
def test_nodes_that_take_their_time_are_asked_in_a_loop_in_either_process(fleet: Fleet, slow: set[int]) -> None:
    """The first are asked here, the last there."""
    fleet.slow(slow.__contains__)
    fleet.plans()


def test_a_report_that_cannot_be_told_shortly_comes_whole(fleet: Fleet) -> None:
    """Nothing is remembered of the machines: none is at rest as far as the process can tell."""
    planner = Planner({"sim": DRIVER.shape}, Ledger())
    planner.world.take_desired(fleet.desired)

    async def look() -> Report:
        node = next(iter(fleet.desired.nodes.values()))
        driver = fleet.open(node)
        (report,) = await driver.observe(began=0)
        await driver.close()
        assert isinstance(report, Report)
        return report

    report = waiting.run(_in_loop(look))
    glimpse = glimpsed(planner.world, report)
    assert glimpse == Glimpse(report, None)


async def _in_loop(look: Callable[[], Any]) -> Any:
    await waiting.loop()
    return await look()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4_096, 4_097, 10_000])
@pytest.mark.parametrize("here", [0, 1, 2, 20_000])
def test_each_node_is_taken_from_one_end_or_the_other_and_once(count: int, here: int) -> None:
    nodes = [NodeWant(str(number), "sim", "") for number in range(count)]
    runs = Runs(nodes)
    ours = list(chain.from_iterable(islice(runs.front(), here)))
    theirs = list(chain.from_iterable(runs.behind()))
    assert [*ours, *sorted(theirs, key=lambda node: int(node.name))] == nodes
    assert not list(runs.front())
    runs.close()


def test_two_processes_take_each_node_once() -> None:
    nodes = [NodeWant(str(number), "sim", "") for number in range(4_000)]
    runs = Runs(nodes)

    def takes(send: Send) -> None:
        for run in runs.behind():
            send(run[0].name.encode())

    process = telling(takes)
    ours = [node.name for node in chain.from_iterable(runs.front())]
    theirs: list[str] = []
    with suppress(EOFError):
        while True:
            theirs += [message.decode() for message in process.hear()]
    process.end()
    runs.close()
    assert sorted([*ours, *theirs], key=int) == [node.name for node in nodes]
    assert ours == sorted(ours, key=int)
    assert theirs == sorted(theirs, key=int, reverse=True)
