"""How long machines were down, as an execution tells it: with the step that starts them, and at its end."""

from __future__ import annotations

import msgspec
import pytest

from reconciler.core.ledger import Settled
from reconciler.core.outages import Downtime
from reconciler.core.plan import Change, Expect
from reconciler.core.refs import Ref, Target
from reconciler.runtime.events import StepEnded
from tests.runtime.worlds import World, change, plan_of

pytestmark = pytest.mark.anyio


def restart(name: str, target: str, *, seconds: float = 2) -> Change:
    """Stopped and started again, each predicted to take so long."""
    states = {"stop": ("running", "stopped"), "start": ("stopped", "running")}
    bare = change(name, target, "stop", "start")
    steps = []
    for step in bare.steps:
        before, after = states[step.verb]
        precondition = Expect("live", {**step.precondition.fields, "/state": before})
        effect = Expect("live", {**step.effect.fields, "/state": after})
        done = (Settled(step.ref, step.uid, step.target, {}, "c1"),) if step.verb == "start" else ()
        steps.append(
            msgspec.structs.replace(
                step, precondition=precondition, effect=effect, on_applied=done, seconds=seconds
            )
        )  # fmt: skip
    return msgspec.structs.replace(bare, steps=tuple(steps))


async def test_how_long_a_machine_was_down_is_told_with_the_step_that_starts_it_and_at_the_end(world: World) -> None:
    world.add("a")
    summary = await world.execute(plan_of(restart("m1", "a"), change("m2", "a", "x")))
    down = Downtime(Ref("Machine/acme/m1"), Target("a"), 2.0, 4.0)
    assert {event.verb: event.down for event in world.told(StepEnded)} == {"stop": None, "x": None, "start": down}
    assert summary.downtimes == (down,)


async def test_a_machine_that_stays_down_is_told_of_by_the_run_that_starts_it(world: World) -> None:
    node = world.add("a")
    node.failing["start"] = "no room"
    plan = plan_of(restart("m1", "a"))
    assert (await world.execute(plan)).downtimes == ()
    world.crash()
    node.failing.clear()
    world.clock.advance(600)
    (down,) = (await world.execute(plan)).downtimes
    assert down.seconds == pytest.approx(603)
