"""The kit: machines leave their target, by being carried to another of the same node, or by being stopped there.

Owns: a move whole, cut short at each step, refused; drains both ways with the real planner.
Must not go here: where a machine should go (the planner's).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from unittest import SkipTest

import anyio
import msgspec

from reconciler.core.desired import Drain, Resource
from reconciler.core.observed import Object
from reconciler.core.plan import Action, Change, Risk
from reconciler.core.refs import Ref, Target, node_of
from reconciler.core.values import digest
from reconciler.driver import NodeUnreachable
from reconciler.testing.conformance.expect import at_rest, made
from reconciler.testing.conformance.interruptions import KILLS, Interruption, cancellations
from reconciler.testing.conformance.reach import Reach
from reconciler.testing.harness import Harness
from reconciler.testing.rehearsal import Rehearsal
from reconciler.testing.scene import Scene, edited, fresh_name


@asynccontextmanager
async def _both(harness: Harness) -> AsyncIterator[tuple[Scene, Scene]]:
    """Where a machine is, and where it goes: two targets of one node, which one controller writes to."""
    async with Scene(harness) as here, Scene(harness.beside()) as there:
        here.generation = there.generation = max(here.generation, there.generation)
        here.fence = max(here.fence, there.fence)
        there.fence, there.addresses = here.fence, here.addresses
        yield here, there


async def _leaving(here: Scene, there: Scene, wanted: Resource, found: Object) -> Change:
    change = there.move(wanted, found, here.harness.target)
    there.made[change.uid] = change.ref
    return change


async def _once(here: Scene, there: Scene, change: Change) -> Object:
    """The one object there is, on whichever of the two it is."""
    found = [thing for thing in (await here.find(change.uid), await there.find(change.uid)) if thing is not None]
    assert len(found) == 1, f"{len(found)} objects stand for {change.ref}"
    return found[0]


async def _arrived(here: Scene, there: Scene, wanted: Resource, change: Change) -> Object:
    await _once(here, there, change)
    return await at_rest(there, wanted, change)


async def test_machine_moves_with_its_identity_and_all_that_it_is(harness: Harness) -> None:
    async with _both(harness) as (here, there):
        wanted, before = await made(here)
        change = await _leaving(here, there, wanted, before)
        assert change.risk is Risk.NONE or change.steps[0].risk is Risk.RESTART
        for step in change.steps:
            outcome = await there.apply(step)
            assert outcome.status == "applied", f"{step.id}: {outcome}"
            on = here if step.target == here.harness.target else there
            mismatch = step.effect.mismatch(await on.find(step.uid))
            assert mismatch is None, f"{step.id} said it was applied, but {mismatch}"
            await _once(here, there, change)
            assert (await there.apply(step)).status == "unchanged", f"{step.id} repeated"
        after = await _arrived(here, there, wanted, change)
        assert (after.native_name, after.native_id) == (before.native_name, before.native_id)
        assert dict(after.fields) == dict(before.fields)
        back = await _leaving(there, here, wanted, after)
        for step in back.steps:
            assert (await here.apply(step)).status == "applied"
        await _arrived(there, here, wanted, back)


async def test_machine_moves_stopped_and_what_changed_is_written_on_the_way(harness: Harness) -> None:
    async with _both(harness) as (here, there):
        wanted, found = await made(here, state="stopped")
        change = await _leaving(here, there, wanted, found)
        assert [step.verb for step in change.steps] == ["move"]
        assert (await there.apply(change.steps[0])).status == "applied"
        await _arrived(here, there, wanted, change)
        larger = edited(harness, wanted, **harness.size(1), state="running")
        back = await _leaving(there, here, larger, await there.there(change.uid))
        for step in back.steps:
            outcome = await here.apply(step)
            assert outcome.status == "applied", f"{step.id}: {outcome}"
        assert (await _arrived(there, here, larger, back)).fields["state"] == "running"


async def test_killed_before_or_after_each_step_of_a_move_resumes(harness: Harness) -> None:
    await _interrupt_each_step(harness, KILLS)


async def test_cancelled_during_each_step_of_a_move_resumes(harness: Harness) -> None:
    await _interrupt_each_step(harness, cancellations(harness))


def _disks(harness: Harness) -> dict[str, Any]:
    """Of a machine's body: one data disk, where the driver has any."""
    try:
        return {"disks": {"data": dict(harness.data_disk())}}
    except SkipTest:
        return {}


