"""What a simulated node reports."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers.sim.store import sealed
from drivers.sim.world import NoSuch, World
from reconciler.core.observed import Report, Unchanged
from reconciler.core.refs import Target, Uid
from reconciler.driver import NodeUnreachable
from reconciler.driver.console import Console, ConsoleUnavailable
from tests.drivers.sim.samples import DATACENTER, GI, context, machine, opened, step

pytestmark = pytest.mark.anyio


async def seen(file: Path, node: str = "edge1") -> Report:
    (report,) = await opened(file, node).observe(began=1)
    assert isinstance(report, Report)
    return report


async def test_digest_depends_on_what_is_there_and_not_on_how_it_came(world: World, file: Path) -> None:
    world.add_node("edge1")
    machine(world, "u1")
    once = await seen(file)
    machine(world, "u2")
    assert (await seen(file)).digest != once.digest
    world.delete("edge1", "u2")
    assert (await seen(file)).digest == once.digest


async def test_gauges_stay_outside_of_the_digest(world: World, file: Path) -> None:
    world.add_node("edge1")
    machine(world)
    before = await seen(file)
    world.set_gauges("edge1", "u1", used=GI)
    assert (await seen(file)).digest == before.digest


async def test_objects_digest_covers_all_that_it_says(world: World, file: Path) -> None:
    world.add_node("edge1")
    machine(world)
    (thing,) = (await seen(file)).objects
    assert sealed(thing).digest == thing.digest


async def test_known_digest_is_answered_without_objects(world: World, file: Path) -> None:
    world.add_node("edge1")
    machine(world)
    known = await seen(file)
    (answer,) = await opened(file).observe(began=2, since={Target("edge1"): known.digest})
    assert answer == Unchanged(Target("edge1"), 2, known.digest)
    world.drift("edge1", "u1", "/memory", 2 * GI, by="alice")
    (fresh,) = await opened(file).observe(began=3, since={Target("edge1"): known.digest})
    assert isinstance(fresh, Report)
    assert (fresh.objects[0].fields["memory"], fresh.objects[0].culprit) == (2 * GI, "alice")


async def test_members_report_each_for_itself(world: World, file: Path) -> None:
    world.add_node("inc", members=["b", "a"])
    reports = await opened(file, "inc").observe(began=1)
    assert [report.target for report in reports] == ["inc/a", "inc/b"]


async def test_fleet_survives_its_process(world: World, file: Path) -> None:
    world.add_node("edge1", memory=GI, carries=["admin"])
    world.claim("edge1", DATACENTER, fence=3)
    machine(world)
    before = await seen(file)
    world.close()
    world.__init__(file)  # type: ignore[misc]
    assert await seen(file) == before


async def test_node_that_the_fleet_does_not_hold_is_unreachable(world: World, file: Path) -> None:
    with pytest.raises(NodeUnreachable, match="holds no node edge9"):
        await opened(file, "edge9").observe(began=1)


def test_wrong_name_is_one_clear_error(world: World) -> None:
    world.add_node("edge1")
    with pytest.raises(NoSuch, match="0 objects on edge1 are named web"):
        world.delete("edge1", "web")
    with pytest.raises(NoSuch, match="no target edge2"):
        world.claim("edge2", DATACENTER)
    with pytest.raises(NoSuch, match="breaks in one of these ways"):
        world.break_target("edge1", "melt")


def test_twin_bears_marks_that_count_and_a_copy_does_not(world: World) -> None:
    world.add_node("edge1")
    machine(world)
    assert world.copy("edge1", "u1", "copy").object.marks is None
    twin = world.duplicate("edge1", "u1", "twin").object
    assert twin.marks is not None
    assert twin.marks.uid == "u1"


async def test_logs_tell_what_the_node_was_asked(world: World, file: Path) -> None:
    world.add_node("edge1")
    world.claim("edge1", DATACENTER)
    machine(world)
    driver = opened(file)
    assert isinstance(driver, Console)
    with pytest.raises(ConsoleUnavailable, match="never asked"):
        await driver.logs(Uid("u1"), 10)
    await driver.apply(step("start"), context())
    assert await driver.logs(Uid("u1"), 10) == "start: applied\n"
    with pytest.raises(ConsoleUnavailable):
        await driver.exec(Uid("u1"), ["true"])
