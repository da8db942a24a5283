from __future__ import annotations

import random

import anyio
import msgspec
import pytest

from reconciler.core.ledger import Applied, Forgotten, Intent, Paused, Result, Resumed, Spent
from reconciler.core.plan import Change
from reconciler.core.refs import Ref, Target, Uid
from reconciler.errors import JournalUnwritable
from reconciler.runtime.events import StepEnded, StepStarted
from reconciler.runtime.worker import Pace
from tests.runtime.worlds import World, change, gate, plan_of, step_id

pytestmark = pytest.mark.anyio


async def test_steps_of_a_machine_run_in_series_and_machines_side_by_side(world: World) -> None:
    node = world.add("a")
    summary = await world.execute(plan_of(change("m1", "a", "x", "y"), change("m2", "a", "x", "y")))
    assert summary.counts == {"applied": 4}
    assert summary.seconds == pytest.approx(2)
    assert node.most == 2
    assert summary.exit_code == 0


async def test_a_target_takes_no_more_than_its_share_at_once(world: World) -> None:
    node = world.add("a")
    await world.execute(plan_of(*(change(f"m{n}", "a") for n in range(10))), pace=Pace(per_target=3))
    assert node.most == 3


async def test_targets_take_turns(world: World) -> None:
    world.add("a", "b")
    plan = plan_of(*(change(f"m{n}", "a") for n in range(4)), change("last", "b"))
    await world.execute(plan, pace=Pace(workers=1))
    assert [event.target for event in world.told(StepStarted)][:3] == ["a", "b", "a"]


async def test_tenants_take_turns_on_a_target(world: World) -> None:
    world.add("a")
    other = change("x", "a")
    other = type(other)(**{f: getattr(other, f) for f in other.__struct_fields__} | {"ref": Ref("Machine/zeta/x")})
    await world.execute(plan_of(*(change(f"m{n}", "a") for n in range(4)), other), pace=Pace(workers=1))
    assert [event.step for event in world.told(StepStarted)][1] == step_id("x", "a")


async def test_a_worker_stays_with_the_machine_it_began(world: World) -> None:
    world.add("a")
    plan = plan_of(change("m1", "a", "stop", "start"), change("m2", "a", "stop", "start"))
    await world.execute(plan, pace=Pace(workers=1))
    assert [event.verb for event in world.told(StepStarted)] == ["stop", "start", "stop", "start"]


@pytest.mark.parametrize("seed", range(20))
async def test_what_a_step_needs_is_journalled_before_its_intent(world: World, seed: int) -> None:
    chance, changes, earlier = random.Random(seed), list[Change](), list[str]()
    for name in "abc":
        world.add(name, latency=chance.choice((0, 0.1, 1, 1.5)))
    for number in range(12):
        made = change(f"m{number}", chance.choice("abc"), *["do"] * chance.randint(1, 4))
        steps = [
            msgspec.structs.replace(step, needs=(*step.needs, *chance.sample(earlier, min(len(earlier), 2))))
            for step in made.steps
        ]
        changes.append(msgspec.structs.replace(made, steps=tuple(steps)))
        earlier += [step.id for step in steps]
    summary = await world.execute(plan_of(*changes), pace=Pace(workers=chance.randint(1, 6)))
    assert summary.whole
    needs = {step.id: set(step.needs) for each in changes for step in each.steps}
    ended = set[str]()
    for entry in world.journal.entries:
        if isinstance(entry, Result):
            ended.add(entry.step)
        elif isinstance(entry, Intent):
            assert needs[entry.step] <= ended, entry.step
    assert ended == set(earlier)


async def test_the_intent_is_durable_before_the_driver_is_called(world: World) -> None:
    node = world.add("a")

    def look(_: object) -> None:
        steps = [entry.step for entry in world.journalled(Intent)]
        assert all(step in steps for step in node.calls)

    world.journal.on_append = look
    await world.execute(plan_of(change("m1", "a", "x", "y", "z")))
    kinds = [type(entry).__name__ for entry in world.journal.entries]
    assert kinds == ["Applied", "Intent", "Result", "Intent", "Result", "Intent", "Result"]


async def test_entries_of_a_step_travel_with_its_intent_and_its_result(world: World) -> None:
    world.add("a")
    plan = plan_of(change("m1", "a", on_intent=(Resumed("before"),), on_applied=(Resumed("after"),)))
    await world.execute(plan)
    kinds = [getattr(entry, "subject", type(entry).__name__) for entry in world.journal.entries]
    assert kinds == ["Applied", "Intent", "before", "Result", "after"]


