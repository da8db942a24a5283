"""A fleet that a second process asks part of is seen as one that is asked here, whatever becomes of that process."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

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
from reconciler.edge.forked import Forked, possible, telling
from reconciler.edge.load.loader import load
from reconciler.edge.load.tree import MemoryTree
from reconciler.runtime.events import NodeAsked
from reconciler.runtime.nodes import Nodes
from reconciler.runtime.observe import Asking, observe
from reconciler.runtime.sharing import Sharing, shares
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
        self.process: Forked | None = None
        self.taken: list[Glimpse] = []

    def open(self, node: NodeWant) -> Driver:
        self.opening(node)
        return DRIVER.open(node, {"root": str(self.folder)})

    async def planned(self, *, shared: bool) -> tuple[bytes, frozenset[Target]]:
        """The plan, and which targets are covered."""
        notes = Notes()
        await notes.append(self.remembered)
        planner = Planner({"sim": DRIVER.shape}, notes.ledger)
        planner.world.take_desired(self.desired)
        id_ = self.desired.datacenter_id

        def fork(work: Callable[[Callable[[bytes], object]], object]) -> Forked:
            self.process = telling(work)
            return self.process

        def take(glimpse: Glimpse) -> None:
            self.taken.append(glimpse)
            planner.take_glimpse(glimpse)

        nodes = Nodes(self.open)
        see = partial(glimpsed, planner.world)
        beside = Sharing(fork, nodes, notes.ledger, id_, see=see, take=take) if shared else None
        asking = Asking(emit=self.told.append, take=planner.take_report, beside=beside)
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
        assert self.process is not None
        with pytest.raises(ProcessLookupError):
            os.kill(self.process.pid, 0)

    def in_process(self) -> bool:
        return os.getpid() != self.parent


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


def test_a_shared_look_gives_the_same_plan_and_the_same_coverage(fleet: Fleet) -> None:
    fleet.plans()
    assert len(fleet.taken) == 8
    assert sum(len(glimpse.resting.refs) for glimpse in fleet.taken if glimpse.resting is not None) > MACHINES // 2


def test_every_node_is_told_of_once_by_its_number(fleet: Fleet) -> None:
    waiting.run(fleet.planned(shared=True))
    asked = [event for event in fleet.told if isinstance(event, NodeAsked)]
    assert [(event.done, event.all) for event in asked] == [(number, NODES) for number in range(1, NODES + 1)]
    assert {event.node for event in asked} == set(fleet.desired.nodes)
    assert sum(event.objects for event in asked) > MACHINES


@pytest.mark.parametrize("after", [0, 1, 3])
def test_what_a_process_that_dies_had_not_answered_for_is_asked_here(fleet: Fleet, after: int) -> None:
    seen = 0

    def dies(_: NodeWant) -> None:
        nonlocal seen
        if fleet.in_process():
            if seen == after:
                os.kill(os.getpid(), signal.SIGKILL)
            seen += 1

    fleet.opening = dies
    fleet.plans()
    assert len(fleet.taken) <= after


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


def test_breaking_off_ends_the_process(fleet: Fleet) -> None:
    def interrupted(_: NodeWant) -> None:
        if not fleet.in_process():
            raise Broken
        signal.pause()

    fleet.opening = interrupted
    with pytest.raises(Broken):
        waiting.run(fleet.planned(shared=True))
    fleet.gone()


@pytest.mark.parametrize("slow", [{0}, {11}, {2, 5, 8}, set(range(NODES))])
def test_nodes_that_take_their_time_are_asked_in_a_loop_in_either_process(fleet: Fleet, slow: set[int]) -> None:
    """0 and 1 to 3 are asked here, the others there."""
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


def test_neighbours_go_the_same_way_and_of_every_fifty_some_go_either() -> None:
    nodes = [NodeWant(str(number), "sim", "") for number in range(110)]
    ours, theirs = shares(nodes)
    assert sorted(nodes, key=id) == sorted([*ours, *theirs], key=id)
    assert [int(node.name) for node in ours] == [*range(18), *range(50, 68), *range(100, 104)]


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_few_nodes_are_shared_out_too(count: int) -> None:
    nodes = [NodeWant(str(number), "sim", "") for number in range(count)]
    ours, theirs = shares(nodes)
    assert [*ours, *theirs] == nodes
