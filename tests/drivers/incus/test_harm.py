"""Daemons that die, members that are cut off: nothing is duplicated, lost or deleted, and it converges when healed."""

from __future__ import annotations

import re
import threading
from collections.abc import Container, Iterator, Mapping

import anyio
import msgspec
import pytest

from drivers.incus import DRIVER
from reconciler.core.desired import Drain, Resource
from reconciler.core.observed import Report
from reconciler.core.plan import Change
from reconciler.core.refs import Target
from reconciler.driver import Driver, NodeUnreachable
from reconciler.testing.conformance.expect import at_rest, made
from reconciler.testing.conformance.moves import settled
from reconciler.testing.rehearsal import Rehearsal
from reconciler.testing.scene import Scene, edited, fresh_name
from tests.drivers.incus.daemons import missing, running
from tests.drivers.incus.harness import MI, IncusHarness

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.long]


@pytest.fixture(params=["incus", "lxd"])
def cluster(request: pytest.FixtureRequest) -> Iterator[IncusHarness]:
    kind = request.param
    if why := missing(kind):
        pytest.skip(f"NOT RUN on {kind}: {why}")
    with running(kind, f"p{kind[0]}", members=3, pool="dir", offline=11) as daemons:
        harness = IncusHarness(daemons, members=3)
        yield harness
        harness.close()


async def _carry_on(scene: Scene, wanted: Resource, change: Change) -> None:
    """As a controller does that knows nothing of what became of its calls: each step again, until all are done, and
    planned anew where a step neither is done nor can be: what was begun may have come further than anybody heard."""
    for _ in range(40):
        for step in change.steps:
            outcome = await scene.apply(step)
            if outcome.status not in ("applied", "unchanged"):
                break
        else:
            return
        await anyio.sleep(0.5)
        if outcome.status == "deferred":
            change = scene.change(wanted, await scene.find(change.uid))
    raise AssertionError(outcome)


@pytest.mark.parametrize("after", [0.0, 0.02, 0.05, 0.1, 0.2])
async def test_daemon_killed_in_the_middle_leaves_one_machine(host: IncusHarness, after: float) -> None:
    async with Scene(host) as scene:
        wanted = scene.fresh()
        change = scene.change(wanted, None)

        async def harm() -> None:
            await anyio.sleep(after)
            host.daemons.kill()
            await anyio.sleep(0.1)
            await anyio.to_thread.run_sync(host.daemons.start)

        async with anyio.create_task_group() as group:
            group.start_soon(harm)
            for step in change.steps:
                outcome = await scene.apply(step)
                if outcome.status not in ("applied", "unchanged"):
                    break
        await scene.reopen()
        await _carry_on(scene, wanted, change)
        for _ in range(3):
            # A container whose start the daemon did not live to see through may run for a moment, and then stop.
            await anyio.sleep(0.5)
            change = scene.change(wanted, await scene.there(change.uid))
            if not change.differences:
                break
            await _carry_on(scene, wanted, change)
        found = await at_rest(scene, wanted, scene.change(wanted, await scene.there(change.uid)))
        names = [each["name"] for each in host.daemons.query("/1.0/instances?recursion=1")]
        assert names.count(found.native_name) == 1


async def test_dead_daemon_makes_nothing_absent(host: IncusHarness) -> None:
    async with Scene(host) as scene:
        wanted, found = await made(scene)
        host.daemons.kill()
        try:
            with pytest.raises(NodeUnreachable, match=r"cannot be reached|broke"):
                await scene.look()
        finally:
            await anyio.to_thread.run_sync(host.daemons.start)
        back = await scene.there(scene.uid(wanted.ref))
        assert back.fields == found.fields, "containers outlive their daemon"


@pytest.mark.timeout(240)
async def test_member_cut_off_is_unknown_never_absent_and_comes_back_as_it_was(cluster: IncusHarness) -> None:
    async with Scene(cluster) as scene:
        wanted, found = await made(scene)
        known = {report.target: report for report in await scene.driver.observe(began=1)}
        cluster.daemons.partition(3)
        try:
            for _ in range(3):
                reports = {report.target: report for report in await scene.driver.observe(began=2)}
                lost = reports[cluster.target]
                assert isinstance(lost, Report)
                here = [thing for thing in lost.objects if thing.marks and thing.marks.uid == scene.uid(wanted.ref)]
                if lost.complete:
                    assert here, "before the cluster knows, the machine is listed, its state unknown"
                    assert here[0].unknown or here[0].fields == found.fields
                else:
                    assert (lost.identity, lost.problem) != (None, None)
                await anyio.sleep(4)
            assert not lost.complete
            assert "Offline" in (lost.problem or "")
            others = [Target(f"inc/{cluster.daemons.member(number)}") for number in (1, 2)]
            for target in others:
                assert isinstance(reports[target], Report)
                assert reports[target].complete, "the others answer for themselves"
        finally:
            cluster.daemons.heal(3)
        for _ in range(60):
            back = {report.target: report for report in await scene.driver.observe(began=3)}[cluster.target]
            if isinstance(back, Report) and back.complete and back.digest == known[cluster.target].digest:
                break
            await anyio.sleep(0.5)
        else:
            raise AssertionError(f"it did not come back as it was: {back}")


