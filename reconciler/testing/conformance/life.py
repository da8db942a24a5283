"""The kit: every change there is, carried out whole, leaves the node as it predicted.

Owns: create, update, stop and start, disks, replace, destroy, restore, purge, rename, forget, adopt; networks, images.
Must not go here: interrupted changes (steps), what others do (sight), who may write (guard).
"""

from __future__ import annotations

from unittest import SkipTest

from reconciler.core.plan import Action, Manner, Risk
from reconciler.core.values import plain
from reconciler.testing.conformance.expect import at_rest, made, refused
from reconciler.testing.harness import Harness
from reconciler.testing.scene import QUARANTINE, Scene, edited


async def test_created_machine_is_what_was_predicted(harness: Harness) -> None:
    async with Scene(harness) as scene:
        wanted = scene.fresh()
        change = await scene.run(scene.change(wanted, None))
        found = await at_rest(scene, wanted, change)
        assert found.fields["state"] == "running"
        assert found.marks is not None
        assert (found.marks.ref, found.marks.datacenter) == (wanted.ref, harness.datacenter)
        assert (found.marks.generation, found.marks.fence) == (scene.generation, scene.fence)


async def test_machine_created_stopped_stays_stopped(harness: Harness) -> None:
    async with Scene(harness) as scene:
        wanted = scene.fresh(state="stopped")
        change = await scene.run(scene.change(wanted, None))
        assert (await at_rest(scene, wanted, change)).fields["state"] == "stopped"


async def test_each_size_changes_to_what_was_predicted(harness: Harness) -> None:
    small, large = harness.size(0), harness.size(1)
    async with Scene(harness) as scene:
        wanted, _ = await made(scene)
        for key in sorted(small.keys() | large.keys()):
            if small.get(key) != large.get(key):
                wanted = edited(harness, wanted, **{key: large.get(key)})
                await at_rest(scene, wanted, await scene.converge(wanted))


async def test_each_edit_changes_to_what_was_predicted(harness: Harness) -> None:
    edits = harness.edits()
    if not edits:
        raise SkipTest("the harness names no further edits")
    async with Scene(harness) as scene:
        wanted, _ = await made(scene)
        for name in edits:
            wanted = edited(harness, wanted, **edits[name])
            change = await scene.converge(wanted)
            assert change.differences, f"the edit {name} changed nothing"
            await at_rest(scene, wanted, change)


async def test_all_sizes_change_at_once_while_stopped(harness: Harness) -> None:
    async with Scene(harness) as scene:
        wanted, _ = await made(scene, state="stopped")
        wanted = edited(harness, wanted, **harness.size(1))
        await at_rest(scene, wanted, await scene.converge(wanted))


async def test_machine_stops_and_starts(harness: Harness) -> None:
    async with Scene(harness) as scene:
        wanted, _ = await made(scene)
        for state in ("stopped", "running"):
            wanted = edited(harness, wanted, state=state)
            change = await scene.converge(wanted)
            assert [step.verb for step in change.steps] == [{"stopped": "stop", "running": "start"}[state]]
            await at_rest(scene, wanted, change)


async def test_live_change_never_stops_the_machine(harness: Harness) -> None:
    small, large = harness.size(0), harness.size(1)
    async with Scene(harness) as scene:
        wanted, found = await made(scene)
        live = {
            key: value
            for key, value in large.items()
            if value != small.get(key)
            and scene.shape.manner("Machine", f"/{key}", small.get(key), value, found.fields) is Manner.LIVE
        }
        if not live:
            raise SkipTest("nothing of a size changes live")
        wanted = edited(harness, wanted, **live)
        change = await scene.converge(wanted)
        assert [step.verb for step in change.steps] == ["update"]
        await at_rest(scene, wanted, change)


async def test_data_disk_is_made_with_its_machine(harness: Harness) -> None:
    disk = harness.data_disk()
    async with Scene(harness) as scene:
        wanted = scene.fresh(disks={"data": disk})
        change = await scene.run(scene.change(wanted, None))
        await at_rest(scene, wanted, change)


async def test_data_disk_is_added_and_grows(harness: Harness) -> None:
    disk = harness.data_disk()
    async with Scene(harness) as scene:
        wanted, _ = await made(scene)
        for size in (disk["size"], 2 * disk["size"]):
            wanted = edited(harness, wanted, disks={"data": {**disk, "size": size}})
            await at_rest(scene, wanted, await scene.converge(wanted))


async def test_data_disk_is_destroyed_by_a_step_of_its_own(harness: Harness) -> None:
    disk = harness.data_disk()
    async with Scene(harness) as scene:
        more = {**disk, "path": f"{disk['path']}-more"}
        wanted, _ = await made(scene, disks={"data": disk, "more": more})
        for disks, gone in (({"data": disk}, "more"), (None, "data")):
            wanted = edited(harness, wanted, disks=disks)
            change = await scene.converge(wanted)
            steps = [step for step in change.steps if step.verb == "destroy-disk"]
            assert [step.args["name"] for step in steps] == [gone]
            assert steps[0].risk is Risk.DATA_LOSS
            await at_rest(scene, wanted, change)


async def test_data_disk_moves_to_another_path(harness: Harness) -> None:
    disk = harness.data_disk()
    async with Scene(harness) as scene:
        wanted, found = await made(scene, disks={"data": disk})
        moved = {**disk, "path": f"{disk['path']}-moved"}
        manner = scene.shape.manner("Machine", "/disks/data/path", disk["path"], moved["path"], found.fields)
        if manner is Manner.IMPOSSIBLE:
            raise SkipTest("the path of a data disk is given once")
        wanted = edited(harness, wanted, disks={"data": moved})
        await at_rest(scene, wanted, await scene.converge(wanted))