async def test_what_a_failed_step_would_have_settled_is_not_journalled(world: World) -> None:
    world.add("a").failing["do"] = "disk full"
    await world.execute(plan_of(change("m1", "a", on_applied=(Resumed("after"),))))
    assert world.journalled(Resumed) == []


async def test_a_failed_step_defers_what_needs_it_and_nothing_else(world: World) -> None:
    world.add("a").failing[step_id("m1", "a")] = "disk full"
    plan = plan_of(change("m1", "a"), change("m2", "a", needs=(step_id("m1", "a"),)), change("m3", "a"))
    summary = await world.execute(plan)
    assert summary.counts == {"failed": 1, "deferred": 1, "applied": 1}
    assert [(failure.status, failure.reason) for failure in summary.failures] == [
        ("failed", "disk full"),
        ("deferred", "it needs Machine/acme/m1@a:1-do, which failed"),
    ]
    assert summary.exit_code == 6


async def test_nothing_applied_and_a_failure_is_an_error(world: World) -> None:
    world.add("a").failing["do"] = "disk full"
    assert (await world.execute(plan_of(change("m1", "a")))).exit_code == 1


async def test_a_need_that_is_not_carried_out_defers(world: World) -> None:
    world.add("a")
    summary = await world.execute(plan_of(change("m1", "a", needs=("elsewhere",))))
    assert summary.failures[0].reason == "it needs elsewhere, which is not carried out"


async def test_a_circle_of_needs_ends_as_deferred(world: World) -> None:
    world.add("a")
    plan = plan_of(
        change("m1", "a", needs=(step_id("m2", "a"),)),
        change("m2", "a", needs=(step_id("m1", "a"),)),
        change("m3", "a"),
    )
    summary = await world.execute(plan)
    assert summary.counts == {"applied": 1, "deferred": 2}
    assert "circular" in summary.failures[0].reason


async def test_dependants_of_ten_thousand_go_on_without_recursion(world: World) -> None:
    world.add("a").failing[step_id("m0", "a")] = "no"
    chain = [change(f"m{n}", "a", needs=(step_id(f"m{n - 1}", "a"),) if n else ()) for n in range(10_000)]
    summary = await world.execute(plan_of(*chain))
    assert summary.counts == {"failed": 1, "deferred": 9_999}


async def test_an_exception_of_a_driver_is_unconfirmed_and_stops_dependants(world: World) -> None:
    world.add("a").breaking.add("x")
    summary = await world.execute(plan_of(change("m1", "a", "x", "y")))
    assert summary.counts == {"unconfirmed": 1, "deferred": 1}
    assert summary.failures[0].reason == "its driver broke off: RuntimeError: x broke"
    assert world.journal.ledger.in_flight == {}


async def test_a_hanging_step_is_cut_off_at_its_deadline_and_delays_nobody(world: World) -> None:
    world.add("a", "b").hanging.add("do")
    summary = await world.execute(plan_of(change("m1", "b"), change("m2", "a")))
    assert summary.counts == {"applied": 1, "unconfirmed": 1}
    assert summary.seconds == pytest.approx(120, abs=1)
    assert summary.failures[0].reason == "cut off: no answer within 120 s"


async def test_a_worker_goes_on_after_a_step_was_cut_off(world: World) -> None:
    world.add("a").hanging.add("wait")
    plan = plan_of(change("m1", "a", "wait"), change("m2", "a"))
    summary = await world.execute(plan, pace=Pace(workers=1))
    assert summary.counts == {"unconfirmed": 1, "applied": 1}


async def test_a_node_that_nobody_can_open_fails_its_steps(world: World) -> None:
    world.add("a")
    summary = await world.execute(plan_of(change("m1", "a"), change("m2", "ghost")))
    assert summary.counts == {"applied": 1, "failed": 1}


# -- gates


async def test_a_gate_opens_once_all_its_steps_have_ended(world: World) -> None:
    world.add("a")
    canary = change("m1", "a", "x", "y")
    rest = [change(f"m{n}", "a", gates=gate(canary.steps[-1].id)) for n in range(2, 5)]
    await world.execute(plan_of(*rest, canary))
    assert [event.ref for event in world.told(StepStarted)][:2] == [canary.ref, canary.ref]
    assert len(world.told(StepStarted)) == 5


