"""The kit's second part: the real planner over the driver. What it plans is carried out, and then nothing is left.

Owns: plan → apply → the next plan is empty, for each kind of change; drift healed; holds where nothing is known.
Must not go here: the driver's own rules (the other modules).
"""

from __future__ import annotations

from unittest import SkipTest

import msgspec

from reconciler.core.desired import Resource
from reconciler.core.observed import Object
from reconciler.core.plan import Action
from reconciler.core.refs import Ref
from reconciler.core.values import digest, plain
from reconciler.testing.harness import Harness
from reconciler.testing.rehearsal import Rehearsal, replaced_allowed
from reconciler.testing.scene import edited, fresh_name

Actions = list[tuple[Action, Ref]]


def _ground(harness: Harness) -> tuple[Resource, ...]:
    return harness.network(0), harness.image(0)


def _machine(harness: Harness, **body: object) -> Resource:
    return harness.machine(fresh_name("p"), **body)


async def _machines_of(rehearsal: Rehearsal) -> Actions:
    plan = await rehearsal.converge()
    held = [hold for hold in plan.holds if hold.ref in rehearsal.wanted]
    assert not held, held
    return [(change.action, change.ref) for change in plan.changes if change.ref.startswith("Machine/")]


async def _there(rehearsal: Rehearsal, machine: Resource) -> Object:
    """The one object of this machine, wherever it was placed."""
    objects = [thing for report in await rehearsal.observe() for thing in report.objects]
    (found,) = [thing for thing in objects if thing.marks is not None and thing.marks.ref == machine.ref]
    return found


async def test_plan_of_a_new_machine_leaves_nothing_to_plan(harness: Harness) -> None:
    async with Rehearsal(harness) as rehearsal:
        machine = _machine(harness)
        rehearsal.want(*_ground(harness), machine)
        assert await _machines_of(rehearsal) == [(Action.CREATE, machine.ref)]


async def test_planned_updates_leave_nothing_to_plan(harness: Harness) -> None:
    async with Rehearsal(harness) as rehearsal:
        machine = _machine(harness)
        rehearsal.want(*_ground(harness), machine)
        await rehearsal.converge()
        bodies = [harness.size(1), *harness.edits().values(), {"state": "stopped"}, {"state": "running"}]
        for body in bodies:
            machine = edited(harness, machine, **body)
            rehearsal.want(*_ground(harness), machine)
            assert await _machines_of(rehearsal) == [(Action.UPDATE, machine.ref)], body


async def test_planned_destroy_comes_back_by_a_revert_and_goes_by_a_purge(harness: Harness) -> None:
    async with Rehearsal(harness) as rehearsal:
        machine = _machine(harness)
        rehearsal.want(*_ground(harness), machine)
        await rehearsal.converge()
        rehearsal.want(*_ground(harness))
        assert await _machines_of(rehearsal) == [(Action.DESTROY, machine.ref)]
        rehearsal.want(*_ground(harness), machine)
        assert await _machines_of(rehearsal) == [(Action.RESTORE, machine.ref)]
        rehearsal.want(*_ground(harness))
        assert await _machines_of(rehearsal) == [(Action.DESTROY, machine.ref)]
        rehearsal.clock.advance(rehearsal.policy.quarantine + 1)
        assert await _machines_of(rehearsal) == [(Action.PURGE, machine.ref)]


async def test_planned_replace_leaves_nothing_to_plan(harness: Harness) -> None:
    async with Rehearsal(harness) as rehearsal:
        disks = _disks(harness)
        machine = replaced_allowed(_machine(harness, disks=disks))
        rehearsal.want(*_ground(harness), machine)
        await rehearsal.converge()
        look = plain(harness.image(1).body)
        image = {"name": "other"} | {key: look[key] for key in ("digest", "type", "os")}
        other = edited(harness, machine, image=image)
        references = tuple(harness.image(1).ref if ref == harness.image(0).ref else ref for ref in other.references)
        other = replaced_allowed(msgspec.structs.replace(other, references=references))
        rehearsal.want(*_ground(harness), harness.image(1), other)
        assert await _machines_of(rehearsal) == [(Action.REPLACE, machine.ref)]


def _disks(harness: Harness) -> dict[str, object] | None:
    try:
        return {"data": harness.data_disk()}
    except SkipTest:
        return None


async def test_planned_rename_leaves_nothing_to_plan(harness: Harness) -> None:
    async with Rehearsal(harness) as rehearsal:
        machine = _machine(harness)
        rehearsal.want(*_ground(harness), machine)
        await rehearsal.converge()
        other = _machine(harness)
        behaviour = msgspec.structs.replace(other.behaviour, renamed_from=machine.ref)
        other = msgspec.structs.replace(other, behaviour=behaviour, digest=digest([other.digest, "renamed"]))
        rehearsal.want(*_ground(harness), other)
        assert await _machines_of(rehearsal) == [(Action.RENAME, other.ref)]


async def test_planned_healing_of_each_drift_leaves_nothing_to_plan(harness: Harness) -> None:
    drifts = harness.drifts()
    if not drifts:
        raise SkipTest("the harness names no drifts")
    for path, value in drifts.items():
        async with Rehearsal(harness) as rehearsal:
            machine = _machine(harness)
            rehearsal.want(*_ground(harness), machine)
            await rehearsal.converge()
            found = await _there(rehearsal, machine)
            await harness.hand_set(found, path, value)
            plan = await rehearsal.converge()
            told = {change.ref: change.differences for change in plan.changes}
            told |= {Ref(hold.ref): hold.differences for hold in plan.holds if hold.ref == machine.ref}
            assert [(each.path, each.before) for each in told[machine.ref]] == [(path, value)]


async def test_machine_that_a_short_listing_lacks_is_neither_made_again_nor_forgotten(harness: Harness) -> None:
    async with Rehearsal(harness) as rehearsal:
        machine = _machine(harness)
        rehearsal.want(*_ground(harness), machine)
        await rehearsal.converge()
        found = await _there(rehearsal, machine)
        async with harness.partial_listing(found):
            plan = await rehearsal.plan()
            assert [change for change in plan.changes if change.ref == machine.ref] == []
            assert not plan.complete
        assert (await rehearsal.plan()).changes == ()