@pytest.mark.timeout(400)
async def test_machine_of_a_member_cut_off_is_made_nowhere_else_and_the_others_go_on(cluster: IncusHarness) -> None:
    """By any plan: neither while its state reads `Error`, nor once its member is known to be away."""
    async with Rehearsal(cluster) as life:
        machine, another = _anywhere(cluster), cluster.beside().machine(fresh_name("o"))
        ground = (cluster.image(), cluster.network(), machine)
        others = [Target(f"inc/{cluster.daemons.member(number)}") for number in (1, 2)]
        life.drains = dict.fromkeys(others, Drain("move", "elsewhere first"))
        life.want(*ground)
        await life.converge()
        life.drains = {}
        life.want(*ground, another)
        await life.converge()
        cluster.daemons.partition(3)
        try:
            for _ in range(20):
                plan = await life.plan()
                assert not plan.changes, plan.changes
                if any("Offline" in problem for problem in plan.problems):
                    break
                await anyio.sleep(2)
            (problem,) = plan.problems
            assert re.search(r"Offline.*No heartbeat for .*\(20\d\d-", problem), problem
            life.want(*ground, edited(cluster.beside(), another, memory=96 * MI))
            ended = {change.ref: outcome.status for change, outcome in await life.carry_out(await life.plan())}
            assert ended == {another.ref: "applied"}
        finally:
            cluster.daemons.heal(3)
        await settled(life, tries=60, pause=0.5)
        listed = cluster.daemons.query("/1.0/instances?recursion=1")
        homes = {each["name"]: each["location"] for each in listed}
        names = [ref.rpartition("/")[2] for ref in (machine.ref, another.ref)]
        assert len(listed) == 2
        assert homes == {names[0]: cluster.daemons.member(3), names[1]: cluster.daemons.member(1)}


def _anywhere(cluster: IncusHarness) -> Resource:
    machine = cluster.machine(fresh_name("a"))
    constraints = msgspec.structs.replace(machine.constraints, node="inc")
    return msgspec.structs.replace(machine, constraints=constraints, digest=f"{machine.digest} anywhere")


@pytest.mark.timeout(400)
@pytest.mark.parametrize("after", [0.05, 0.15, 0.3])
async def test_member_cut_off_in_the_middle_of_a_step_leaves_one_machine(cluster: IncusHarness, after: float) -> None:
    """Seconds `after` the call that makes its instance has come to the cluster."""
    async with Scene(cluster) as scene:
        wanted, found = await made(scene)
        fresh = scene.fresh()
        change = scene.change(fresh, None)

        harm = threading.Timer(after, cluster.daemons.partition, (3,))
        cluster.proxy.before(r"^POST /1.0/instances\?", harm.start)
        try:
            for step in change.steps:
                with anyio.move_on_after(40):  # as an executor that gives up on it
                    await scene.apply(step)
        finally:
            harm.join()
            cluster.daemons.heal(3)
        await scene.reopen()
        await _whole(scene)
        change = scene.change(fresh, await scene.find(change.uid))
        await _carry_on(scene, fresh, change)
        for _ in range(20):  # what an earlier call does comes late
            here = {thing.marks.uid for thing in (await _whole(scene)).objects if thing.marks is not None}
            assert {change.uid, scene.uid(wanted.ref)} <= here, "what was said to be done stays"
            await anyio.sleep(1)
        await at_rest(scene, fresh, scene.change(fresh, await scene.there(change.uid)))
        assert (await scene.there(scene.uid(wanted.ref))).fields == found.fields
        names = {ref.rpartition("/")[2] for ref in (wanted.ref, fresh.ref)}
        listed = {each["name"]: each for each in cluster.daemons.query("/1.0/instances?recursion=1")}
        aside = listed.keys() - names
        assert names <= listed.keys()
        assert {each["location"] for each in listed.values()} == {cluster.daemons.member(3)}
        assert all(name.startswith(f"{fresh.ref.rpartition('/')[2]}-left-") for name in aside), "and nothing else"
        assert all(listed[name]["status"] == "Stopped" for name in aside), "at most what LXD had forgotten, at rest"
        unmanaged = {thing.native_name for thing in (await _whole(scene)).objects if thing.marks is None}
        assert aside <= unmanaged, "and seen"


