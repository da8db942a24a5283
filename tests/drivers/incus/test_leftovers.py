"""What a making that failed half-way left behind: a machine gets its name all the same, and nothing of it is lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from drivers.incus import leftovers
from drivers.incus.api import ApiError
from reconciler.core.desired import Resource
from reconciler.core.observed import Object
from reconciler.testing.conformance.expect import at_rest, made
from reconciler.testing.scene import Scene
from tests.drivers.incus.daemons import Daemons, missing, running
from tests.drivers.incus.harness import IncusHarness

pytestmark = pytest.mark.anyio
FOLDER = 'Failed creating instance from image: Volume path "/lxd/storage-pools/local/containers/web" already exists'


def test_what_lies_on_the_disk_alone_is_told_with_where_it_lies() -> None:
    assert leftovers.explained(FOLDER, "inc/c") == (
        f"{FOLDER}: inc/c knows of nothing there, and no call takes it away. "
        "Look at /lxd/storage-pools/local/containers/web and remove it"
    )
    assert leftovers.explained("Invalid devices", "inc/c") == "Invalid devices"


@pytest.mark.parametrize(
    ("said", "known"),
    [
        ('Error inserting volume "x" … into database "UNIQUE constraint failed: storage_volumes.node_id, …"', True),
        ("UNIQUE constraint failed: index 'storage_volumes_unique_storage_pool_id_node_id_…'", True),
        ("UNIQUE constraint failed: instances.project_id, instances.name", False),
        (FOLDER, False),
    ],
)
def test_the_record_of_a_volume_is_known_by_the_servers_words(said: str, known: bool) -> None:
    assert leftovers.is_record(ApiError(said)) is known


def _asides(daemons: Daemons, name: str) -> list[dict[str, Any]]:
    every = daemons.query("/1.0/instances?recursion=1")
    return [each for each in every if each["name"].startswith(f"{name}-left-")]


async def _forgotten(scene: Scene, daemons: Daemons) -> tuple[Resource, Object]:
    """A machine of which the server has lost the record, and nothing else."""
    wanted, found = await made(scene)
    await scene.harness.hand_shell(found, "echo mine > /root/kept")
    return wanted, found


@pytest.fixture
def forgetful(host: IncusHarness) -> IncusHarness:
    """LXD alone was seen to forget an instance and keep its volume."""
    if host.daemons.kind != "lxd":
        pytest.skip("it forgets nothing")
    return host


@pytest.mark.real
async def test_what_an_earlier_instance_left_is_put_aside_whole(forgetful: IncusHarness) -> None:
    daemons = forgetful.daemons
    async with Scene(forgetful) as scene:
        wanted, found = await _forgotten(scene, daemons)
        name = found.native_name
        await forgetful.hand_stop(found)
        daemons.sql(f"DELETE FROM instances WHERE name = '{name}'")
        await scene.reopen()
        await scene.converge(wanted)
        await at_rest(scene, wanted, scene.change(wanted, await scene.there(scene.uid(wanted.ref))))
        assert "kept" not in daemons.shell(name, "ls /root"), "the machine is made anew"
        (aside,) = _asides(daemons, name)
        assert f"a failed try to make {name} left" in aside["description"]
        (told,) = [each for each in (await scene.look()).objects if each.native_name == aside["name"]]
        assert told.marks is None, "it is not managed"
        daemons.client("start", aside["name"])
        assert daemons.shell(aside["name"], "cat /root/kept") == "mine\n"
        daemons.client("delete", "--force", aside["name"])


@pytest.mark.real
async def test_what_still_runs_is_left_alone_and_told(forgetful: IncusHarness) -> None:
    daemons = forgetful.daemons
    async with Scene(forgetful) as scene:
        wanted, found = await _forgotten(scene, daemons)
        name = found.native_name
        ((id_, init),) = [
            (each["config"]["volatile.uuid"], each["state"]["pid"])
            for each in daemons.query("/1.0/instances?recursion=2")
            if each["name"] == name
        ]
        daemons.sql(f"UPDATE instances SET name = 'kept-{name}' WHERE name = '{name}'")
        await scene.reopen()
        daemons.sql(f"UPDATE instances_config SET value = 'x{id_}' WHERE value = '{id_}'")
        outcome = await scene.apply(scene.change(wanted, None).steps[0])
        assert outcome.status == "failed"
        assert "running" in outcome.reason
        assert f"what an earlier try left of {name}" in outcome.reason
        assert _asides(daemons, name) == []
        assert daemons.inside("cat", f"/proc/{init}/cmdline"), "it runs on"
        daemons.sql(f"UPDATE instances SET name = '{name}' WHERE name = 'kept-{name}'")
        daemons.sql(f"UPDATE instances_config SET value = '{id_}' WHERE value = 'x{id_}'")
        await scene.reopen()
        await at_rest(scene, wanted, scene.change(wanted, await scene.there(scene.uid(wanted.ref))))


@pytest.fixture(scope="module")
def members() -> Iterator[IncusHarness]:
    """A cluster of LXD, where what is being made may be taken back."""
    if why := missing("lxd"):
        pytest.skip(f"NOT RUN on lxd: {why}")
    with running("lxd", "ml", members=2, pool="dir") as daemons:
        harness = IncusHarness(daemons, members=2)
        yield harness
        harness.close()


@pytest.mark.real
async def test_on_a_cluster_of_lxd_nothing_counts_before_it_is_known_to_be_made(members: IncusHarness) -> None:
    async with Scene(members) as scene:
        wanted = scene.fresh()
        change = scene.change(wanted, None, protected=True)
        with members.proxy.refusing(r"^PATCH /1.0/instances/"):
            assert (await scene.apply(change.steps[0])).status == "failed"
            name = wanted.ref.rpartition("/")[2]
            (listed,) = [each for each in members.daemons.query("/1.0/instances?recursion=1") if each["name"] == name]
            assert listed["config"]["volatile.uuid"] == change.uid
            assert [each for each in (await scene.look()).objects if each.native_name == name] == []
        await scene.run(change)
        found = await scene.there(change.uid)
        assert dict(found.fields) == change.after
        assert found.marks is not None
        assert found.marks.protected


@pytest.mark.real
async def test_a_step_waits_for_what_is_still_being_made_there(members: IncusHarness) -> None:
    """Whoever makes an instance of that name takes it away again when it fails, ten seconds from now."""
    daemons = members.daemons
    async with Scene(members) as scene:
        wanted = scene.fresh()
        name = wanted.ref.rpartition("/")[2]
        create = scene.change(wanted, None).steps[0]
        root = {"type": "disk", "path": "/", "pool": "local"}
        body = {"name": name, "architecture": "x86_64", "profiles": [], "devices": {"root": root},
                "source": {"type": "migration", "mode": "push"}}  # fmt: skip
        path = f"/1.0/instances?target={daemons.member(2)}"
        daemons.client("query", "-X", "POST", path, "-d", msgspec.json.encode(body).decode())
        daemons.query(f"/1.0/instances/{name}", "DELETE")
        assert (await scene.apply(create)).status == "applied"
        running = daemons.query("/1.0/operations?recursion=1").get("running") or ()
        assert [each for each in running if f"/1.0/instances/{name}" in each["resources"].get("instances", ())] == []
        await scene.there(create.uid)


@pytest.mark.real
async def test_what_came_late_of_an_earlier_one_is_in_nobodys_way(members: IncusHarness) -> None:
    """A making of one that is destroyed by now: nobody else would have its name, and no report tells of it."""
    async with Scene(members) as scene:
        wanted = scene.fresh()
        with members.proxy.refusing(r"^PATCH /1.0/instances/"):
            assert (await scene.apply(scene.change(wanted, None).steps[0])).status == "failed"
        await scene.reopen()
        again = await scene.run(scene.change(wanted, None, incarnation=2))
        (listed,) = members.daemons.query("/1.0/instances?recursion=1")
        assert listed["config"]["volatile.uuid"] == again.uid
