"""The kit: who may write. A stale controller, an older plan, another datacenter may not; two at once act once.

Owns: claim, fence, generation, concurrent writers, people's pauses. Must not go here: what is written.
"""

from __future__ import annotations

from typing import Any

import anyio
import msgspec

from reconciler.core.finish import pause_step
from reconciler.core.observed import Marks, Object
from reconciler.core.plan import Action, Step
from reconciler.driver import Outcome
from reconciler.testing.conformance.expect import at_rest, made, refused
from reconciler.testing.harness import Harness
from reconciler.testing.scene import Scene, edited


async def test_stale_fence_is_refused(harness: Harness) -> None:
    async with Scene(harness) as scene:
        scene.fence += 2
        wanted, found = await made(scene)
        create = scene.change(scene.fresh(), None).steps[0]
        update = scene.change(edited(harness, wanted, **harness.size(1)), found).steps[0]
        for step in (create, update):
            assert (await refused(scene, step, fence=scene.fence - 1)).outbid, "whoever is outbid has to know it"
            await scene.proved(step)


async def test_older_generation_never_undoes_a_newer_one(harness: Harness) -> None:
    async with Scene(harness) as scene:
        scene.generation += 2
        wanted, found = await made(scene)
        create = scene.change(scene.fresh(), None).steps[0]
        update = scene.change(edited(harness, wanted, **harness.size(1)), found).steps[0]
        for step in (create, update):
            await refused(scene, step, generation=scene.generation - 1)
            await scene.proved(step)


async def test_fence_and_generation_are_remembered_by_the_node(harness: Harness) -> None:
    async with Scene(harness) as scene:
        scene.fence += 1
        _, found = await made(scene)
        await scene.clear(found.marks.ref, found.marks.uid)  # type: ignore[union-attr]
        await scene.reopen()
        claim = (await scene.look()).claim
        assert claim is not None
        assert (claim.fence, claim.generation) == (scene.fence, scene.generation)


async def test_another_datacenters_step_is_refused(harness: Harness) -> None:
    async with Scene(harness) as scene:
        _, found = await made(scene)
        create = scene.change(scene.fresh(), None).steps[0]
        (stop, *_) = scene.removal(found, Action.DESTROY).steps
        for step in (create, stop):
            await refused(scene, _of_datacenter(step, "0d6b8e5e-0000-4000-8000-000000000000"))


def _of_datacenter(step: Step, datacenter: str) -> Step:
    marks: dict[str, Any] = {**step.args["marks"], "datacenter": datacenter}
    return msgspec.structs.replace(step, args={**step.args, "marks": marks})


async def test_node_is_claimed_once_and_for_one_datacenter(harness: Harness) -> None:
    async with Scene(harness) as scene:
        report = await scene.look()
        assert (await scene.claim(report)).status == "unchanged"


async def test_two_writers_of_one_step_act_once(harness: Harness) -> None:
    async with Scene(harness) as scene:
        wanted = scene.fresh()
        change = scene.change(wanted, None)
        other = await harness.open()
        outcomes: list[Outcome] = []

        async def write(driver: Any, step: Step) -> None:
            outcomes.append(await driver.apply(step, scene.step_context()))

        scene.made[change.uid] = change.ref
        try:
            for step in change.steps:
                outcomes.clear()
                async with anyio.create_task_group() as both:
                    both.start_soon(write, scene.driver, step)
                    both.start_soon(write, other, step)
                assert [outcome.status for outcome in outcomes].count("applied") == 1, (step.id, outcomes)
                assert {outcome.status for outcome in outcomes} <= {"applied", "unchanged", "deferred"}
        finally:
            await other.close()
        await at_rest(scene, wanted, change)


async def test_machines_are_made_side_by_side(harness: Harness) -> None:
    async with Scene(harness) as scene:
        wanted = [scene.fresh() for _ in range(3)]
        changes = [scene.change(each, None) for each in wanted]
        async with anyio.create_task_group() as group:
            for change in changes:
                group.start_soon(scene.run, change)
        for each, change in zip(wanted, changes, strict=True):
            await at_rest(scene, each, change)


async def test_pause_is_borne_by_the_object_and_refuses_who_did_not_know(harness: Harness) -> None:
    async with Scene(harness) as scene:
        wanted, found = await made(scene)
        update = scene.change(edited(harness, wanted, **harness.size(1)), found).steps[0]
        unaware = msgspec.structs.replace(
            update, precondition=msgspec.structs.replace(update.precondition, paused=None)
        )
        for until, why in ((scene.now + 3600.5, 'looking at "it"'), (scene.now + 60, "once more"), (None, None)):
            found = await _paused(scene, found, until, why)
            if until is not None:
                await refused(scene, unaware)
        await scene.proved(unaware)


async def test_pause_is_borne_in_quarantine_and_by_what_is_no_machine(harness: Harness) -> None:
    async with Scene(harness) as scene:
        _, found = await made(scene)
        assert found.marks is not None
        await scene.run(scene.removal(found, Action.DESTROY))
        shared = [await scene.find(scene.uid(each.ref)) for each in (harness.image(), harness.network())]
        for thing in (await scene.there(found.marks.uid), *shared):
            if thing is not None:
                thing = await _paused(scene, thing, scene.now + 3600, "evidence")
                await _paused(scene, thing, None, None)


async def _paused(scene: Scene, thing: Object, until: float | None, why: str | None) -> Object:
    """Write a pause, or its end; nothing but the marks is other than before."""
    assert thing.marks is not None
    marks = msgspec.structs.replace(
        thing.marks, paused_until=until, paused_reason=why, generation=scene.generation, fence=scene.fence
    )
    await scene.proved(pause_step(thing, marks, scene.harness.target))
    now = await scene.there(marks.uid)
    assert now.marks == marks, f"{_differing(now.marks, marks)} of its marks are not as written"
    assert (now.fields, now.lifecycle) == (thing.fields, thing.lifecycle)
    return now


def _differing(found: Marks | None, wanted: Marks) -> list[str]:
    return [name for name in wanted.__struct_fields__ if getattr(found, name, None) != getattr(wanted, name)]