async def test_machine_moves_with_its_data_disks(harness: Harness) -> None:
    disks = {"data": dict(harness.data_disk()), "more": {**harness.data_disk(), "path": "/more"}}
    async with _both(harness) as (here, there):
        wanted, found = await made(here, disks=disks)
        told = await harness.hand_shell(
            found, "echo kept >/data/said; chown 12:34 /data/said; echo too >/more/said; sync"
        )
        change = await _leaving(here, there, wanted, found)
        for step in change.steps:
            outcome = await there.apply(step)
            assert outcome.status == "applied", f"{step.id}: {outcome}"
        after = await _arrived(here, there, wanted, change)
        assert dict(after.fields) == dict(found.fields)
        if told is not None:
            read = "cat /data/said /more/said; ls -n /data/said | awk '{print $3, $4}'"
            assert await harness.hand_shell(after, read) == "kept\ntoo\n12 34\n"
            await harness.hand_shell(after, "echo there >/data/said; sync")
        back = await _leaving(there, here, wanted, after)
        for step in back.steps:
            assert (await here.apply(step)).status == "applied"
        last = await _arrived(there, here, wanted, back)
        if told is not None:
            assert await harness.hand_shell(last, read) == "there\ntoo\n12 34\n"


async def _interrupt_each_step(harness: Harness, interruptions: tuple[Interruption, ...]) -> None:
    for interrupt in interruptions:
        for number in range(3):
            async with _both(harness) as (here, there):
                disks = _disks(harness) if number == 1 else {}  # the step that carries it over
                wanted, found = await made(here, **disks)
                path = disks["disks"]["data"]["path"] if disks else "/root"
                told = await harness.hand_shell(found, f"echo kept >{path}/said; sync")
                change = await _leaving(here, there, wanted, found)
                for step in change.steps[:number]:
                    assert (await there.apply(step)).status == "applied"
                await interrupt(there, change.steps[number])
                whole = msgspec.structs.replace(change, steps=change.steps[number:])
                after = await _finish(here, there, wanted, whole)
                if told is not None:
                    assert await harness.hand_shell(after, f"cat {path}/said") == "kept\n"


async def _finish(here: Scene, there: Scene, wanted: Resource, change: Change) -> Object:
    """Resume as the executor does; where a step neither is done nor can be, look where it is and decide anew."""
    for _ in range(3):
        for step in change.steps:
            if (await there.apply(step)).status not in ("applied", "unchanged"):
                break
        else:
            break
        found, left = await there.find(change.uid), await here.find(change.uid)
        if found is not None:
            change = there.change(wanted, found)
        else:
            assert left is not None, f"{change.ref} is on neither of the two"
            change = await _leaving(here, there, wanted, left)
    await _once(here, there, change)
    last = there.change(wanted, await there.there(change.uid))
    if last.differences:  # what was left behind at the other end
        await there.run(last)
    return await at_rest(there, wanted, last)


async def test_a_move_is_refused_where_its_precondition_does_not_hold(harness: Harness) -> None:
    async with _both(harness) as (here, there):
        wanted, found = await made(here)
        stop, move, _ = (await _leaving(here, there, wanted, found)).steps
        away = msgspec.structs.replace(stop, target=there.harness.target)
        lost = msgspec.structs.replace(move, source=there.harness.target, target=here.harness.target)
        for lie in (move, away, lost):
            outcome = await there.apply(lie)
            assert outcome.status == "deferred", f"{lie.id} on {lie.places}: {outcome}"
        assert await here.there(move.uid) == found
        assert await there.find(move.uid) is None


