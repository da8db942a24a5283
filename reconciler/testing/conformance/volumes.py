"""The kit's part on Volumes: things of their own that machines mount, and that outlive them.

Owns: what a Volume means on every driver that makes any. Must not go here: data disks (life), placement (core).
"""

from __future__ import annotations

from unittest import SkipTest

from reconciler.core.observed import Object
from reconciler.core.plan import Action
from reconciler.core.refs import Ref
from reconciler.testing.harness import Harness
from reconciler.testing.rehearsal import Rehearsal
from reconciler.testing.scene import edited, fresh_name

MI = 2**20


async def _seen(life: Rehearsal, ref: Ref) -> Object:
    objects = [thing for report in await life.observe() for thing in report.objects]
    (found,) = [thing for thing in objects if thing.marks is not None and thing.marks.ref == ref]
    return found


def _able(harness: Harness) -> None:
    if "Volume" not in harness.shape.capability.kinds:
        raise SkipTest("the driver makes no volumes")


async def test_volume_is_shared_and_grown_and_outlives_its_machines(harness: Harness) -> None:
    _able(harness)
    name = fresh_name("v")
    async with Rehearsal(harness) as life:
        ground = (harness.image(), harness.network())
        writes = harness.machine(fresh_name("va"), volumes={name: {"path": "/srv", "readOnly": False}})
        reads = harness.machine(fresh_name("vb"), volumes={name: {"path": "/in/it", "readOnly": True}})
        volume = harness.volume(name, 24 * MI)
        life.want(*ground, volume, writes, reads)
        await life.converge()

        async def said(ref: Ref, script: str) -> str | None:
            return await harness.hand_shell(await _seen(life, ref), script)

        if await said(writes.ref, "echo kept >/srv/said") is not None:
            assert await said(reads.ref, "cat /in/it/said") == "kept\n"
            assert await said(reads.ref, "touch /in/it/mine 2>/dev/null || echo no") == "no\n"
        await _unmounted_by_hand(harness, life, writes.ref, name)

        life.want(*ground, harness.volume(name, 48 * MI), writes, reads)
        plan = await life.converge()
        assert [(step.ref, step.verb) for step in plan.steps] == [(volume.ref, "update")]

        writes, reads = edited(harness, writes, volumes=None), edited(harness, reads, volumes=None)
        life.want(*ground, writes, reads)
        plan = await life.converge()
        assert {change.ref: change.action for change in plan.changes}[volume.ref] is Action.DESTROY
        assert (await _seen(life, volume.ref)).lifecycle == "quarantined"

        writes = edited(harness, writes, volumes={name: {"path": "/back", "readOnly": False}})
        life.want(*ground, harness.volume(name, 64 * MI), writes, reads)
        plan = await life.converge()
        assert {change.ref: change.action for change in plan.changes}[volume.ref] is Action.RESTORE
        assert await said(writes.ref, "cat /back/said") in (None, "kept\n")
        found = await _seen(life, volume.ref)
        assert (found.lifecycle, found.fields["size"]) == ("live", 64 * MI)


async def _unmounted_by_hand(harness: Harness, life: Rehearsal, machine: Ref, name: str) -> None:
    try:
        await harness.hand_unmount(await _seen(life, machine), name)
    except SkipTest:
        return
    plan = await life.converge()
    assert {change.ref for change in plan.changes} == {machine}
    assert await harness.hand_shell(await _seen(life, machine), "cat /srv/said") in (None, "kept\n")


async def test_volume_is_purged_when_its_time_is_over_and_not_before(harness: Harness) -> None:
    _able(harness)
    async with Rehearsal(harness) as life:
        volume = harness.volume(fresh_name("v"), 24 * MI)
        life.want(volume)
        await life.converge()
        life.want()
        assert [change.action for change in (await life.converge()).changes] == [Action.DESTROY]
        assert not (await life.plan()).changes
        life.clock.advance(life.policy.quarantine + 1)
        plan, half = await life.plan(), life.policy.quarantine / 2  # so long that no host is too slow for it
        life.clock.advance(-half)
        ((_, early),) = await life.carry_out(plan)
        assert early.status in ("deferred", "failed"), "the node keeps to the time that the volume bears"
        life.clock.advance(half)
        assert [change.action for change in (await life.converge()).changes] == [Action.PURGE]
        objects = [thing for report in await life.observe() for thing in report.objects]
        assert not [thing for thing in objects if thing.marks is not None and thing.marks.ref == volume.ref]