async def test_a_failed_canary_stops_the_batch(world: World) -> None:
    node = world.add("a")
    node.failing[step_id("m1", "a")] = "never ready"
    plan = plan_of(change("m1", "a"), *(change(f"m{n}", "a", gates=gate(step_id("m1", "a"))) for n in range(2, 5)))
    summary = await world.execute(plan)
    assert node.calls == [step_id("m1", "a")]
    assert summary.counts == {"failed": 1, "deferred": 3}
    assert summary.failures[1].reason == "too many before it were not applied (1, allowed 0)"


@pytest.mark.parametrize(("allowed", "applied"), [(0, 2), (1, 3)])
async def test_a_gate_counts_failed_changes_up_to_its_limit(world: World, allowed: int, applied: int) -> None:
    world.add("a").failing["x"] = "no"
    first = [change("m1", "a", "x", "y"), change("m2", "a"), change("m3", "a")]
    ends = [step.id for each in first for step in each.steps]
    await world.execute(plan_of(*first, change("m4", "a", gates=gate(*ends, max_failures=allowed))))
    assert sum(event.status == "applied" for event in world.told(StepEnded)) == applied


async def test_a_pause_lies_between_batches(world: World) -> None:
    world.add("a")
    plan = plan_of(change("m1", "a"), change("m2", "a", gates=gate(step_id("m1", "a"), pause=3600)))
    summary = await world.execute(plan)
    assert summary.counts == {"applied": 2}
    assert summary.seconds == pytest.approx(3602, abs=2)


async def test_a_stop_does_not_wait_for_a_pause(world: World) -> None:
    world.add("a")
    plan = plan_of(change("m1", "a"), change("m2", "a", gates=gate(step_id("m1", "a"), pause=3600)))
    execution = world.execution(plan)
    async with anyio.create_task_group() as group:
        group.start_soon(stop_after, execution, 60)
        summary = await execution.run()
    assert summary.seconds == pytest.approx(60, abs=1)
    assert summary.failures[0].reason == "Ctrl-C"


async def test_a_gate_on_what_is_not_carried_out_stays_shut(world: World) -> None:
    world.add("a")
    summary = await world.execute(plan_of(change("m1", "a", gates=gate("elsewhere"))))
    assert summary.counts == {"deferred": 1}


# -- budgets, secrets, files


async def test_a_budget_holds_on_every_interleaving(world: World) -> None:
    world.add(*(f"n{n}" for n in range(20)))
    plan = plan_of(
        *(
            change(f"m{n}", f"n{n}", on_intent=(Spent("destroys", Ref(f"Machine/acme/m{n}"), Target(f"n{n}")),))
            for n in range(20)
        )
    )
    summary = await world.execute(
        plan, allowance=lambda spent, ledger, now: "enough for today" if len(ledger.spent) >= 3 else None
    )
    assert summary.counts == {"applied": 3, "deferred": 17}
    assert len(world.journal.ledger.spent) == 3
    assert summary.refused == ("enough for today",) * 17
    assert summary.exit_code == 3


async def test_what_was_paused_since_is_not_begun_and_what_was_begun_comes_to_its_end(world: World) -> None:
    world.add("a", "b")
    later = change("m2", "b", needs=(step_id("m1", "a", number=3),))
    execution = world.execution(plan_of(change("m1", "a", "do", "do", "do"), later))
    summaries = []

    async def run() -> None:
        summaries.append(await execution.run())

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await anyio.sleep(0.5)
        until = world.clock.now() + 600
        await world.journal.append([Paused(f"Machine/acme/{name}", until, "looking") for name in ("m1", "m2")])
    assert world.machines["a"].objects == {"m1": 3}
    assert world.machines["b"].calls == []
    assert len(world.journalled(Intent)) == 3
    assert summaries[0].counts == {"applied": 3, "deferred": 1}
    assert "Machine/acme/m2 is paused until" in summaries[0].refused[0]
    assert summaries[0].exit_code == 3


async def test_a_step_gets_the_values_of_just_the_secrets_it_names(world: World) -> None:
    node = world.add("a")
    world.secrets.values = {"db": "hunter2", "other": "x"}
    args = {"metadata": {"secret": "a plain text", "password": {"secret": "db", "keyed": "k"}}, "marks": {}}
    await world.execute(plan_of(change("m1", "a", args=args), change("m2", "a")), pace=Pace(workers=1))
    assert [context.secrets for context in node.contexts] == [{"db": "hunter2"}, {}]


