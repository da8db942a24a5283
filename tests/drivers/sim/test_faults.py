"""What goes wrong on cue."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from drivers.sim.faults import How
from drivers.sim.world import World
from reconciler.core.plan import Expect
from reconciler.driver import NodeUnreachable, Outcome
from reconciler.driver.prompt import Prompt
from tests.drivers.sim.samples import DATACENTER, context, machine, opened, step

pytestmark = pytest.mark.anyio

START = step("start", after=Expect("live", {"/state": "running"}))


@pytest.fixture(autouse=True)
def node(world: World) -> None:
    world.add_node("edge1")
    world.claim("edge1", DATACENTER)
    machine(world)


def promising(file: Path, node: str = "edge1") -> Any:
    driver = opened(file, node)
    assert isinstance(driver, Prompt)
    return driver


def state(world: World) -> str:
    return str(world.find("edge1", "u1").object.fields["state"])


async def test_fault_strikes_the_nth_matching_call(world: World, file: Path) -> None:
    world.fail("fail", verb="start", ref="Machine/acme/*", nth=2, reason="no more processes")
    driver = opened(file)
    assert (await driver.apply(step("mark"), context())).status == "applied"
    assert (await driver.apply(START, context())).status == "applied"
    world.stop("edge1", "u1")
    assert await driver.apply(START, context()) == Outcome("failed", "no more processes")
    assert (await driver.apply(START, context())).status == "applied"


async def test_lost_answer_is_unconfirmed_whether_or_not_the_node_acted(world: World, file: Path) -> None:
    driver = opened(file)
    world.fail("unconfirmed-before")
    assert (await driver.apply(START, context())).status == "unconfirmed"
    assert state(world) == "stopped"
    world.fail("unconfirmed-after")
    assert (await driver.apply(START, context())).status == "unconfirmed"
    assert state(world) == "running"
    assert (await driver.apply(START, context())).status == "unchanged"


async def test_hanging_call_ends_with_its_deadline(world: World, file: Path) -> None:
    world.fail("hang-before")
    outcome = await opened(file).apply(START, context(deadline=0.01))
    assert outcome.status == "unconfirmed"
    assert state(world) == "stopped"


async def test_cancelled_call_may_have_acted(world: World, file: Path) -> None:
    world.fail("hang-after")
    with anyio.move_on_after(0.01) as scope:
        await opened(file).apply(START, context())
    assert scope.cancelled_caught
    assert state(world) == "running"


@pytest.mark.parametrize(("how", "left"), [(How.CRASH_BEFORE, "stopped"), (How.CRASH_AFTER, "running")])
async def test_crash_kills_the_process_and_does_not_strike_again(world: World, file: Path, how: How, left: str) -> None:
    world.fail(how)
    script = (
        "import anyio, sys; from pathlib import Path\n"
        "from tests.drivers.sim.samples import *\n"
        "act = step('start', after=Expect('live', {'/state': 'running'}))\n"
        "anyio.run(opened(Path(sys.argv[1])).apply, act, context())\n"
    )
    command = [sys.executable, "-c", script, str(file)]
    done = await anyio.run_process(command, cwd=Path(__file__).parents[3], check=False)
    assert done.returncode == -9
    assert state(world) == left
    assert (await opened(file).apply(START, context())).status in ("applied", "unchanged")


async def test_unreachable_member_does_not_hide_the_others(world: World, file: Path) -> None:
    world.add_node("inc", members=["a", "b"])
    world.break_target("inc/a", "unreachable", reason="daemon is down")
    lost, whole = await opened(file, "inc").observe(began=1)
    assert (lost.complete, lost.identity, lost.problem) == (False, None, "daemon is down")  # type: ignore[union-attr]
    assert whole.complete  # type: ignore[union-attr]


async def test_unreachable_node_cannot_be_asked(world: World, file: Path) -> None:
    world.break_target("edge1", "unreachable", reason="no route to host")
    with pytest.raises(NodeUnreachable, match="no route to host"):
        await opened(file).observe(began=1)


@pytest.mark.parametrize("latency", [{"observe": 0.05}, {"*": 0.05}, {"start": 0.05}])
async def test_node_that_takes_its_time_does_not_promise_to_answer_at_once(
    world: World, file: Path, latency: Mapping[str, float]
) -> None:
    world.add_node("inc", members=["a", "b"])
    one, several = promising(file), promising(file, "inc")
    assert (one.prompt(), several.prompt()) == (True, True)
    world.set_latency("inc/b", latency)
    assert (one.prompt(), several.prompt()) == (True, False)
    world.set_latency("inc/b", {})
    world.break_target("edge1", "hang")
    assert (one.prompt(), several.prompt()) == (False, True)
    world.repair("edge1")
    assert one.prompt()


async def test_node_that_is_not_there_tells_so_at_once(world: World, file: Path) -> None:
    world.break_target("edge1", "unreachable", reason="no route to host")
    for driver in (promising(file), promising(file, "nowhere"), promising(file.with_name("none.db"))):
        assert driver.prompt()
        with pytest.raises(NodeUnreachable):
            driver.observe(began=1).send(None)


async def test_latency_is_waited_out(world: World, file: Path) -> None:
    world.set_latency("edge1", {"start": 0.05})
    began = anyio.current_time()
    await opened(file).apply(START, context())
    assert anyio.current_time() - began >= 0.05


async def test_repair_takes_every_break_back(world: World, file: Path) -> None:
    driver = opened(file)
    (before,) = await driver.observe(began=1)
    for how in ("partial", "hang", "reimaged", "unclaimed", "unreachable"):
        world.break_target("edge1", how)
    world.repair("edge1")
    assert await driver.observe(began=1) == (before,)


async def test_log_tells_what_the_node_was_asked(world: World, file: Path) -> None:
    driver = opened(file)
    await driver.apply(START, context())
    await driver.apply(START, context())
    assert world.acts() == [("edge1", "start", "Machine/acme/web", status) for status in ("applied", "unchanged")]