async def test_replaced_machine_gives_its_place_and_its_disks_to_the_new_one(harness: Harness) -> None:
    disk = harness.data_disk()
    async with Scene(harness) as scene:
        await scene.converge(harness.image(1))
        wanted, old = await made(scene, disks={"data": disk})
        look = plain(harness.image(1).body)
        image = {"name": "other"} | {key: look[key] for key in ("digest", "type", "os")}
        wanted = edited(harness, wanted, image=image)
        change = await scene.run(scene.change(wanted, old))
        assert change.action is Action.REPLACE
        await at_rest(scene, wanted, change)
        assert old.marks is not None
        assert (await scene.there(old.marks.uid)).lifecycle == "quarantined"


async def test_destroyed_machine_lies_in_quarantine_and_comes_back(harness: Harness) -> None:
    async with Scene(harness) as scene:
        wanted, found = await made(scene)
        destroy = await scene.run(scene.removal(found, Action.DESTROY))
        resting = await scene.there(destroy.uid)
        assert resting.lifecycle == "quarantined"
        assert resting.marks is not None
        assert resting.marks.quarantined_until == scene.now + QUARANTINE
        change = await scene.run(scene.change(wanted, resting))
        assert change.action is Action.RESTORE
        back = await at_rest(scene, wanted, change)
        assert back.marks is not None
        assert back.marks.quarantined_until is None
        assert back.native_id == found.native_id, "what comes back is the thing itself"


async def test_purge_is_never_early(harness: Harness) -> None:
    async with Scene(harness) as scene:
        _, found = await made(scene)
        await scene.run(scene.removal(found, Action.DESTROY))
        assert found.marks is not None
        resting = await scene.there(found.marks.uid)
        (purge,) = scene.removal(resting, Action.PURGE).steps
        await refused(scene, purge, now=scene.now + QUARANTINE - 1)
        outcome = await scene.apply(purge, now=scene.now + QUARANTINE + 1)
        assert outcome.status == "applied"
        assert await scene.find(found.marks.uid) is None


async def test_renamed_machine_keeps_its_identity(harness: Harness) -> None:
    async with Scene(harness) as scene:
        _, found = await made(scene)
        renamed = scene.fresh("renamed")
        change = await scene.run(scene.change(renamed, found, action=Action.RENAME))
        now = await at_rest(scene, renamed, change)
        assert found.marks is not None
        assert now.marks is not None
        assert (now.marks.uid, now.marks.ref) == (found.marks.uid, renamed.ref)
        assert now.native_id == found.native_id


async def test_protection_is_remembered_on_the_object(harness: Harness) -> None:
    async with Scene(harness) as scene:
        wanted, found = await made(scene)
        assert found.marks is not None
        assert not found.marks.protected
        await scene.run(scene.change(wanted, found, protected=True))
        protected = await scene.there(found.marks.uid)
        assert protected.marks is not None
        assert protected.marks.protected
        await scene.run(scene.change(wanted, protected, protected=False))


async def test_forgotten_machine_is_left_as_it_is_and_can_be_adopted(harness: Harness) -> None:
    async with Scene(harness) as scene:
        wanted, found = await made(scene)
        change = await scene.run(scene.removal(found, Action.FORGET))
        left = next(thing for thing in (await scene.look()).objects if thing.native_id == found.native_id)
        assert left.marks is None
        assert left.fields == found.fields
        adopt = await scene.run(scene.change(wanted, left, action=Action.ADOPT))
        assert adopt.uid == change.uid
        adopted = await at_rest(scene, wanted, adopt)
        assert adopted.native_id == found.native_id


async def test_network_comes_changes_and_goes(harness: Harness) -> None:
    wanted = harness.network(1)
    async with Scene(harness) as scene:
        if "Network" not in scene.shape.capability.kinds:
            raise SkipTest("the driver carries networks, it makes none")
        change = await scene.converge(wanted)
        found = await at_rest(scene, wanted, change)
        await scene.run(scene.removal(found, Action.DESTROY))
        assert await scene.find(change.uid) is None


async def test_image_in_use_is_not_destroyed(harness: Harness) -> None:
    async with Scene(harness) as scene:
        await made(scene)
        image = await scene.there(scene.uid(harness.image(0).ref))
        (destroy,) = scene.removal(image, Action.DESTROY).steps
        await refused(scene, destroy)


async def test_unused_image_comes_and_goes(harness: Harness) -> None:
    wanted = harness.image(1)
    async with Scene(harness) as scene:
        change = await scene.converge(wanted)
        found = await scene.there(scene.uid(wanted.ref))
        assert found.fields == change.after
        if any(machine.fields.get("image") == found.fields["digest"] for machine in (await scene.look()).objects):
            raise SkipTest("a machine of an earlier test still rests on it")
        await scene.run(scene.removal(found, Action.DESTROY))
        assert await scene.find(change.uid) is None


async def test_machine_of_an_image_that_was_never_imported_is_refused(harness: Harness) -> None:
    async with Scene(harness) as scene:
        wanted = scene.fresh(image={"name": "nowhere", "digest": f"sha256:{'0' * 64}", "type": "rootfs", "os": "linux"})
        await refused(scene, scene.change(wanted, None).steps[0])
