"""Killing trueup at every journal write and driver call of a plan, for real: kill -9 on a process of its own.

Owns: a datacenter of real parts in one folder (SQLite journal, lock, stored plans, simulated fleet), the points at
which a process is killed, and what is compared afterwards. Must not go here: assertions.

The points lie in wrappers round the ports: the product knows nothing of them.
"""

from __future__ import annotations

import os
import shutil
import signal
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import msgspec

from drivers.sim import DRIVER
from drivers.sim.world import World
from reconciler.core.desired import Desired, Drain, NodeMember, NodeWant, Resource
from reconciler.core.ledger import Entry, Ledger
from reconciler.core.observed import Report, Unchanged
from reconciler.core.plan import Step
from reconciler.core.refs import Target
from reconciler.core.rests import Instant
from reconciler.core.shape import Shape
from reconciler.driver import Driver, Outcome, StepContext
from reconciler.edge.journal import Journal
from reconciler.edge.lock import DatacenterLock
from reconciler.edge.plans import PlanFiles
from reconciler.edge.state import State
from reconciler.runtime.cycle import attempt
from reconciler.runtime.loop import Loop, Settings
from reconciler.runtime.nodes import Nodes, Opening
from reconciler.runtime.revision import Ports
from reconciler.runtime.status import Status
from reconciler.testing.ports import EPOCH, StaticFiles, StaticSource
from tests.builders import DATACENTER, SHAPES, desired, node

NODES = ("n1", "n2")
MEMBERS = ("a", "b")
"""Of the cluster `inc`, which only some revisions declare."""
TARGETS = (*NODES, *(f"inc/{member}" for member in MEMBERS))
Job = Callable[[Ports], Awaitable[None]]


class Points:
    """Counts what it passes; the process dies at the point asked for."""

    def __init__(self, deadly: int | None) -> None:
        self.passed = 0
        self.deadly = deadly

    def pass_by(self) -> None:
        self.passed += 1
        if self.passed == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)


class DeadlyJournal:
    def __init__(self, journal: Journal, points: Points) -> None:
        self._journal = journal
        self._points = points

    @property
    def ledger(self) -> Ledger:
        return self._journal.ledger

    async def append(self, entries: Sequence[Entry]) -> None:
        self._points.pass_by()
        await self._journal.append(entries)
        self._points.pass_by()


class DeadlyDriver:
    def __init__(self, driver: Driver, points: Points) -> None:
        self.shape: Shape = driver.shape
        self._driver = driver
        self._points = points

    async def observe(self, *, began: int, since: Mapping[Target, str] | None = None) -> tuple[Report | Unchanged, ...]:
        return await self._driver.observe(began=began, since=since)

    async def apply(self, step: Step, context: StepContext) -> Outcome:
        self._points.pass_by()
        outcome = await self._driver.apply(step, context)
        self._points.pass_by()
        return outcome

    async def close(self) -> None:
        await self._driver.close()


class Engine(NamedTuple):
    """What the nodes are made of: how one is opened, and the shapes that planning needs."""

    opening: Opening
    shapes: Mapping[str, Shape]


def simulated(folder: Path) -> Engine:
    def opening(wanted: NodeWant) -> Driver:
        return DRIVER.open(wanted, {"root": str(folder)})

    return Engine(opening, SHAPES)


class ShiftedClock:
    def __init__(self, seconds: float) -> None:
        self._now = EPOCH + seconds

    def now(self) -> float:
        self._now += 0.001
        return self._now

    def instant(self) -> Instant:
        return Instant(self.now(), "one boot", self._now - EPOCH)


def site(*resources: Resource, **more: Any) -> Desired:
    nodes = [node(name, address="sim:fleet.db") for name in NODES]
    return desired(*resources, **{"nodes": nodes, **more})


def cluster(**drains: Drain) -> NodeWant:
    members = {name: NodeMember(drain=drains.get(name)) for name in MEMBERS}
    return node("inc", address="sim:fleet.db", members=members, digest=f"inc {drains}")


