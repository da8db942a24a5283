"""Volumes on real hosts, beyond what the conformance kit asks: copies, strangers' mounts, clusters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from drivers.incus.driver import VERBS
from drivers.incus.shape import CAPABILITY
from reconciler.core.desired import Demand, Resource
from reconciler.core.observed import Object
from reconciler.core.refs import Ref
from reconciler.core.values import plain
from reconciler.testing.harness import resource
from reconciler.testing.rehearsal import Rehearsal
from reconciler.testing.scene import fresh_name
from tests.drivers.incus.daemons import missing, running
from tests.drivers.incus.harness import MI, IncusHarness

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


@pytest.fixture(params=["incus", "lxd"])
def cluster(request: pytest.FixtureRequest) -> Iterator[IncusHarness]:
    if why := missing(request.param):
        pytest.skip(f"NOT RUN on {request.param}: {why}")
    with running(request.param, f"v{request.param[0]}", members=2, second=96) as daemons:
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
        assert cluster.daemons.client("exec", name, "--", "cat", "/srv/said") == "kept\n"