async def test_a_move_by_a_stale_controller_is_refused_at_either_end(harness: Harness) -> None:
    async with _both(harness) as (here, there):
        wanted, found = await made(here, state="stopped")
        (move,) = (await _leaving(here, there, wanted, found)).steps
        for scene in (here, there):
            newer = scene.fresh(state="stopped")
            create = scene.change(newer, None).steps[0]
            fence = scene.fence
            assert (await scene.apply(create, fence=fence + 1)).status == "applied"
            outcome = await there.apply(move, fence=fence)
            assert outcome.status == "deferred", outcome
            here.fence = there.fence = fence + 1
        assert await here.find(move.uid) is not None


async def test_planned_drain_moves_what_lives_there(harness: Harness) -> None:
    other = harness.beside().target
    async with Rehearsal(harness) as rehearsal:
        machine = _anywhere(harness)
        rehearsal.want(harness.network(0), harness.image(0), machine)
        rehearsal.drains = dict.fromkeys(_others(harness, harness.target), Drain("move", "elsewhere first"))
        await rehearsal.converge()
        rehearsal.drains = dict.fromkeys(_others(harness, other), Drain("move", "new fans"))
        plan = await rehearsal.converge()
        moved = [change for change in plan.changes if change.ref == machine.ref]
        assert [(change.action, change.source, change.target) for change in moved] == [
            (Action.MOVE, harness.target, other)
        ]
        rehearsal.drains = {}
        assert [change for change in (await rehearsal.plan()).changes if change.ref == machine.ref] == []


async def test_planned_drain_stops_what_lives_there_until_it_is_lifted(harness: Harness) -> None:
    async with Rehearsal(harness) as rehearsal:
        machine = harness.machine(fresh_name("p"))
        rehearsal.want(harness.network(0), harness.image(0), machine)
        await rehearsal.converge()
        for drains, state in (({harness.target: Drain("stop", "power works")}, "stopped"), ({}, "running")):
            rehearsal.drains = drains
            plan = await rehearsal.converge()
            assert [change.ref for change in plan.changes] == [machine.ref]
            found = [thing for report in await rehearsal.observe() for thing in report.objects
                     if thing.marks is not None and thing.marks.ref == machine.ref]  # fmt: skip
            assert [thing.fields["state"] for thing in found] == [state]


async def test_address_is_good_for_another_where_its_machine_has_been(harness: Harness) -> None:
    """What hands out addresses there has let go of it."""
    async with Rehearsal(harness) as rehearsal:
        reach = Reach(harness, rehearsal)
        first, second = _anywhere(harness), _anywhere(harness)
        ground = (harness.network(0), harness.image(0))
        for target in (harness.target, harness.beside().target):
            rehearsal.drains = dict.fromkeys(_others(harness, target), Drain("move", "elsewhere"))
            rehearsal.want(*ground, first)
            await rehearsal.converge()
            assert await reach.bears(first.ref) is not False
        nics = (await reach.thing(first.ref)).fields["nics"]
        rehearsal.want(*ground)
        await rehearsal.converge()
        rehearsal.clock.advance(2 * rehearsal.policy.quarantine)
        await rehearsal.converge()
        rehearsal.drains = dict.fromkeys(_others(harness, harness.target), Drain("move", "elsewhere"))
        rehearsal.want(*ground, second)
        await rehearsal.converge()
        taken = (await reach.thing(second.ref)).fields["nics"]
        assert [nic["ip"] for nic in taken.values()] == [nic["ip"] for nic in nics.values()]
        assert taken != nics, "each machine has a MAC of its own"
        assert await reach.bears(second.ref) is not False


