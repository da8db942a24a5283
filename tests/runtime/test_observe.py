from __future__ import annotations

import anyio
import pytest

from reconciler.core.desired import NodeMember, NodeWant
from reconciler.core.ledger import Covered, Paused
from reconciler.core.refs import Target
from reconciler.runtime.events import NodeAsked
from reconciler.runtime.observe import Asking, observe, observe_node
from tests.runtime.worlds import DATACENTER, World

pytestmark = pytest.mark.anyio


async def seen(world: World, **more: object) -> dict[Target, object]:
    asking = Asking(emit=world.events.append)
    reports = await observe(
        world.declared.values(), world.nodes, world.journal, datacenter=DATACENTER, asking=asking, **more
    )
    return dict(reports)


async def test_every_declared_node_has_a_report(world: World) -> None:
    world.add("a", "b")
    reports = await seen(world)
    assert list(reports) == ["a", "b"]
    assert all(report.complete for report in reports.values())


async def test_a_dead_node_gives_an_incomplete_report_and_its_reason(world: World) -> None:
    world.add("a", "b").dead = "no route to host"
    reports = await seen(world)
    assert reports["a"].complete
    assert not reports["b"].complete
    assert reports["b"].problem == "no route to host"
    assert reports["b"].objects == ()


async def test_a_driver_that_raises_anything_spoils_only_its_own_node(world: World) -> None:
    world.add("a", "b").breaking.add("observe")
    reports = await seen(world)
    assert reports["a"].complete
    assert reports["b"].problem == "RuntimeError: observe broke"


async def test_a_driver_that_cannot_be_opened_is_a_problem_of_its_node(world: World) -> None:
    world.add("a")
    ghost = NodeWant("ghost", "memory", "x")
    reports = await observe([ghost], world.nodes, world.journal, datacenter=DATACENTER)
    assert reports["ghost"].problem == "KeyError: 'ghost'"


async def test_a_hanging_node_delays_the_others_by_nothing(world: World) -> None:
    world.add("a", "b").hanging.add("observe")
    reports = await seen(world)
    asked = {event.node: event.seconds for event in world.told(NodeAsked)}
    assert asked == {"a": pytest.approx(1), "b": pytest.approx(30)}
    assert reports["b"].problem == "no answer within 30 s"


async def test_nodes_are_asked_side_by_side_up_to_the_limit(world: World) -> None:
    world.add(*(f"n{number}" for number in range(10)))
    start = anyio.current_time()
    await observe(world.declared.values(), world.nodes, world.journal, datacenter=DATACENTER, asking=Asking(nodes=5))
    assert anyio.current_time() - start == pytest.approx(2)


async def test_a_listing_is_dated_with_the_sequence_at_which_it_began(world: World) -> None:
    node = world.add("a")
    await world.journal.append([Paused("Node/x", 0, "")])

    async def writes_meanwhile() -> None:
        await anyio.sleep(0.5)
        await world.journal.append([Paused("Node/x", 0, "")])

    async with anyio.create_task_group() as group:
        group.start_soon(writes_meanwhile)
        reports = await seen(world)
    assert node.latency == 1
    assert reports["a"].began == 1


async def test_coverage_is_journalled_once(world: World) -> None:
    world.add("a", "b").dead = "gone"
    await seen(world)
    assert world.journalled(Covered) == [Covered(Target("a"))]
    world.machines["b"].dead = None
    await seen(world)
    await seen(world)
    assert world.journalled(Covered) == [Covered(Target("a")), Covered(Target("b"))]


async def test_an_unchanged_node_keeps_its_report_with_the_new_date(world: World) -> None:
    world.add("a").objects["x"] = 1
    first = await seen(world)
    second = await seen(world, known=first)
    assert second["a"].objects is first["a"].objects
    assert second["a"].began > first["a"].began


async def test_a_member_that_the_driver_leaves_out_is_unknown(world: World) -> None:
    world.add("inc")
    cluster = NodeWant("inc", "memory", "x", members={"a": NodeMember(), "b": NodeMember()})
    reports = await observe_node(cluster, world.nodes, began=0)
    assert {target: report.problem for target, report in reports.items()} == {
        "inc/a": "its driver said nothing of it",
        "inc/b": "its driver said nothing of it",
    }