async def working(
    folder: Path, history: Sequence[Desired], job: Job, *, engine: Engine, points: Points, later: float
) -> None:
    """One process's life in the datacenter of that folder."""

    def opening(wanted: NodeWant) -> Driver:
        return DeadlyDriver(engine.opening(wanted), points)

    state, clock = State.open(DATACENTER, folder / "state"), ShiftedClock(later)
    lock = DatacenterLock.acquire(state, purpose="a campaign")
    async with await Journal.open(state.journal, clock) as journal:
        await job(
            Ports(
                source=StaticSource(*history),
                plans=PlanFiles(state.plans),
                journal=DeadlyJournal(journal, points),
                clock=clock,
                fencing=lock,
                shapes=engine.shapes,
                opening=opening,
                files=StaticFiles(),
            )
        )


async def by_attempts(ports: Ports) -> None:
    """As cron does: cycle after cycle until there is nothing to do."""
    for _ in range(6):
        nodes = Nodes(ports.opening)
        done = await attempt(ports, nodes)
        await nodes.close()
        plan = done.prospect.plan
        if not plan.changes and all(hold.rule == "drain" for hold in plan.holds):
            return
    raise AssertionError(f"it does not come to rest: {plan.holds} {plan.problems} {done.summary}")


async def by_loop(ports: Ports, holds: int = 0) -> None:
    """As the daemon does. `holds`: what it comes to rest with."""
    loop = Loop(ports, Settings(), random=lambda: 0.5)
    async with anyio.create_task_group() as group:
        group.start_soon(loop.run)
        with anyio.fail_after(20):
            while not at_rest(loop.status, holds):  # noqa: ASYNC110 - the loop announces nothing
                await anyio.sleep(0.01)
        loop.stop("the work is done")


def at_rest(status: Status, holds: int = 0) -> bool:
    return status.ready and status.cycle is not None and status.cycle.holds == holds


def live(
    folder: Path,
    history: Sequence[Desired],
    deadly: int | None,
    *,
    job: Job = by_attempts,
    later: float = 0.0,
    engine: Engine | None = None,
) -> int | None:
    """Another process does the job. How many points it passed, or None if it was killed at the deadly one.

    Raises AssertionError if it ended in any other way."""
    told = folder / "points"
    child = os.fork()
    if not child:
        status = 70
        try:
            points, nodes = Points(deadly), engine or simulated(folder)
            anyio.run(lambda: working(folder, history, job, engine=nodes, points=points, later=later))
            told.write_text(str(points.passed))
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    if os.WIFSIGNALED(ended):
        assert os.WTERMSIG(ended) == signal.SIGKILL
        return None
    assert os.WEXITSTATUS(ended) == 0, f"the process ended with {os.WEXITSTATUS(ended)}; its words are above"
    return int(told.read_text())


def founded(folder: Path, history: Sequence[Desired]) -> Path:
    """A new datacenter, at rest with each revision of the history in turn."""
    folder.mkdir()
    with World(folder / "fleet.db") as fleet:
        for name in NODES:
            fleet.add_node(name)
        fleet.add_node("inc", members=MEMBERS)
    for number in range(len(history)):
        live(folder, history[: number + 1], None)
    return folder


def copied(folder: Path, to: Path) -> Path:
    if to.exists():
        shutil.rmtree(to)
    return shutil.copytree(folder, to)


def picture(folder: Path) -> dict[str, Any]:
    """All that must be the same however often trueup was killed: what is on the nodes, and what was done there."""
    things = []
    with World(folder / "fleet.db") as fleet:
        for name in TARGETS:
            for found in fleet.objects(name):
                marks, thing = found.object.marks, found.object
                who = (marks.ref, marks.uid, marks.incarnation, marks.applied) if marks else None
                things.append((name, thing.kind, who, thing.lifecycle, msgspec.to_builtins(thing.fields)))
        done = Counter((target, verb, ref) for target, verb, ref, status in fleet.acts() if status == "applied")
    return {"things": sorted(things, key=repr), "done": done}


def remembered(folder: Path) -> dict[str, Any]:
    """What the ledger holds of things, places, addresses and budgets."""
    from reconciler.edge.chain import read

    ledger = read(folder / "state" / "journal.db")
    bindings = {
        key: msgspec.structs.replace(binding, quarantined_until=None) for key, binding in ledger.bindings.items()
    }
    return {
        "bindings": bindings,
        "in flight": ledger.in_flight,
        "spent": Counter(entry.ref for _, entry in ledger.spent),
        "claims": ledger.claims,
    }