async def test_a_missing_secret_fails_the_step_before_its_intent(world: World) -> None:
    node = world.add("a")
    summary = await world.execute(plan_of(change("m1", "a", args={"userData": {"secret": "db"}})))
    assert node.calls == []
    assert world.journalled(Intent) == []
    assert summary.failures[0].reason == "no provider holds the secret db"


async def test_no_secret_reaches_journal_or_events(world: World) -> None:
    world.add("a")
    world.secrets.values = {"db": "hunter2"}
    world.machines["a"].failing["do"] = "cannot write password=hunter2"
    summary = await world.execute(plan_of(change("m1", "a", args={"userData": {"secret": "db"}})))
    assert summary.failures[0].reason == "cannot write password=«db»"
    assert "hunter2" not in repr(world.journal.records) + repr(world.events)


async def test_image_content_is_fetched_for_its_import(world: World) -> None:
    node = world.add("a")
    body = {"source": {"url": "https://x/i.tar"}, "digest": "sha256:1"}
    await world.execute(plan_of(change("i", "a", "import", args={"body": body})))
    assert node.contexts[0].files == {"sha256:1": "/nowhere/sha256:1"}


# -- stopping


async def stop_after(execution: object, seconds: float) -> None:
    await anyio.sleep(seconds)
    execution.stop("Ctrl-C")  # type: ignore[attr-defined]


async def test_a_stop_lets_the_step_in_hand_finish_and_begins_no_other(world: World) -> None:
    node = world.add("a", latency=10)
    execution = world.execution(plan_of(change("m1", "a", "x", "y")))
    async with anyio.create_task_group() as group:
        group.start_soon(stop_after, execution, 5)
        summary = await execution.run()
    assert node.calls == [step_id("m1", "a", "x")]
    assert summary.counts == {"applied": 1, "deferred": 1}
    assert summary.stopped == "Ctrl-C"
    assert world.journal.ledger.in_flight == {}
    assert world.events[1].in_hand == (step_id("m1", "a", "x"),)


async def test_a_stop_does_not_wait_for_a_download(world: World) -> None:
    node = world.add("a")
    world.files.fetch = lambda source, digest: anyio.sleep_forever()  # type: ignore[method-assign, assignment]
    body = {"source": {"url": "https://x/i.tar"}, "digest": "sha256:1"}
    execution = world.execution(plan_of(change("i", "a", "import", args={"body": body})))
    async with anyio.create_task_group() as group:
        group.start_soon(stop_after, execution, 5)
        summary = await execution.run()
    assert summary.seconds == pytest.approx(5, abs=1)
    assert summary.counts == {"deferred": 1}
    assert (node.calls, world.journalled(Intent)) == ([], [])


async def test_what_is_in_hand_after_the_grace_is_unconfirmed(world: World) -> None:
    world.add("a").hanging.add("do")
    execution = world.execution(plan_of(change("m1", "a")))
    async with anyio.create_task_group() as group:
        group.start_soon(stop_after, execution, 5)
        summary = await execution.run()
    assert summary.counts == {"unconfirmed": 1}
    assert summary.seconds == pytest.approx(35, abs=1)
    assert world.journal.ledger.in_flight == {}


async def test_a_cancellation_records_the_outcome_in_hand_before_it_goes_on(world: World) -> None:
    node = world.add("a", latency=10)
    with anyio.move_on_after(5) as scope:
        await world.execute(plan_of(change("m1", "a", "x", "y")))
    assert scope.cancelled_caught
    assert node.calls == [step_id("m1", "a", "x")]
    assert [result.status for result in world.journalled(Result)] == ["applied"]
    assert world.journal.ledger.in_flight == {}


async def test_a_lost_fence_stops_the_handing_out(world: World) -> None:
    node = world.add("a", latency=10)

    async def lose() -> None:
        await anyio.sleep(15)
        world.fence.lose()

    async with anyio.create_task_group() as group:
        group.start_soon(lose)
        summary = await world.execute(plan_of(change("m1", "a", "x", "y", "z")))
    assert node.calls == [step_id("m1", "a", "x"), step_id("m1", "a", "y", 2)]
    assert summary.fence_lost
    assert summary.exit_code == 5


