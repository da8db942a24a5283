"""Volumes on real hosts, beyond what the conformance kit asks: copies, strangers' mounts, clusters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from drivers.incus import marks as marking
from drivers.incus.driver import VERBS
from drivers.incus.shape import CAPABILITY
from reconciler.core.desired import Demand, Drain, Limits, Resource
from reconciler.core.observed import Object
from reconciler.core.refs import Ref, Target
from reconciler.core.values import plain
from reconciler.testing.conformance.expect import at_rest, made
from reconciler.testing.conformance.moves import Twosome
from reconciler.testing.harness import resource
from reconciler.testing.rehearsal import POLICY, Rehearsal
from reconciler.testing.scene import Scene, fresh_name
from tests.drivers.incus.daemons import missing, running
from tests.drivers.incus.harness import MI, IncusHarness, ProjectHarness

pytestmark = [pytest.mark.anyio, pytest.mark.real]


def volume(size: int = 24 * MI, name: str = "shop") -> Resource:
    return resource(Ref(f"Volume/conformance/{name}"), {"size": size}, demand=Demand(disk=size))


def mounting(machine: Resource, **mounts: Any) -> Resource:
    body = {**plain(machine.body), "volumes": {name: {"readOnly": False, **said} for name, said in mounts.items()}}
    kept = {name: getattr(machine, name) for name in ("demand", "nics", "constraints", "behaviour")}
    refs = (*machine.references, *(Ref(f"Volume/conformance/{name}") for name in mounts))
    return resource(machine.ref, body, references=refs, **kept)


async def seen(life: Rehearsal, ref: str, harness: IncusHarness | None = None) -> Object:
    report = next(each for each in await life.observe() if harness is None or each.target == harness.target)
    (found,) = [each for each in report.objects if each.marks is not None and each.marks.ref == ref]
    return found


async def test_copy_of_a_volume_bears_no_marks_that_count(host: IncusHarness) -> None:
    async with Rehearsal(host) as life:
        life.want(host.image(), host.network(), volume())
        await life.converge()
        native = (await seen(life, "Volume/conformance/shop")).native_name
        pool = native.partition("/")[0]
        host.daemons.client("storage", "volume", "copy", native, f"{pool}/copied")
        try:
            assert not (await life.plan()).changes
            (report,) = await life.observe()
            copied = next(each for each in report.objects if each.native_name == f"{pool}/copied")
            assert copied.marks is None
            assert (await seen(life, "Volume/conformance/shop")).native_name == native
        finally:
            host.daemons.client("storage", "volume", "delete", pool, "copied")


async def test_volume_that_a_strange_machine_mounts_is_not_set_aside(host: IncusHarness) -> None:
    async with Rehearsal(host) as life:
        ground = (host.image(), host.network())
        machine = host.machine(fresh_name("vs"))
        life.want(*ground, volume(), machine)
        await life.converge()
        pool, _, native = (await seen(life, "Volume/conformance/shop")).native_name.partition("/")
        name = (await seen(life, machine.ref)).native_name
        life.want(*ground, machine)
        plan = await life.plan()
        host.daemons.client("config", "device", "add", name, "theirs", "disk", f"pool={pool}", f"source={native}",
                            "path=/theirs")  # fmt: skip
        ended = {change.ref: outcome for change, outcome in await life.carry_out(plan)}
        assert ended["Volume/conformance/shop"].status == "failed"
        assert ended["Volume/conformance/shop"].reason == f"it is mounted in {name}"
        host.daemons.client("config", "device", "remove", name, "theirs")
        await life.converge()


def test_every_kind_that_is_made_has_steps_of_its_own() -> None:
    assert {*VERBS, "FirewallRule"} == CAPABILITY.kinds, "rules are fields of networks"


@pytest.fixture(scope="module", params=["incus", "lxd"])
def cluster(request: pytest.FixtureRequest) -> Iterator[IncusHarness]:
    if why := missing(request.param):
        pytest.skip(f"NOT RUN on {request.param}: {why}")
    with running(request.param, f"v{request.param[0]}", members=2) as daemons:
        harness = IncusHarness(daemons, members=2)
        yield harness
        harness.close()


@pytest.mark.timeout(240)
async def test_volume_of_a_cluster_lies_on_its_machines_member(cluster: IncusHarness) -> None:
    async with Rehearsal(cluster) as life:
        ground = (cluster.image(), cluster.network())
        machine = cluster.machine(fresh_name("vc"))
        on_it = mounting(machine, shop={"path": "/srv"})
        on_it = msgspec.structs.replace(on_it, constraints=machine.constraints, digest="on it")
        life.want(*ground, volume(), on_it)
        await life.converge()
        (listed,) = cluster.daemons.query("/1.0/storage-pools/local/volumes/custom?recursion=1")
        assert listed["location"] == cluster.target.partition("/")[2]
        name = (await seen(life, machine.ref, cluster)).native_name
        cluster.daemons.client("exec", name, "--", "sh", "-c", "echo kept > /srv/said")
        life.want(*ground, machine)
        await life.converge()
        assert (await seen(life, "Volume/conformance/shop", cluster)).lifecycle == "quarantined"
        life.want(*ground, volume(48 * MI), on_it)
        await life.converge()
        assert cluster.daemons.shell(name, "cat /srv/said") == "kept\n"


def anywhere(harness: IncusHarness, machine: Resource) -> Resource:
    constraints = msgspec.structs.replace(machine.constraints, node="inc")
    return msgspec.structs.replace(machine, constraints=constraints, digest=f"{machine.digest} anywhere")


async def with_a_disk(life: Rehearsal, harness: IncusHarness) -> tuple[Resource, Object, str]:
    """A running machine with something on its data disk, and the volume's name."""
    disk = {"data": dict(harness.data_disk())}
    machine = anywhere(harness, harness.machine(fresh_name("vd"), disks=disk))
    life.drains = dict.fromkeys([harness.beside().target], Drain("move", "elsewhere first"))
    life.want(harness.image(), harness.network(), machine)
    await life.converge()
    life.drains = {}
    found = await seen(life, machine.ref, harness)
    await harness.hand_shell(found, "echo kept >/data/said; sync")
    (name,) = [each["name"] for each in _listed(harness) if each["config"].get(marking.DISK)]
    return machine, found, name


