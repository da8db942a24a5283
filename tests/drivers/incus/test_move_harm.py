"""Daemons that die while a machine is carried over: it is on one member, whole, and comes to where it should be."""

from __future__ import annotations

from collections.abc import Iterator

import anyio
import pytest

from reconciler.core.desired import Drain
from reconciler.core.observed import Object, Report
from reconciler.core.plan import Change
from reconciler.core.refs import Target
from reconciler.driver import NodeUnreachable
from reconciler.testing.conformance.expect import at_rest, made
from reconciler.testing.conformance.moves import Twosome, settled
from reconciler.testing.rehearsal import Rehearsal
from reconciler.testing.scene import Scene
from tests.drivers.incus.daemons import missing, running
from tests.drivers.incus.harness import IncusHarness

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.long]


@pytest.fixture(scope="module", params=["incus", "lxd"])
def cluster(request: pytest.FixtureRequest) -> Iterator[IncusHarness]:
    kind = request.param
    if why := missing(kind):
        pytest.skip(f"NOT RUN on {kind}: {why}")
    with running(kind, f"v{kind[0]}", members=3) as daemons:
        harness = IncusHarness(daemons, members=3)
        yield harness
        harness.close()


_LITTER = ("already exists on migration target storage", "Volume exists in database but not on storage")
"""Incus forgets a volume of a move that was cut short, or remembers one that it has not made yet: no call takes either
away, and that member takes this machine no more."""


async def _where(here: Scene, there: Scene, uid: str) -> tuple[Object | None, Object | None]:
    """As soon as both members answer again."""
    for _ in range(100):
        try:
            listed = [report for report in await here.driver.observe(began=1) if isinstance(report, Report)]
            places = (here.harness.target, there.harness.target)
            reports = [report for place in places for report in listed if report.target == place]
        except NodeUnreachable:
            reports = []
        if reports and all(report.complete for report in reports):
            both = [[each for each in report.objects if each.marks and each.marks.uid == uid] for report in reports]
            assert sum(map(len, both)) == 1, f"{both} (I2)"
            return (both[0] or [None])[0], (both[1] or [None])[0]
        await anyio.sleep(0.5)
    raise AssertionError("the cluster does not answer")


def _held(cluster: IncusHarness) -> list[str]:
    """Instances, and their volumes on each member, as the server tells of them."""
    query = cluster.daemons.query
    said = [f"{each['name']} on {each['location']}, {each['status']}" for each in query("/1.0/instances?recursion=1")]
    for number in (1, 2, 3):
        volumes = query(
            f"/1.0/storage-pools/local/volumes/container?recursion=1&target={cluster.daemons.member(number)}"
        )
        said += [f"volume {each['name']} on {each['location']}" for each in volumes]
    return said


@pytest.mark.timeout(300)
@pytest.mark.parametrize("victim", [3, 1], ids=["source", "target"])
@pytest.mark.parametrize("after", [0.1, 0.4, 0.8])
@pytest.mark.parametrize("disks", [False, True], ids=["", "disks"])
async def test_a_daemon_killed_in_the_middle_of_a_move_leaves_one_machine(
    cluster: IncusHarness, victim: int, after: float, disks: bool
) -> None:
    path, megabytes = ("/data", 12) if disks else ("/root", 40)
    async with Scene(cluster) as here, Scene(cluster.beside()) as there:
        here.generation = there.generation = max(here.generation, there.generation)
        there.addresses = here.addresses
        wanted, found = await made(here, **({"disks": {"data": dict(cluster.data_disk())}} if disks else {}))
        fill = f"dd if=/dev/urandom of={path}/data bs=1M count={megabytes} 2>/dev/null; sync"
        cluster.daemons.client("exec", found.native_name, "--", "sh", "-c", fill)
        change: Change = there.move(wanted, found, cluster.target)
        there.made[change.uid] = change.ref

        async def harm() -> None:
            await anyio.sleep(after)
            cluster.daemons.kill(victim)
            await anyio.sleep(0.2)
            await anyio.to_thread.run_sync(cluster.daemons.start, victim)

        assert (await there.apply(change.steps[0])).status == "applied"
        async with anyio.create_task_group() as group:
            group.start_soon(harm)
            await there.apply(change.steps[1])
        await there.reopen()
        for _ in range(40):
            left, arrived = await _where(here, there, change.uid)
            if arrived is not None and not there.change(wanted, arrived).differences:
                break
            if arrived is not None:
                change = there.change(wanted, arrived)
            else:
                assert left is not None
                change = there.move(wanted, left, cluster.target)
            for step in change.steps:
                said = await there.apply(step)
                if said.status not in ("applied", "unchanged"):
                    await anyio.sleep(0.5)
                    break
        if arrived is None and any(each in said.reason for each in _LITTER):
            # Only a hand on that member takes it away; the planner asks another member, and it can be used where it is.
            assert left is not None
            arrived, there, change = left, here, here.change(wanted, left)
        assert arrived is not None, f"it does not get there: {said}; {_held(cluster)}"
        assert not [each for each in cluster.daemons.query("/1.0/instances?recursion=1") if "move-of" in each["name"]]
        last = there.change(wanted, arrived)
        for step in last.steps:
            await there.apply(step)
        await at_rest(there, wanted, there.change(wanted, await there.there(change.uid)))
        size = cluster.daemons.shell(found.native_name, f"ls -s {path}/data").split()[0]
        assert size == str(megabytes << 10)
        names = [each["name"] for each in cluster.daemons.query("/1.0/instances?recursion=1")]
        assert names.count(found.native_name) == 1


@pytest.mark.timeout(300)
@pytest.mark.parametrize("victim", [3, 1], ids=["source", "target"])
@pytest.mark.parametrize("after", [0.1, 0.4, 0.8])
async def test_a_daemon_killed_in_the_middle_leaves_a_machine_and_its_volume_together(
    cluster: IncusHarness, victim: int, after: float
) -> None:
    source = Target(f"inc/{cluster.daemons.member(3)}")
    async with Rehearsal(cluster) as rehearsal:
        both = Twosome(cluster, rehearsal)
        both.only(source)
        await settled(rehearsal)
        await both.shell("dd if=/dev/urandom of=/srv/data bs=1M count=12 2>/dev/null; sync")
        rehearsal.drains = {source: Drain("move", "new fans"), _second(cluster): Drain("move", "asked last")}

        async def harm() -> None:
            await anyio.sleep(after)
            cluster.daemons.kill(victim)
            await anyio.sleep(0.2)
            await anyio.to_thread.run_sync(cluster.daemons.start, victim)

        plan = await rehearsal.plan()
        async with anyio.create_task_group() as group:
            group.start_soon(harm)
            await rehearsal.cut_short(plan, both.machine.ref, None)
        rehearsal.drains = {source: Drain("move", "new fans")}
        await settled(rehearsal, tries=180, pause=0.5)
        where, _ = await both.seen(both.machine.ref)
        assert where != source
        await both.are_on(where)
        assert (await both.shell("ls -s /srv/data") or "").split()[0] == str(12 << 10)
        listed = cluster.daemons.query("/1.0/storage-pools/local/volumes/custom?recursion=1")
        name = both.volume.ref.rpartition("/")[2]
        assert len([each for each in listed if each["name"].endswith(f"-{name}")]) == 1


def _second(cluster: IncusHarness) -> Target:
    return Target(f"inc/{cluster.daemons.member(2)}")
