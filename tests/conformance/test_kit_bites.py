"""The kit is worth something: a driver that breaks one rule fails the test of that rule."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import anyio.lowlevel
import msgspec
import pytest

from drivers.sim.world import World
from reconciler.core.observed import Object, Report, Told, Unchanged
from reconciler.core.plan import Expect, Step
from reconciler.core.refs import Target
from reconciler.core.values import replaced
from reconciler.driver import Driver, Outcome, StepContext
from reconciler.driver.prompt import Tells
from reconciler.testing.conformance import guard, life, planned, sight, steps
from reconciler.testing.harness import Harness
from tests.conformance.sim_harness import SimHarness

pytestmark = pytest.mark.anyio

replace = msgspec.structs.replace


class Careless:
    """The simulated driver with one rule broken by a subclass."""

    def __init__(self, inner: Driver, world: World) -> None:
        self.inner, self.world, self.shape = inner, world, inner.shape

    async def observe(self, *, began: int, since: Mapping[Target, str] | None = None) -> tuple[Report | Unchanged, ...]:
        answers = await self.inner.observe(began=began, since=since)
        return tuple(self.seen(answer) if isinstance(answer, Report) else answer for answer in answers)

    async def apply(self, step: Step, context: StepContext) -> Outcome:
        return await self.inner.apply(step, context)

    async def close(self) -> None:
        await self.inner.close()

    def seen(self, report: Report) -> Report:
        return report


class ForgetsTheFence(Careless):
    async def apply(self, step: Step, context: StepContext) -> Outcome:
        return await self.inner.apply(step, replace(context, fence=1000))


class ForgetsTheGeneration(Careless):
    async def apply(self, step: Step, context: StepContext) -> Outcome:
        return await self.inner.apply(step, replace(context, generation=10**9))


class ForgetsThePrecondition(Careless):
    async def apply(self, step: Step, context: StepContext) -> Outcome:
        bearers = self.world.store.by_uid(step.target, step.uid)
        held = Expect(bearers[0].object.lifecycle if bearers else "absent")
        return await self.inner.apply(replace(step, precondition=held), context)


class ForgetsTheClaim(Careless):
    async def apply(self, step: Step, context: StepContext) -> Outcome:
        self.world.claim(step.target, step.args["marks"]["datacenter"])
        return await self.inner.apply(step, context)


class SaysItDid(Careless):
    async def apply(self, step: Step, context: StepContext) -> Outcome:
        return Outcome("applied") if step.verb == "start" else await self.inner.apply(step, context)


class DoesItAgain(Careless):
    async def apply(self, step: Step, context: StepContext) -> Outcome:
        outcome = await self.inner.apply(step, context)
        return Outcome("applied") if outcome.status == "unchanged" else outcome


class PurgesEarly(Careless):
    async def apply(self, step: Step, context: StepContext) -> Outcome:
        late = replace(context, now=context.now + 1e6) if step.verb == "purge" else context
        return await self.inner.apply(step, late)


class SweepsStrangers(Careless):
    async def apply(self, step: Step, context: StepContext) -> Outcome:
        outcome = await self.inner.apply(step, context)
        for found in self.world.objects(step.target, "Machine"):
            if found.object.marks is None and step.verb == "quarantine":
                self.world.drift(step.target, found.object.native_name, "/memory", 1)
        return outcome


class TellsNothing(Careless):
    async def apply(self, step: Step, context: StepContext) -> Outcome:
        return replace(await self.inner.apply(step, context), reason="")


class SetsWhatItLikes(Careless):
    async def apply(self, step: Step, context: StepContext) -> Outcome:
        outcome = await self.inner.apply(step, context)
        if step.verb == "configure" and outcome.status == "applied":
            self.world.drift(step.target, step.uid, "/threads", 7)
        return outcome


class AlwaysComplete(Careless):
    def seen(self, report: Report) -> Report:
        return replace(report, complete=True, problem=None)


class BlindForMemory(Careless):
    def seen(self, report: Report) -> Report:
        things = [replace(thing, fields=replaced(thing.fields, "/memory", 2**30)) for thing in report.objects]
        return replace(report, objects=tuple(things))


class KnowsWhatCannotBeRead(Careless):
    def seen(self, report: Report) -> Report:
        return replace(report, objects=tuple(replace(thing, unknown={}) for thing in report.objects))


class TakesCopiesForOurs(Careless):
    def seen(self, report: Report) -> Report:
        hidden = {found.object.native_id: found.hidden for found in self.world.objects(report.target)}
        things = [replace(thing, marks=thing.marks or hidden[thing.native_id]) for thing in report.objects]
        return replace(report, objects=tuple(things))


class HidesStrangers(Careless):
    def seen(self, report: Report) -> Report:
        return replace(report, objects=tuple(thing for thing in report.objects if thing.marks is not None))


class NeverTheSameTwice(Careless):
    calls = 0

    def seen(self, report: Report) -> Report:
        NeverTheSameTwice.calls += 1
        return replace(report, digest=f"{report.digest}{self.calls}")


class LosesProtection(Careless):
    def seen(self, report: Report) -> Report:
        return replace(report, objects=tuple(map(self._bare, report.objects)))

    def _bare(self, thing: Object) -> Object:
        return replace(thing, marks=replace(thing.marks, protected=False) if thing.marks else None)


class LosesPauses(Careless):
    def seen(self, report: Report) -> Report:
        return replace(report, objects=tuple(map(self._bare, report.objects)))

    def _bare(self, thing: Object) -> Object:
        return replace(thing, marks=replace(thing.marks, paused_until=None) if thing.marks else None)


class WaitsThoughItPromised(Careless):
    def prompt(self) -> bool:
        return True

    async def observe(self, *, began: int, since: Mapping[Target, str] | None = None) -> tuple[Report | Unchanged, ...]:
        await anyio.lowlevel.checkpoint()
        return await super().observe(began=began, since=since)


class Unread(Careless):
    def prompt(self) -> bool:
        return True

    async def tell(self, began: int, since: Mapping[Target, str] | None = None) -> tuple[Told | Unchanged, ...]:
        assert isinstance(self.inner, Tells)
        return tuple(
            [self.said(each) if isinstance(each, Told) else each for each in await self.inner.tell(began, since)]
        )

    def said(self, told: Told) -> Told:
        raise NotImplementedError


class LeavesOneOutUnread(Unread):
    def said(self, told: Told) -> Told:
        return Told.of(told.report, told.written[1:])


class WritesAsItLikes(Unread):
    def said(self, told: Told) -> Told:
        return Told.of(told.report, tuple([msgspec.json.format(each, indent=1) for each in told.written]))


Test = Callable[[Harness], Awaitable[None]]

CASES: list[tuple[type[Careless], Test]] = [
    (ForgetsTheFence, guard.test_stale_fence_is_refused),
    (ForgetsTheGeneration, guard.test_older_generation_never_undoes_a_newer_one),
    (ForgetsTheClaim, guard.test_another_datacenters_step_is_refused),
    (ForgetsTheClaim, sight.test_node_without_its_mark_is_told_and_left_alone),
    (ForgetsTheClaim, sight.test_another_node_in_its_place_is_told_and_left_alone),
    (ForgetsThePrecondition, steps.test_step_whose_precondition_does_not_hold_is_deferred),
    (DoesItAgain, steps.test_every_step_can_be_repeated),
    (DoesItAgain, guard.test_two_writers_of_one_step_act_once),
    (TellsNothing, steps.test_unknown_verb_is_refused),
    (SaysItDid, life.test_created_machine_is_what_was_predicted),
    (SaysItDid, steps.test_killed_before_or_after_each_step_resumes),
    (SetsWhatItLikes, life.test_created_machine_is_what_was_predicted),
    (SetsWhatItLikes, planned.test_plan_of_a_new_machine_leaves_nothing_to_plan),
    (PurgesEarly, life.test_purge_is_never_early),
    (LosesProtection, life.test_protection_is_remembered_on_the_object),
    (LosesPauses, guard.test_pause_is_borne_by_the_object_and_refuses_who_did_not_know),
    (LosesPauses, guard.test_pause_is_borne_in_quarantine_and_by_what_is_no_machine),
    (ForgetsThePrecondition, guard.test_pause_is_borne_by_the_object_and_refuses_who_did_not_know),
    (SweepsStrangers, sight.test_unmanaged_machine_is_listed_and_never_touched),
    (HidesStrangers, life.test_forgotten_machine_is_left_as_it_is_and_can_be_adopted),
    (AlwaysComplete, sight.test_listing_cut_short_is_not_complete),
    (BlindForMemory, sight.test_drift_of_each_field_is_seen_and_healed),
    (BlindForMemory, life.test_each_size_changes_to_what_was_predicted),
    (KnowsWhatCannotBeRead, sight.test_field_that_cannot_be_read_is_unknown),
    (TakesCopiesForOurs, sight.test_copied_marks_do_not_count),
    (WaitsThoughItPromised, sight.test_who_promises_to_answer_at_once_waits_for_nothing),
    (LeavesOneOutUnread, sight.test_who_leaves_objects_unread_tells_what_it_reports),
    (WritesAsItLikes, sight.test_who_leaves_objects_unread_tells_what_it_reports),
    (NeverTheSameTwice, sight.test_report_is_dated_whole_and_the_same_twice),
]


@pytest.mark.parametrize(("careless", "test"), CASES, ids=[f"{c.__name__}-{t.__name__}" for c, t in CASES])
async def test_broken_rule_is_noticed(tmp_path: Path, careless: type[Careless], test: Test) -> None:
    class Broken(SimHarness):
        async def open(self) -> Any:
            return careless(await super().open(), self.world)

    with pytest.raises((AssertionError, StopIteration, ExceptionGroup, RuntimeError, KeyError)):
        await test(Broken(tmp_path / "fleet.db", ()))