def _listed(harness: IncusHarness) -> list[dict[str, Any]]:
    every: list[dict[str, Any]] = harness.daemons.query("/1.0/storage-pools/local/volumes/custom?recursion=1")
    return every


@pytest.mark.timeout(240)
async def test_what_a_move_left_of_a_disk_is_seen_and_taken_away(cluster: IncusHarness) -> None:
    """As a controller leaves it that dies after the copy and before the move, or after the move."""
    here, there = (target.partition("/")[2] for target in (cluster.target, cluster.beside().target))
    async with Rehearsal(cluster) as life:
        machine, found, volume = await with_a_disk(life, cluster)
        both = f"local/{volume}"
        cluster.daemons.client("storage", "volume", "copy", both, both, "--target", here, "--destination-target", there)
        assert len(_listed(cluster)) == 2
        assert (await seen(life, machine.ref, cluster)).fields["disks"]["data"]["copies"] == [there]
        plan = await life.converge()
        assert [(step.verb, dict(step.args["set"])) for step in plan.steps] == [
            ("update", {"/disks/data/copies": None})
        ]
        assert [(each["name"], each["location"]) for each in _listed(cluster)] == [(volume, here)]
        assert await cluster.hand_shell(found, "cat /data/said") == "kept\n"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("whole", [True, False], ids=["first-whole", "first-lost"])
async def test_copy_that_a_move_left_goes_while_the_first_is_whole_and_else_gets_its_name(
    cluster: IncusHarness, whole: bool
) -> None:
    """As a daemon leaves it that dies before, or while, it takes the first one away."""
    run = cluster.daemons.client
    async with Scene(cluster) as here, Scene(cluster.beside()) as there:
        here.generation = there.generation = max(here.generation, there.generation)
        there.addresses = here.addresses
        wanted, found = await made(here)
        await cluster.hand_shell(found, "echo kept >/root/said; sync")
        (stop, move, *_) = (change := there.move(wanted, found, cluster.target)).steps
        there.made[change.uid] = change.ref
        assert (await there.apply(stop)).status == "applied"
        half = f"{cluster.daemons.kind}-move-of-{found.native_id}"
        run("copy", found.native_name, half, "--target", there.harness.target.partition("/")[2])
        run("config", "set", half, f"volatile.uuid={found.native_id}")
        if not whole:
            cluster.daemons.sql(f"DELETE FROM storage_volumes WHERE name = '{found.native_name}' AND type = 0")
        assert await here.there(change.uid) is not None
        outcome = await there.apply(move)
        assert outcome.status == "applied", outcome
        assert await here.find(change.uid) is None
        names = [each["name"] for each in cluster.daemons.query("/1.0/instances?recursion=1")]
        assert names.count(found.native_name) == 1
        assert half not in names
        last = await there.run(there.change(wanted, await there.there(change.uid)))
        arrived = await at_rest(there, wanted, last)
        assert await cluster.hand_shell(arrived, "cat /root/said") == "kept\n"


