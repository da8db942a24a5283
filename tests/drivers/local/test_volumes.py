"""Volumes on this host beyond what the conformance kit asks: a storage that dies, and zones that people changed."""

from __future__ import annotations

import pytest

from drivers.local.config import with_mount
from reconciler.core.observed import Object
from reconciler.core.refs import Ref, name_of
from reconciler.testing.rehearsal import Rehearsal
from reconciler.testing.scene import edited, fresh_name
from tests.drivers.local.hand import MI, Hand, LocalHarness

pytestmark = [pytest.mark.anyio, pytest.mark.real]


async def _seen(life: Rehearsal, ref: Ref) -> Object:
    (report,) = await life.observe()
    (found,) = [each for each in report.objects if each.marks is not None and each.marks.ref == ref]
    return found


async def test_zone_has_its_volume_again_after_the_storage_died(hand: Hand) -> None:
    harness = LocalHarness(hand)
    name = fresh_name("v")
    async with Rehearsal(harness) as life:
        machine = harness.machine(fresh_name("vd"), volumes={name: {"path": "/srv", "readOnly": False}})
        life.want(harness.image(), harness.network(), harness.volume(name, 24 * MI), machine)
        await life.converge()
        await harness.hand_shell(await _seen(life, machine.ref), "echo kept >/srv/said && sync -f /srv/said || sync")
        hand.run("zfs", "snapshot", f"{hand.pool}/volumes@synced")  # zfs-fuse writes within half a minute, or now
        hand.kill_daemon()
        assert not (await life.plan()).changes
        assert await harness.hand_shell(await _seen(life, machine.ref), "cat /srv/said") == "kept\n"


async def test_volume_that_another_zone_mounts_is_not_set_aside(hand: Hand) -> None:
    harness = LocalHarness(hand)
    name = fresh_name("v")
    async with Rehearsal(harness) as life:
        ground = (harness.image(), harness.network())
        machine, volume = harness.machine(fresh_name("vs"), state="stopped"), harness.volume(name, 24 * MI)
        life.want(*ground, volume, machine)
        await life.converge()
        config = hand.place.zone((await _seen(life, machine.ref)).native_name) / "config"
        before, path = config.read_text(), hand.place.pool / "volumes" / (await _seen(life, volume.ref)).native_name
        life.want(*ground, machine)
        plan = await life.plan()
        config.write_text(with_mount(before, path, "/theirs"))
        ((change, outcome),) = await life.carry_out(plan)
        assert (change.ref, outcome.status) == (volume.ref, "deferred")
        assert outcome.reason == f"it is mounted in {name_of(machine.ref)}"
        plan = await life.converge()
        assert {each.ref for each in plan.changes} == {machine.ref, volume.ref}, "the mount is drift, and goes first"
        assert path.name not in config.read_text()


async def test_volume_that_an_unreadable_zone_may_mount_is_not_set_aside(hand: Hand) -> None:
    harness = LocalHarness(hand)
    name = fresh_name("v")
    async with Rehearsal(harness) as life:
        ground = (harness.image(), harness.network())
        machine, volume = harness.machine(fresh_name("vu"), state="stopped"), harness.volume(name, 24 * MI)
        life.want(*ground, volume, machine)
        await life.converge()
        zone = (await _seen(life, machine.ref)).native_name
        config = hand.place.zone(zone) / "config"
        before = config.read_text()
        life.want(*ground, machine)
        plan = await life.plan()
        config.write_text(before + "# trueup.nic.0 = {not json\n")
        ((change, outcome),) = await life.carry_out(plan)
        assert (change.ref, outcome.status) == (volume.ref, "deferred")
        assert outcome.reason.startswith(f"zone {zone} may mount it, and its configuration cannot be read: ")
        config.write_text(before)
        plan = await life.converge()
        assert {each.ref for each in plan.changes} == {volume.ref}


async def test_mount_of_a_volume_that_is_nobodys_is_refused(hand: Hand) -> None:
    harness = LocalHarness(hand)
    async with Rehearsal(harness) as life:
        ground = (harness.image(), harness.network())
        machine, volume = harness.machine(fresh_name("vm")), harness.volume(fresh_name("v"), 24 * MI)
        life.want(*ground, volume, machine)
        await life.converge()
        config = hand.place.zone((await _seen(life, machine.ref)).native_name) / "config"
        before = config.read_text()
        name = name_of(volume.ref)
        life.want(*ground, volume, edited(harness, machine, volumes={name: {"path": "/x", "readOnly": False}}))
        plan = await life.plan()
        dataset = f"{hand.pool}/volumes/{(await _seen(life, volume.ref)).native_name}"
        mark = hand.run("zfs", "get", "-H", "-o", "value", "trueup:mark", dataset).strip()
        hand.run("zfs", "inherit", "trueup:mark", dataset)
        ((change, outcome),) = await life.carry_out(plan)
        assert (change.ref, outcome.reason) == (machine.ref, f"there is no volume {name} to mount")
        assert config.read_text() == before
        hand.run("zfs", "set", f"trueup:mark={mark}", dataset)
        await life.converge()
        assert "/x" in (await harness.hand_shell(await _seen(life, machine.ref), "cut -d' ' -f2 /proc/mounts")).split()