async def _whole(scene: Scene) -> Report:
    """A report of the target that leaves nothing out. One that does says nothing of what it does not tell."""
    for _ in range(120):
        told = (await _reports(scene.driver)).get(scene.harness.target)
        if told is not None and told.complete:
            return told
        await anyio.sleep(0.5)
    raise AssertionError(f"it did not come back: {told}")


def _through(cluster: IncusHarness, number: int) -> Driver:
    """The same cluster, asked at another member."""
    return DRIVER.open(msgspec.structs.replace(cluster.node, address=f"unix:{cluster.daemons.socket(number)}"), {})


async def _reports(driver: Driver) -> dict[Target, Report]:
    """None of a target while nobody can tell."""
    try:
        answers = await driver.observe(began=2)
    except NodeUnreachable:
        return {}
    return {each.target: each for each in answers if isinstance(each, Report)}


async def _whole_again(driver: Driver, known: Mapping[Target, Report], *, but: Container[Target] = ()) -> None:
    for _ in range(120):
        back = await _reports(driver)
        wanted = [target for target in known if target not in but]
        if all(target in back and back[target].complete for target in wanted):
            assert all(back[target].digest == known[target].digest for target in wanted), "as it was"
            return
        await anyio.sleep(0.5)
    raise AssertionError(f"it did not come back: {[(each.target, each.problem) for each in back.values()]}")


@pytest.mark.timeout(300)
async def test_leader_killed_is_unknown_with_the_time_and_the_others_go_on(cluster: IncusHarness) -> None:
    async with Scene(cluster) as scene:
        wanted, found = await made(scene)
        first = Target(f"inc/{cluster.daemons.member(1)}")
        other = _through(cluster, 2)
        known = await _reports(other)
        assert all(each.complete for each in known.values())
        cluster.daemons.kill(1)
        try:
            for _ in range(60):
                told = (await _reports(other)).get(first)
                assert told is None or not told.complete or told.digest == known[first].digest, "never told empty"
                if told is not None and "Offline" in (told.problem or ""):
                    break
                await anyio.sleep(0.5)
            assert told is not None
            assert re.search(r"No heartbeat for .*\(20\d\d-", told.problem or ""), told.problem
            await _whole_again(other, known, but=(first,))
            scene.driver, mine = other, scene.driver
            larger = edited(cluster, wanted, memory=96 * MI)
            await _carry_on(scene, larger, scene.change(larger, found))
            assert (await scene.there(scene.uid(wanted.ref))).fields["memory"] == 96 * MI
            scene.driver = mine
        finally:
            await anyio.to_thread.run_sync(cluster.daemons.start)
        await _whole_again(other, {first: known[first]})
        await other.close()
        names = [each["name"] for each in cluster.daemons.query("/1.0/instances?recursion=1")]
        assert names == [found.native_name]


@pytest.mark.timeout(400)
async def test_without_a_quorum_nothing_is_absent_nothing_is_done_and_it_goes_on_when_healed(
    cluster: IncusHarness,
) -> None:
    async with Scene(cluster) as scene:
        _, found = await made(scene)
        known = await _reports(scene.driver)
        wanted = scene.fresh()
        create = scene.change(wanted, None)
        for number in (2, 3):
            cluster.daemons.kill(number)
        try:
            await anyio.sleep(2)
            for target, told in (await _reports(scene.driver)).items():
                assert not told.complete or told.digest == known[target].digest, "what cannot be read is not absent"
            outcome = await scene.apply(create.steps[0])
            assert outcome.status not in ("applied", "unchanged"), outcome
        finally:
            for number in (2, 3):
                cluster.daemons.start(number, wait=False)
            for number in (2, 3):
                await anyio.to_thread.run_sync(cluster.daemons.ready, number)
        await _whole_again(scene.driver, known)
        await scene.reopen()
        await _carry_on(scene, wanted, create)
        await at_rest(scene, wanted, create)
        names = sorted(each["name"] for each in cluster.daemons.query("/1.0/instances?recursion=1"))
        assert names == sorted([found.native_name, (await scene.there(create.uid)).native_name])
