"""The kit: a step can be repeated, can fail, can be cut short, can be lied to; nothing is done twice or left behind.

Owns: what happens to one step. Must not go here: whole changes that go well (life), other writers (guard).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from unittest import SkipTest

import msgspec

from reconciler.core.desired import Resource
from reconciler.core.plan import Action, Change, Expect, Step
from reconciler.testing.conformance.expect import at_rest, made, refused
from reconciler.testing.conformance.interruptions import KILLS, Interruption, cancellations
from reconciler.testing.harness import Harness
from reconciler.testing.scene import QUARANTINE, Scene, edited


async def _whole_life(scene: Scene, harness: Harness) -> AsyncIterator[Change]:
    """Create, change, destroy, restore, destroy again: each yielded to be carried out by the caller."""
    wanted = scene.fresh()
    create = scene.change(wanted, None)
    yield create
    larger = edited(harness, wanted, **harness.size(1))
    yield scene.change(larger, await scene.there(create.uid))
    yield scene.removal(await scene.there(create.uid), Action.DESTROY)
    yield scene.change(larger, await scene.there(create.uid))
    yield scene.removal(await scene.there(create.uid), Action.DESTROY)


async def test_every_step_can_be_repeated(harness: Harness) -> None:
    async with Scene(harness) as scene:
        async for change in _whole_life(scene, harness):
            for step in change.steps:
                await scene.proved(step)
                before = await scene.look()
                again = await scene.apply(step)
                assert again.status == "unchanged", f"{step.id} repeated: {again.status}, {again.reason}"
                assert (await scene.look()).digest == before.digest, f"{step.id} repeated did something"


async def test_purge_can_be_repeated(harness: Harness) -> None:
    async with Scene(harness) as scene:
        _, found = await made(scene)
        assert found.marks is not None
        await scene.run(scene.removal(found, Action.DESTROY))
        (purge,) = scene.removal(await scene.there(found.marks.uid), Action.PURGE).steps
        for status in ("applied", "unchanged"):
            assert (await scene.apply(purge, now=scene.now + 2 * QUARANTINE)).status == status


async def test_step_whose_precondition_does_not_hold_is_deferred(harness: Harness) -> None:
    """The plan lies: it claims a world that is not there."""
    async with Scene(harness) as scene:
        async for change in _whole_life(scene, harness):
            for step in change.steps:
                for lie in _lies(step):
                    outcome = await refused(scene, lie)
                    assert outcome.status == "deferred", outcome
                await scene.proved(step)


def _lies(step: Step) -> tuple[Step, ...]:
    """Preconditions that no world has, with effects that do not hold either."""
    far = Expect("quarantined" if step.effect.lifecycle != "quarantined" else "live", {"/memory": 1}, applied="never")
    wrong_field = Expect("live", {"/memory": 3})
    wrong_lifecycle = Expect("quarantined", {"/memory": 3})
    return (
        msgspec.structs.replace(step, precondition=wrong_field, effect=far),
        msgspec.structs.replace(step, precondition=wrong_lifecycle, effect=far),
    )


async def test_create_over_a_thing_that_is_there_is_deferred(harness: Harness) -> None:
    async with Scene(harness) as scene:
        wanted, found = await made(scene)
        create = scene.change(wanted, None, action=Action.CREATE).steps[0]
        assert found.marks is not None
        assert create.uid == found.marks.uid
        assert (await refused(scene, create)).status == "deferred"


async def test_unknown_verb_is_refused(harness: Harness) -> None:
    async with Scene(harness) as scene:
        wanted = scene.fresh()
        step = msgspec.structs.replace(scene.change(wanted, None).steps[0], verb="dance")
        await refused(scene, step)


async def test_failure_at_each_step_leaves_a_change_that_can_be_finished(harness: Harness) -> None:
    tried: set[str] = set()
    skipped: list[str] = []
    for number in range(12):
        async with Scene(harness) as scene:
            wanted = scene.fresh()
            change = scene.change(wanted, None)
            if number >= len(change.steps):
                break
            for step in change.steps[:number]:
                await scene.proved(step)
            step = change.steps[number]
            try:
                async with harness.failing(step.verb):
                    outcome = await scene.apply(step)
            except SkipTest as error:
                skipped.append(str(error))
                continue
            assert outcome.status in ("failed", "unconfirmed"), f"{step.id}: {outcome}"
            assert outcome.reason
            tried.add(step.verb)
            await _finish(scene, wanted, change)
    if not tried:
        raise SkipTest("; ".join(skipped))


async def test_killed_before_or_after_each_step_resumes(harness: Harness) -> None:
    await _interrupt_each_step(harness, KILLS)


async def test_cancelled_during_each_step_resumes(harness: Harness) -> None:
    await _interrupt_each_step(harness, cancellations(harness))


async def _interrupt_each_step(harness: Harness, interruptions: tuple[Interruption, ...]) -> None:
    for interrupt in interruptions:
        for number in range(12):
            async with Scene(harness) as scene:
                wanted = scene.fresh()
                change = scene.change(wanted, None)
                if number >= len(change.steps):
                    break
                for step in change.steps[:number]:
                    await scene.proved(step)
                scene.made[change.uid] = change.ref
                await interrupt(scene, change.steps[number])
                await _finish(scene, wanted, change)


async def test_interrupted_destroy_and_restore_resume(harness: Harness) -> None:
    async with Scene(harness) as scene:
        wanted, found = await made(scene)
        assert found.marks is not None
        for _ in range(2):
            destroy = scene.removal(await scene.there(found.marks.uid), Action.DESTROY)
            for step in destroy.steps:
                await scene.apply(step)
                await scene.reopen()
                assert (await scene.apply(step)).status == "unchanged"
            restore = scene.change(wanted, await scene.there(found.marks.uid))
            for step in restore.steps:
                await scene.apply(step)
                await scene.reopen()
                assert (await scene.apply(step)).status == "unchanged"
            await at_rest(scene, wanted, restore)


async def _finish(scene: Scene, wanted: Resource, change: Change) -> None:
    """Resume as the executor does: a step whose effect holds is done, one whose precondition holds is run; where
    neither holds, look and decide anew. It must end at rest, with one object."""
    for _ in range(3):
        for step in change.steps:
            outcome = await scene.apply(step)
            if outcome.status not in ("applied", "unchanged"):
                break
        else:
            break
        change = scene.change(wanted, await scene.find(change.uid))
    found = await at_rest(scene, wanted, scene.change(wanted, await scene.there(change.uid)))
    twins = [thing for thing in (await scene.look()).objects if thing.marks and thing.marks.ref == wanted.ref]
    assert twins == [found], f"{len(twins)} objects stand for {wanted.ref}"