async def test_a_journal_that_cannot_be_written_ends_all_with_its_error(world: World) -> None:
    node = world.add("a")

    def full(entries: object) -> None:
        if len(world.journal.records) > 3:
            raise JournalUnwritable("the disk is full")

    world.journal.on_append = full
    with pytest.raises(JournalUnwritable, match="the disk is full"):
        await world.execute(plan_of(change("m1", "a", "x", "y", "z"), change("m2", "a", "x", "y", "z")))
    assert len(node.calls) < 4


# -- resuming


class Killed(BaseException):
    """As kill -9: nothing catches it."""


async def test_after_a_crash_between_intent_and_outcome_nothing_is_repeated(world: World) -> None:
    node = world.add("a")
    plan = plan_of(change("m1", "a", "x", "y", "z"))

    def die(entries: object) -> None:
        if node.objects.get("m1") == 2:
            raise Killed

    world.journal.on_append = die
    with pytest.raises(BaseExceptionGroup):
        await world.execute(plan)
    world.crash()
    assert len(world.journal.ledger.in_flight) == 1
    summary = await world.execute(plan)
    assert summary.counts == {"unchanged": 2, "applied": 1}
    assert summary.before == 1
    assert node.objects == {"m1": 3}
    assert [call.rpartition(":")[2] for call in node.calls] == ["1-x", "2-y", "2-y", "3-z"]
    assert len(world.journalled(Applied)) == 1


async def test_a_failed_step_is_tried_again_when_the_plan_is_resumed(world: World) -> None:
    node = world.add("a")
    node.failing["y"] = "not yet"
    plan = plan_of(change("m1", "a", "x", "y"))
    await world.execute(plan)
    node.failing.clear()
    summary = await world.execute(plan)
    assert summary.counts == {"unchanged": 1, "applied": 1}


async def test_the_same_plan_made_anew_is_carried_out_anew(world: World) -> None:
    node = world.add("a")
    await world.execute(plan_of(change("m1", "a"), generation=1))
    node.objects["m1"] = 0
    summary = await world.execute(plan_of(change("m1", "a"), generation=2))
    assert summary.counts == {"applied": 1}
    assert node.objects == {"m1": 1}


async def test_resuming_spends_no_budget_twice(world: World) -> None:
    node = world.add("a")
    spent = Spent("destroys", Ref("Machine/acme/m1"), Target("a"))
    plan = plan_of(change("m1", "a", on_intent=(spent,)))
    node.failing["do"] = "busy"
    await world.execute(plan)
    await world.execute(plan)
    assert len(node.calls) == 2
    assert world.journalled(Spent) == [spent]


async def test_an_older_stored_plan_orders_its_writes_after_newer_ones_and_keeps_the_lineage(world: World) -> None:
    world.add("a")
    await world.execute(plan_of(change("m1", "a"), generation=5, commit="newer"))
    await world.execute(plan_of(change("m2", "a"), generation=3, commit="older"))
    last = world.journal.ledger.applied
    assert last is not None
    assert (last.generation, last.revision) == (6, "newer")
    assert world.machines["a"].contexts[-1].generation == 6


async def test_a_plan_of_an_older_revision_keeps_the_lineage(world: World) -> None:
    world.add("a")
    await world.execute(plan_of(change("m1", "a"), generation=5, commit="newer"))
    await world.execute(msgspec.structs.replace(plan_of(generation=6, commit="back"), older=True))
    last = world.journal.ledger.applied
    assert last is not None
    assert last.revision == "newer"


async def test_only_the_named_changes_are_carried_out(world: World) -> None:
    node = world.add("a")
    plan = plan_of(change("m1", "a"), change("m2", "a"))
    execution = world.execution(plan)
    chosen = type(execution)(plan, world.means(), changes={"Machine/acme/m2@a"})
    summary = await chosen.run()
    assert node.calls == [step_id("m2", "a")]
    assert summary.counts == {"applied": 1}


async def test_housekeeping_of_a_plan_is_journalled_when_it_begins_and_not_when_it_is_old(world: World) -> None:
    world.add("a")
    forgotten = Forgotten(Ref("Machine/acme/gone"), Uid("gone"), Target("a"))
    fresh = msgspec.structs.replace(plan_of(change("m1", "a"), generation=1), entries=(forgotten,))
    await world.execute(fresh)
    await world.execute(fresh)
    assert world.journalled(Forgotten) == [forgotten]
    await world.execute(plan_of(change("m2", "a"), generation=2))
    await world.execute(msgspec.structs.replace(plan_of(change("m3", "a"), generation=2), entries=(forgotten,)))
    assert world.journalled(Forgotten) == [forgotten]