class Twosome:
    """A machine and the volume that it alone mounts, on a node of which all targets but one are drained."""

    def __init__(self, harness: Harness, rehearsal: Rehearsal) -> None:
        if "Volume" not in harness.shape.capability.kinds:
            raise SkipTest("the driver makes no volumes")
        name = fresh_name("v")
        self.harness, self.rehearsal = harness, rehearsal
        self.volume = harness.volume(name, 24 << 20)
        self.machine = _anywhere(harness, volumes={name: {"path": "/srv", "readOnly": False}})
        rehearsal.want(harness.network(0), harness.image(0), self.volume, self.machine)

    def only(self, target: Target) -> None:
        """From the next plan on they may live there alone."""
        self.rehearsal.drains = dict.fromkeys(_others(self.harness, target), Drain("move", "elsewhere"))

    async def seen(self, ref: Ref) -> tuple[Target, Object]:
        """Where the one thing of this name is."""
        (found,) = [(report.target, thing) for report in await self.rehearsal.observe() for thing in report.objects
                    if thing.marks is not None and thing.marks.ref == ref]  # fmt: skip
        return found

    async def shell(self, script: str) -> str | None:
        return await self.harness.hand_shell((await self.seen(self.machine.ref))[1], script)

    async def are_on(self, target: Target) -> None:
        for one in (self.machine, self.volume):
            where, thing = await self.seen(one.ref)
            assert where == target, f"{one.ref} is on {where}"
            assert "copies" not in thing.fields


async def settled(rehearsal: Rehearsal, *, tries: int = 40, pause: float = 0.2) -> None:
    """Plan and carry out until nothing is left, as a loop does; a node that does not answer is asked again."""
    said: list[str] = []
    for _ in range(tries):
        with suppress(NodeUnreachable):
            plan = await rehearsal.plan()
            if plan.complete and not plan.changes and not plan.holds:
                return
            ended = await rehearsal.carry_out(plan)
            said = [f"{change.action} {change.id} {outcome.status}: {outcome.reason}" for change, outcome in ended]
            said += [hold.sentence for hold in plan.holds] + list(plan.problems)
        await anyio.sleep(pause)
    raise AssertionError(f"it does not come to rest: {said}")


async def test_a_volume_goes_with_the_one_machine_that_mounts_it(harness: Harness) -> None:
    other = harness.beside().target
    async with Rehearsal(harness) as rehearsal:
        both = Twosome(harness, rehearsal)
        both.only(harness.target)
        await rehearsal.converge()
        told = await both.shell("echo kept >/srv/said; chown 12:34 /srv/said; sync")
        both.only(other)
        plan = await rehearsal.converge()
        assert [(change.ref, change.action) for change in plan.changes if change.target == other][-1] == (
            both.machine.ref, Action.MOVE
        )  # fmt: skip
        await both.are_on(other)
        if told is not None:
            read = "cat /srv/said; ls -n /srv/said | awk '{print $3, $4}'; echo there >/srv/said; sync"
            assert await both.shell(read) == "kept\n12 34\n"
        both.only(harness.target)
        await rehearsal.converge()
        await both.are_on(harness.target)
        assert await both.shell("cat /srv/said") in (None, "there\n")


async def test_a_move_with_a_volume_that_is_cut_short_leaves_one_of_each(harness: Harness) -> None:
    places = (harness.target, harness.beside().target)
    async with Rehearsal(harness) as rehearsal:
        both = Twosome(harness, rehearsal)
        both.only(places[0])
        await rehearsal.converge()
        await both.shell("echo kept >/srv/said; sync")
        for number, patience in enumerate((0.0, 0.03, 0.1, 0.2, 0.4, 0.8, None)):
            to = places[(number + 1) % 2]
            both.only(to)
            await rehearsal.cut_short(await rehearsal.plan(), both.machine.ref, patience)
            await settled(rehearsal)
            await both.are_on(to)
            assert await both.shell("cat /srv/said") in (None, "kept\n")


def _anywhere(harness: Harness, **body: Any) -> Resource:
    """A machine for any target of the node."""
    machine = harness.machine(fresh_name("p"), **body)
    constraints = msgspec.structs.replace(machine.constraints, node=node_of(harness.target))
    return msgspec.structs.replace(machine, constraints=constraints, digest=digest([machine.digest, "anywhere"]))


def _others(harness: Harness, but: Target) -> list[Target]:
    """Every target of the node but one."""
    targets = [Target(f"{harness.node.name}/{member}") for member in harness.node.members]
    return [target for target in targets if target != but]