@pytest.mark.timeout(240)
async def test_neither_half_of_a_move_goes_while_the_server_tells_of_no_root_at_all(cluster: IncusHarness) -> None:
    """Nothing then says which of the two is the machine: it may be the telling that is wrong."""
    sql = "UPDATE storage_volumes SET name = '{}' WHERE name = '{}' AND type = 0"
    async with Scene(cluster) as here, Scene(cluster.beside()) as there:
        here.generation = there.generation = max(here.generation, there.generation)
        there.addresses = here.addresses
        wanted, found = await made(here)
        (stop, move, *_) = (change := there.move(wanted, found, cluster.target)).steps
        there.made[change.uid] = change.ref
        assert (await there.apply(stop)).status == "applied"
        half = f"{cluster.daemons.kind}-move-of-{found.native_id}"
        cluster.daemons.client("copy", found.native_name, half, "--target", there.harness.target.partition("/")[2])
        cluster.daemons.client("config", "set", half, f"volatile.uuid={found.native_id}")
        for name in (found.native_name, half):
            cluster.daemons.sql(sql.format(f"{name}-hidden", name))
        outcome = await there.apply(move)
        assert outcome.status == "failed", outcome
        assert "neither is taken away" in outcome.reason
        names = [each["name"] for each in cluster.daemons.query("/1.0/instances?recursion=1")]
        for name in (found.native_name, half):
            assert names.count(name) == 1
            cluster.daemons.sql(sql.format(name, f"{name}-hidden"))
        cluster.daemons.client("delete", half)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("then", ["resumed", "lifted", "started-by-hand", "refused"])
async def test_machine_whose_move_was_cut_short_comes_up_with_its_interfaces(cluster: IncusHarness, then: str) -> None:
    """They are put aside while it moves, so that where it was nothing holds its address for it."""
    async with Scene(cluster) as here, Scene(cluster.beside()) as there:
        here.generation = there.generation = max(here.generation, there.generation)
        there.addresses = here.addresses
        wanted, found = await made(here)
        kept = cluster.daemons.query(f"/1.0/instances/{found.native_name}")["devices"]
        (stop, move, *rest) = (change := there.move(wanted, found, cluster.target)).steps
        there.made[change.uid] = change.ref
        assert (await there.apply(stop)).status == "applied"
        carried = r"^POST /1\.0/instances/[^/]+\?"
        if then == "refused":
            with cluster.proxy.refusing(carried):
                assert (await there.apply(move)).status == "failed"
            assert cluster.daemons.query(f"/1.0/instances/{found.native_name}")["devices"] == kept
        else:
            cluster.proxy.before(carried, _broken_off)
            assert (await there.apply(move)).status == "unconfirmed"
        await there.reopen()
        left = await here.there(change.uid)
        assert dict(left.fields) == {**found.fields, "state": "stopped"}, "whoever plans meanwhile has nothing to mend"
        scene = there if then == "resumed" else here
        if then == "started-by-hand":
            cluster.daemons.client("start", found.native_name)
        last = scene.change(wanted, await here.there(change.uid))
        for step in (move, *rest) if then == "resumed" else last.steps:
            await scene.proved(step)
        up = await at_rest(scene, wanted, scene.change(wanted, await scene.there(change.uid)))
        said = cluster.daemons.query(f"/1.0/instances/{found.native_name}")
        assert said["devices"] == kept
        assert marking.STASH not in said["config"]
        address = up.fields["nics"]["net0"]["ip"].partition("/")[0]
        borne = f"for i in $(seq 100); do ip -4 -o addr | grep -q ' {address}/' && echo yes && exit; sleep 0.1; done"
        assert await cluster.hand_shell(up, borne) == "yes\n"


def _broken_off() -> None:
    """In the midst of a call: it goes no further, and its connection ends."""
    raise ConnectionAbortedError


class _Tight(ProjectHarness):
    """A project with room for one machine and its volume, and for half of the volume again."""

    def beneath(self) -> tuple[Resource, ...]:
        (tenant,) = super().beneath()
        body = plain(tenant.body)
        return (resource(tenant.ref, {**body, "limits": {**body["limits"], "disk": 156 * MI}}),)


