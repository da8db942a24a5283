"""The rules that a simulated node keeps, as a real one does."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from drivers.sim.world import World
from reconciler.core.plan import Expect
from reconciler.driver import Outcome
from tests.drivers.sim.samples import DATACENTER, GI, context, machine, marks, opened, step

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def node(world: World) -> None:
    world.add_node("edge1")
    world.claim("edge1", DATACENTER)


async def test_disk_never_shrinks_below_what_is_in_use(world: World, file: Path) -> None:
    machine(world)
    world.set_gauges("edge1", "u1", used=4 * GI)
    fields = {"image": "sha256:a", "disk": 3 * GI}
    outcome = await opened(file).apply(step("configure", fields=fields), context())
    assert outcome.status == "failed"
    assert "in use" in outcome.reason


async def test_running_machine_takes_no_change_that_needs_a_stop(world: World, file: Path) -> None:
    machine(world, state="running")
    outcome = await opened(file).apply(step("update", set={"/hostname": "other"}), context())
    assert outcome == Outcome("failed", "/hostname cannot be set on a Machine like this: it takes reboot")


async def test_image_is_given_at_creation(world: World, file: Path) -> None:
    machine(world)
    outcome = await opened(file).apply(step("configure", fields={"image": "sha256:b"}), context())
    assert outcome.status == "failed"


async def test_nic_needs_its_network(world: World, file: Path) -> None:
    machine(world, nics={"app": {"ip": "10.0.0.5/24"}})
    outcome = await opened(file).apply(step("start"), context())
    assert outcome == Outcome("failed", "there is no network app to attach to")


async def test_address_in_use_refuses_to_start(world: World, file: Path) -> None:
    world.add_unmanaged("edge1", "Network", "acme/app", {})
    nics = {"app": {"ip": "10.0.0.5/24"}}
    machine(world, nics=nics)
    other = world.add_unmanaged("edge1", "Machine", "stranger", {"nics": nics, "state": "running"})
    driver = opened(file)
    outcome = await driver.apply(step("start"), context())
    assert outcome == Outcome("failed", "10.0.0.5/24 is already used on app by stranger")
    world.stop("edge1", other.object.native_name)
    assert (await driver.apply(step("start"), context())).status == "applied"


async def test_address_in_use_on_another_member_refuses_to_start(world: World, file: Path) -> None:
    world.add_node("inc", members=["a", "b"])
    nics = {"app": {"ip": "10.0.0.5/24"}}
    for member in ("inc/a", "inc/b"):
        world.claim(member, DATACENTER)
        world.add_unmanaged(member, "Network", "app", {})
    machine(world, target="inc/a", nics=nics)
    world.add_unmanaged("inc/b", "Machine", "stranger", {"nics": nics, "state": "running"})
    outcome = await opened(file, "inc").apply(step("start", target="inc/a"), context())
    assert outcome.status == "failed"


async def test_image_is_kept_while_a_clone_rests_in_quarantine(world: World, file: Path) -> None:
    image = world.add_unmanaged("edge1", "Image", "debian", {"digest": "sha256:a"})
    world.set_marks("edge1", image.object.native_name, marks("i1", "Image/debian"))
    machine(world)
    driver = opened(file)
    destroy = step("destroy", "i1", "Image/debian", after=Expect("absent"))
    quarantine = step("quarantine", quarantine=60.0, after=Expect("quarantined"))
    purge = step("purge", before=Expect("quarantined"), after=Expect("absent"))
    assert (await driver.apply(quarantine, context())).status == "applied"
    assert (await driver.apply(destroy, context())).status == "failed"
    assert (await driver.apply(purge, context(now=1061.0))).status == "applied"
    assert (await driver.apply(destroy, context())).status == "applied"


async def test_network_with_a_machine_attached_is_kept(world: World, file: Path) -> None:
    world.add_unmanaged("edge1", "Network", "app", {})
    world.set_marks("edge1", "app", marks("n1", "Network/app"))
    machine(world, nics={"app": {"ip": "10.0.0.5/24"}})
    destroy = step("destroy", "n1", "Network/app", after=Expect("absent"))
    outcome = await opened(file).apply(destroy, context())
    assert outcome == Outcome("failed", "app is in use by u1")


async def test_protected_machine_is_not_quarantined(world: World, file: Path) -> None:
    machine(world)
    world.set_marks("edge1", "u1", marks("u1", "Machine/acme/web", protected=True))
    outcome = await opened(file).apply(step("quarantine", quarantine=60.0, after=Expect("quarantined")), context())
    assert outcome.status == "failed"
    assert "protected" in outcome.reason


async def test_secret_that_was_not_handed_over_fails_without_its_value(world: World, file: Path) -> None:
    machine(world)
    asked = step("configure", fields={"image": "sha256:a"}, metadata={"password": {"secret": "pg", "keyed": "x"}})
    driver = opened(file)
    assert await driver.apply(asked, context()) == Outcome("failed", "no value was handed over for the secret pg")
    assert (await driver.apply(asked, context(secrets={"pg": "hush"}))).status == "applied"
    for written in (file, f"{file}-wal"):
        assert b"hush" not in await anyio.Path(written).read_bytes()


async def test_refused_act_leaves_nothing_half_done(world: World, file: Path) -> None:
    machine(world, "old", disks={"data": {"size": 10}})
    machine(world)
    before = world.target("edge1")
    outcome = await opened(file).apply(step("disk", name="data", disk={"size": 5}, **{"from": "old"}), context())
    assert outcome.status == "failed"
    assert world.target("edge1") == before


async def test_two_bearers_of_one_uid_are_left_alone(world: World, file: Path) -> None:
    machine(world)
    world.duplicate("edge1", "u1", "twin")
    outcome = await opened(file).apply(step("start"), context())
    assert outcome.status == "deferred"
    assert "2 objects bear the uid" in outcome.reason


async def test_generation_guards_creates_too(world: World, file: Path) -> None:
    machine(world)
    driver = opened(file)
    assert (await driver.apply(step("start"), context(generation=5))).status == "applied"
    create = step("create", "u2", before=Expect("absent"), fields={"image": "sha256:a"})
    outcome = await driver.apply(create, context(generation=4))
    assert outcome == Outcome("deferred", "generation 5 has written here, this is 4")


async def test_missing_fleet_is_one_clear_failure(tmp_path: Path) -> None:
    outcome = await opened(tmp_path / "nowhere.db").apply(step("start"), context())
    assert outcome.status == "failed"
    assert "there is no simulated fleet" in outcome.reason