@pytest.mark.timeout(240)
async def test_volume_that_has_no_room_twice_under_its_tenants_limit_stays_and_its_machine_runs_on(
    cluster: IncusHarness,
) -> None:
    if cluster.daemons.kind == "lxd":
        pytest.skip("a cluster of LXD 5.0 cannot give tenants projects")
    tight = _Tight(cluster.daemons, members=2)
    known = msgspec.structs.replace(POLICY, limits={"conformance": Limits(disk=156 * MI)})
    try:
        async with Rehearsal(tight, known) as life:
            both = Twosome(tight, life)
            both.only(tight.target)
            await life.converge()
            both.only(tight.beside().target)
            plan = await life.plan()
            assert both.machine.ref not in [change.ref for change in plan.changes]
            (hold,) = [hold for hold in plan.holds if hold.ref == both.machine.ref]
            assert hold.sentence.endswith("and what it carries along is there twice while it moves")
            life.policy = POLICY  # as if nobody had counted: the server does
            (outcome,) = [said for change, said in await life.carry_out(await life.plan()) if change.source is not None]
            assert outcome.status == "failed"
            assert "limits.disk" in outcome.reason
            both.only(tight.target)
            await life.converge()
            await both.are_on(tight.target)
            life.policy = known
    finally:
        tight.close()


@pytest.mark.timeout(240)
async def test_machine_with_a_disk_does_not_go_where_a_strange_volume_bears_its_name(cluster: IncusHarness) -> None:
    there = cluster.beside().target.partition("/")[2]
    async with Rehearsal(cluster) as life:
        machine, found, volume = await with_a_disk(life, cluster)
        body = {"name": volume, "type": "custom", "config": {"user.whose": "theirs"}}
        path = f"/1.0/storage-pools/local/volumes/custom?target={there}"
        cluster.daemons.query(path, "POST", body)
        life.drains = {cluster.target: Drain("move", "new fans")}
        ended = {change.ref: outcome for change, outcome in await life.carry_out(await life.plan())}
        assert ended[machine.ref].status == "failed"
        assert ended[machine.ref].reason == f"{there} has another volume {volume}"
        theirs = [each for each in _listed(cluster) if each["config"].get("user.whose")]
        assert [each["location"] for each in theirs] == [there]
        cluster.daemons.query(path.replace("custom?", f"custom/{volume}?"), "DELETE")
        await life.converge()
        moved = await seen(life, machine.ref, cluster.beside())
        assert (moved.native_id, moved.fields) == (found.native_id, found.fields)
        assert await cluster.hand_shell(moved, "cat /data/said") == "kept\n"


@pytest.mark.timeout(240)
async def test_what_a_move_left_of_a_volume_is_seen_and_taken_away_and_who_mounts_it_keeps_it(
    cluster: IncusHarness,
) -> None:
    """A copy as a controller leaves it that dies in the middle; then somebody's own machine that mounts it too."""
    here, there = (target.partition("/")[2] for target in (cluster.target, cluster.beside().target))
    mount = {"path": "/srv", "readOnly": False}
    async with Rehearsal(cluster) as life:
        machine = anywhere(cluster, cluster.machine(fresh_name("vm"), volumes={"alone": mount}))
        ground = (cluster.image(), cluster.network(), machine)
        elsewhere = [Target(f"inc/{name}") for name in cluster.node.members if name != here]
        life.drains = dict.fromkeys(elsewhere, Drain("move", "elsewhere first"))
        life.want(*ground, volume(name="alone"))
        await life.converge()
        life.drains = {}
        found = await seen(life, machine.ref, cluster)
        await cluster.hand_shell(found, "echo kept >/srv/said; sync")
        (name,) = [each["name"] for each in _listed(cluster) if each["name"].endswith("-alone")]
        both = f"local/{name}"
        cluster.daemons.client("storage", "volume", "copy", both, both, "--target", here, "--destination-target", there)
        assert (await seen(life, "Volume/conformance/alone", cluster)).fields["copies"] == [there]
        life.want(*ground, volume(48 * MI, "alone"))
        plan = await life.converge()
        assert [(step.verb, dict(step.args["set"])) for step in plan.steps] == [
            ("update", {"/copies": None, "/size": 48 * MI})
        ]
        assert [each["location"] for each in _listed(cluster) if each["name"] == name] == [here]
        assert await cluster.hand_shell(found, "cat /srv/said") == "kept\n"

        image = str(cluster.daemons.query(f"/1.0/instances/{found.native_name}")["config"]["volatile.base_image"])
        cluster.daemons.client("init", image, "theirs", "--target", here, "-s", "local")
        cluster.daemons.client("storage", "volume", "attach", "local", name, "theirs", "/mnt")
        life.drains = {cluster.target: Drain("move", "new fans")}
        plan = await life.plan()
        assert not plan.changes
        assert any("stays, which theirs mounts too" in hold.sentence for hold in plan.holds), plan.holds
        cluster.daemons.client("delete", "theirs")
        plan = await life.converge()
        assert [change.ref for change in plan.changes if change.source is not None] == [machine.ref]
        moved = await seen(life, machine.ref, cluster.beside())
        assert await cluster.hand_shell(moved, "cat /srv/said") == "kept\n"
