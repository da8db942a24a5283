from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from reconciler.core.desired import Behaviour, Lineage, Policy, Resource, Update
from reconciler.core.ledger import Applied, Intent, Paused
from reconciler.core.rules import Request
from reconciler.errors import Diagnostic, FenceLost, JournalUnwritable, SourceUnreadable, SpecErrors, TryLater
from reconciler.runtime.cycle import attempt, prospect
from reconciler.runtime.events import StepEnded, StepStarted
from reconciler.runtime.loop import Settings
from reconciler.runtime.rounds import Cadence
from tests.builders import GiB, machine
from tests.runtime.lab import Lab, on, until

pytestmark = pytest.mark.anyio
DAY = 86_400.0
MISTAKE = SpecErrors((Diagnostic("web.yaml", 3, 1, "spec.memory", "a unit is due"),))


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


async def test_a_commit_becomes_running_machines(lab: Lab) -> None:
    lab.commit(machine("a"), machine("b"))
    async with lab.looping() as loop:
        await until(lambda: len(lab.machines()) == 2 and loop.status.ready, within=60)
        assert loop.status.nodes[0].seen > 0
        assert not loop.status.reconciling


async def test_a_later_commit_is_noticed_by_polling(lab: Lab) -> None:
    lab.commit(machine("a"))
    async with lab.looping():
        await until(lambda: lab.machines())
        lab.commit(machine("a", memory=2 * GiB))
        took = await until(lambda: lab.field("Machine/acme/a", "memory") == 2 * GiB)
    assert took <= 33 + 1


async def test_a_hint_makes_it_notice_at_once(lab: Lab) -> None:
    lab.commit(machine("a"))
    hints, hinted = anyio.create_memory_object_stream[str](1)

    async def watching() -> AsyncIterator[str]:
        async for hint in hinted:
            yield hint

    async with hints, hinted, lab.looping(watching=watching) as loop:
        await until(lambda: lab.machines())
        await until(lambda: loop.status.ready)
        lab.commit(machine("a", memory=2 * GiB))
        await hints.send("refs")
        took = await until(lambda: lab.field("Machine/acme/a", "memory") == 2 * GiB)
        assert took <= 1


async def test_a_quiet_day_writes_nothing_and_asks_each_node_in_its_time(lab: Lab) -> None:
    lab.commit(machine("a"))
    async with lab.looping() as loop:
        await until(lambda: loop.status.ready)
        written, cycles = len(lab.journal.records), loop.status.cycles
        await anyio.sleep(DAY)
        assert len(lab.journal.records) == written
        assert DAY / 33 <= loop.status.cycles - cycles <= DAY / 27 + 2 * DAY / 270
        assert all(lab.clock.now() - each.seen <= 331 for each in loop.status.nodes)


async def test_drift_is_healed_when_the_node_is_asked_next(lab: Lab) -> None:
    lab.commit(on("a", "n1"))
    async with lab.looping():
        await until(lambda: lab.machines())
        lab.fleet.drift("n1", "Machine/acme/a", "/memory", 5)
        took = await until(lambda: lab.field("Machine/acme/a", "memory") == GiB)
    assert took <= 335


async def test_drift_is_reported_and_left_where_the_policy_says_so(lab: Lab) -> None:
    lab.commit(on("a", "n1"), policy=Policy(follow="auto", drift="report"))
    async with lab.looping() as loop:
        await until(lambda: loop.status.ready)
        lab.fleet.drift("n1", "Machine/acme/a", "/memory", 5)
        loop.converge()
        await anyio.sleep(3600)
        assert lab.field("Machine/acme/a", "memory") == 5
        assert loop.status.cycle is not None
        assert loop.status.cycle.holds == 1


async def test_converge_looks_at_once_however_often_it_is_called(lab: Lab) -> None:
    lab.commit(on("a", "n1"))
    async with lab.looping() as loop:
        await until(lambda: loop.status.ready)
        lab.fleet.drift("n1", "Machine/acme/a", "/memory", 5)
        cycles = loop.status.cycles
        for _ in range(100):
            loop.converge("by hand")
        took = await until(lambda: lab.field("Machine/acme/a", "memory") == GiB)
        assert took <= 2
        assert loop.status.cycles - cycles <= 8


# -- nodes in trouble


async def settled(lab: Lab, *machines: object) -> None:
    """A fleet at rest, all of it covered."""
    lab.commit(*machines)  # type: ignore[arg-type]
    for _ in range(3):
        done = await attempt(lab.ports, lab.nodes)
    assert done.prospect.plan.changes == ()


@pytest.mark.parametrize("how", ["unreachable", "hang"])
async def test_a_dead_node_delays_no_other(lab: Lab, how: str) -> None:
    await settled(lab, on("a", "n1"), on("b", "n2"))
    lab.fleet.break_target("n2", how)
    lab.commit(on("a", "n1", memory=2 * GiB), on("b", "n2", memory=2 * GiB))
    async with lab.looping() as loop:
        took = await until(lambda: lab.field("Machine/acme/a", "memory") == 2 * GiB)
        assert took <= 6
        await until(lambda: any(each.problem for each in loop.status.nodes))
        assert not loop.status.ready
        assert lab.field("Machine/acme/b", "memory") == GiB
        lab.fleet.repair("n2")
        await until(lambda: lab.field("Machine/acme/b", "memory") == 2 * GiB, within=700)


async def test_a_step_that_hangs_holds_up_only_its_own_lane(lab: Lab) -> None:
    await settled(lab, on("a", "n1"), on("b", "n2"))
    lab.fleet.fail("hang-before", target="n2", times=0)
    lab.commit(on("a", "n1", memory=2 * GiB), on("b", "n2", memory=2 * GiB))
    async with lab.looping() as loop:
        assert await until(lambda: lab.field("Machine/acme/a", "memory") == 2 * GiB) <= 2
        lab.commit(on("a", "n1", memory=3 * GiB), on("b", "n2", memory=2 * GiB))
        loop.converge()
        assert await until(lambda: lab.field("Machine/acme/a", "memory") == 3 * GiB) <= 2
        busy = {each.name: each.busy for each in loop.status.nodes}
        assert busy == {"n1": 0, "n2": 1}
        lab.fleet.disarm()
        await until(lambda: lab.field("Machine/acme/b", "memory") == 2 * GiB)


async def test_a_slow_node_is_waited_for_by_nobody_else(lab: Lab) -> None:
    await settled(lab, on("a", "n1"), on("b", "n2"))
    lab.fleet.set_latency("n2", {"*": 25.0})
    lab.commit(on("a", "n1", memory=2 * GiB), on("b", "n2", memory=2 * GiB))
    async with lab.looping():
        assert await until(lambda: lab.field("Machine/acme/a", "memory") == 2 * GiB) <= 6
        assert await until(lambda: lab.field("Machine/acme/b", "memory") == 2 * GiB) >= 25


async def test_a_change_that_fails_is_tried_less_and_less(lab: Lab) -> None:
    await settled(lab, on("a", "n1"))
    lab.fleet.fail("fail", verb="update", times=0)
    lab.commit(on("a", "n1", memory=2 * GiB))
    async with lab.looping() as loop:
        await anyio.sleep(3600)
        first = len(lab.told(StepStarted))
        assert 9 <= first <= 16
        assert loop.status.reconciling
        await anyio.sleep(3600)
        assert 5 <= len(lab.told(StepStarted)) - first <= 8
        lab.fleet.disarm()
        await until(lambda: lab.field("Machine/acme/a", "memory") == 2 * GiB, within=700)


async def test_another_commit_starts_the_patience_afresh(lab: Lab) -> None:
    await settled(lab, on("a", "n1"))
    lab.fleet.fail("fail", verb="update", times=0)
    lab.commit(on("a", "n1", memory=2 * GiB))
    async with lab.looping():
        await anyio.sleep(3600)
        lab.fleet.disarm()
        lab.commit(on("a", "n1", memory=3 * GiB))
        assert await until(lambda: lab.field("Machine/acme/a", "memory") == 3 * GiB) <= 35


async def test_a_fight_with_a_tool_that_undoes_it_at_once_cools_down(lab: Lab) -> None:
    await settled(lab, on("a", "n1"))
    lab.fleet.set_latency("n1", {"observe": 1.0})
    async with lab.looping(Settings(cadence=Cadence(node=5))) as loop:
        await until(lambda: loop.status.ready)
        lab.events.clear()

        async def fight() -> None:
            while True:
                if lab.field("Machine/acme/a", "memory") == GiB:
                    lab.fleet.drift("n1", "Machine/acme/a", "/memory", 5)
                await anyio.sleep(0.5)

        with anyio.move_on_after(1800):
            await fight()
        assert 5 <= len(lab.told(StepEnded)) <= 20


# -- the source in trouble


async def test_a_commit_that_does_not_validate_leaves_the_last_good_one_in_force(lab: Lab) -> None:
    lab.commit(on("a", "n1"))
    async with lab.looping() as loop:
        await until(lambda: loop.status.ready)
        lab.source.error = MISTAKE
        lab.fleet.drift("n1", "Machine/acme/a", "/memory", 5)
        await until(lambda: lab.field("Machine/acme/a", "memory") == GiB)
        await anyio.sleep(60)
        assert "a unit is due" in loop.status.stalled[0]
        assert not loop.status.ready
        lab.source.error = None
        await until(lambda: loop.status.ready and not loop.status.stalled)


async def test_a_source_that_never_answered_is_asked_again_with_patience(lab: Lab) -> None:
    lab.commit(on("a", "n1"))
    lab.source.error = SourceUnreadable("no such host")
    async with lab.looping() as loop:
        await anyio.sleep(30)
        assert loop.status.stalled == ("no such host",)
        lab.source.error = None
        await until(lambda: lab.machines(), within=60)


async def test_a_source_that_hangs_is_told(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    await settled(lab, on("a", "n1"))
    load, answers = lab.source.load, anyio.Event()

    async def hangs(*about: Any, **more: Any) -> Any:
        if loop.status.ready:
            await answers.wait()
        return await load(*about, **more)

    monkeypatch.setattr(lab.source, "load", hangs)
    async with lab.looping() as loop:
        await until(lambda: loop.status.ready)
        await until(lambda: loop.status.stalled == ("the source has not answered for 60 s",))
        assert not loop.status.ready
        answers.set()
        await until(lambda: loop.status.ready, within=10)


async def test_a_history_that_cannot_be_read_now_is_a_problem_and_no_end(lab: Lab) -> None:
    lab.commit(on("a", "n1"))
    readable = lab.source.lineage

    async def unreadable(*more: object) -> Lineage:
        raise SourceUnreadable("the object store is busy")

    lab.source.lineage = unreadable  # type: ignore[method-assign]
    async with lab.looping() as loop:
        await anyio.sleep(60)
        assert loop.status.stalled == ("the object store is busy",)
        lab.source.lineage = readable  # type: ignore[method-assign]
        await until(lambda: loop.status.ready)


# -- switches, and plans that people hand over


async def test_where_git_waits_for_approval_the_loop_changes_nothing_by_itself(lab: Lab) -> None:
    lab.commit(on("a", "n1"), policy=Policy(follow="approve"))
    async with lab.looping() as loop:
        await anyio.sleep(600)
        assert lab.machines() == {}
        approved = await prospect(lab.ports, lab.nodes, request=Request(now=0))
        summary = await loop.apply(approved.plan)
        assert summary.whole, summary.failures
        assert set(lab.machines()) == {"Machine/acme/a"}


async def test_healing_drift_does_not_move_the_lineage(lab: Lab) -> None:
    await settled(lab, on("a", "n1"))
    before = lab.journal.ledger.applied
    lab.commit(on("a", "n1"), on("b", "n1"), policy=Policy(follow="approve", drift="heal"))
    lab.fleet.drift("n1", "Machine/acme/a", "/memory", 5)
    async with lab.looping():
        await until(lambda: lab.field("Machine/acme/a", "memory") == GiB)
        after = lab.journal.ledger.applied
        assert before is not None
        assert after is not None
        assert (after.revision, after.tree) == (before.revision, before.tree)
        assert after.generation > before.generation


async def test_a_plan_that_was_handed_over_waits_for_its_nodes(lab: Lab) -> None:
    await settled(lab, on("a", "n1"))
    lab.fleet.set_latency("n1", {"update": 50.0})
    lab.commit(on("a", "n1", memory=2 * GiB))
    async with lab.looping() as loop:
        await until(lambda: lab.told(StepStarted))
        approved = await prospect(lab.ports, lab.nodes, request=Request(now=0))
        heard: list[object] = []
        summary = await loop.apply(approved.plan, heard.append)
        assert [type(event).__name__ for event in heard if "node" not in type(event).__name__.lower()]
        assert summary.counts in ({"unchanged": 1}, {"deferred": 1})
    assert lab.told(StepEnded)[0].step.endswith("1-update")


async def test_work_goes_on_when_the_one_who_listened_is_gone(lab: Lab) -> None:
    await settled(lab, on("a", "n1"))
    lab.commit(on("a", "n1", memory=2 * GiB), policy=Policy(follow="approve"))
    approved = await prospect(lab.ports, lab.nodes, request=Request(now=0))

    def gone(event: object) -> None:
        raise BrokenPipeError

    async with lab.looping() as loop:
        assert (await loop.apply(approved.plan, gone)).whole
    assert lab.field("Machine/acme/a", "memory") == 2 * GiB


async def test_what_people_note_counts_in_the_next_plan(lab: Lab) -> None:
    await settled(lab, on("a", "n1"))
    async with lab.looping() as loop:
        await until(lambda: loop.status.ready)
        until_then = lab.clock.now() + 300
        await loop.note([Paused("Machine/acme/a", until_then, "looking at it")])
        lab.fleet.drift("n1", "Machine/acme/a", "/memory", 5)
        loop.converge()
        await until(lambda: loop.status.cycle is not None and loop.status.cycle.holds == 1)
        await until(lambda: lab.field("Machine/acme/a", "memory") == GiB, within=4000)
        assert lab.clock.now() >= until_then


async def test_a_plan_handed_to_a_stopped_loop_is_refused(lab: Lab) -> None:
    await settled(lab, on("a", "n1"))
    plan = (await prospect(lab.ports, lab.nodes)).plan
    async with lab.looping() as loop:
        loop.stop("stopping")
        with pytest.raises(TryLater):
            await loop.apply(plan)


# -- endings and beginnings


async def test_stopping_leaves_nothing_half_known(lab: Lab) -> None:
    await settled(lab, on("a", "n1"))
    lab.fleet.set_latency("n1", {"*": 10.0})
    lab.commit(on("a", "n1", memory=2 * GiB), on("b", "n1"))
    async with lab.looping() as loop:
        await until(lambda: lab.told(StepStarted))
        loop.stop("SIGTERM")
    assert lab.journal.ledger.in_flight == {}
    assert lab.field("Machine/acme/a", "memory") == 2 * GiB


async def test_stopping_begins_no_more_though_the_source_hangs(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    await settled(lab, on("a", "n1"))
    lab.fleet.set_latency("n1", {"*": 5.0})
    lab.commit(*(on(f"m{number}", "n1") for number in range(20)), on("a", "n1"))
    load = lab.source.load

    async def hangs(*about: Any, **more: Any) -> Any:
        if lab.told(StepStarted):
            with anyio.CancelScope(shield=True):  # as a thread does, in which git waits for a remote
                await anyio.sleep(300)
        return await load(*about, **more)

    monkeypatch.setattr(lab.source, "load", hangs)
    async with lab.looping(Settings(cadence=Cadence(poll=1.0))) as loop:
        await until(lambda: lab.told(StepStarted))
        await anyio.sleep(5)
        loop.stop("SIGTERM")
        await anyio.sleep(0.01)
        begun = len(lab.told(StepStarted))
        await until(lambda: not loop.executing)
    assert len(lab.told(StepStarted)) == begun < 40
    assert lab.journal.ledger.in_flight == {}


async def test_a_cancelled_loop_records_what_was_in_hand(lab: Lab) -> None:
    await settled(lab, on("a", "n1"))
    lab.fleet.set_latency("n1", {"update": 10.0})
    lab.commit(on("a", "n1", memory=2 * GiB))
    with anyio.move_on_after(10) as scope:
        await lab.loop().run()
    assert scope.cancelled_caught
    assert lab.journal.ledger.in_flight == {}


async def test_a_loop_that_lost_the_fence_ends_with_that_error(lab: Lab) -> None:
    lab.commit(on("a", "n1"))
    loop = lab.loop()

    async def lose() -> None:
        await until(lambda: loop.status.ready)
        lab.fence.lose()

    async with anyio.create_task_group() as group:
        group.start_soon(lose)
        with pytest.raises(FenceLost):
            await loop.run()


async def test_a_node_that_saw_a_higher_fence_ends_the_loop(lab: Lab) -> None:
    await settled(lab, on("a", "n1"))
    lab.fleet.claim("n1", lab.want().datacenter_id, fence=9)
    with pytest.raises(FenceLost, match="n1 was written to with fence 9, ours is 1"):
        await lab.loop().run()
    with pytest.raises(FenceLost):
        await attempt(lab.ports, lab.nodes)


def rolling(count: int, memory: int, **update: Any) -> list[Resource]:
    """A replicated group on n1 and n2 in turn."""
    behaviour = Behaviour(update=Update(group="web", **update))
    body = {"ready": {"tcp": 80, "within": 60}}
    return [on(f"web-{n}", f"n{1 + n % 2}", memory=memory, behaviour=behaviour, body=body) for n in range(1, count + 1)]


async def test_a_canary_that_does_not_get_ready_stops_the_group_and_is_tried_again(lab: Lab) -> None:
    await settled(lab, *rolling(5, GiB, canary=1, batch=2))
    lab.fleet.set_gauges("n2", "Machine/acme/web-1", ready=False)
    lab.commit(*rolling(5, 2 * GiB, canary=1, batch=2), on("other", "n1"))
    async with lab.looping() as loop:
        await until(lambda: "Machine/acme/other" in lab.machines())
        await anyio.sleep(1800)
        sizes = [lab.field(f"Machine/acme/web-{n}", "memory") // GiB for n in range(1, 6)]
        assert sizes == [2, 1, 1, 1, 1]
        lab.fleet.set_gauges("n2", "Machine/acme/web-1", ready=True)
        await until(lambda: loop.status.ready, within=1300)
    assert lab.field("Machine/acme/web-5", "memory") == 2 * GiB


async def test_a_pause_between_batches_holds_up_nothing_else(lab: Lab) -> None:
    await settled(lab, *rolling(4, GiB, batch=2, pause=1800))
    lab.commit(*rolling(4, 2 * GiB, batch=2, pause=1800))
    async with lab.looping() as loop:
        await until(lambda: lab.field("Machine/acme/web-1", "memory") == 2 * GiB)
        lab.commit(*rolling(4, 2 * GiB, batch=2, pause=1800), on("other", "n1"), on("another", "n2"))
        await until(lambda: len(lab.machines()) == 6, within=60)
        assert lab.field("Machine/acme/web-4", "memory") == GiB
        took = await until(lambda: loop.status.ready, within=3600)
        assert took >= 1500
    assert lab.field("Machine/acme/web-4", "memory") == 2 * GiB


async def test_a_journal_that_cannot_be_written_ends_the_loop(lab: Lab) -> None:
    lab.commit(on("a", "n1"))

    def full(entries: object) -> None:
        raise JournalUnwritable("the disk is full")

    lab.journal.on_append = full
    with pytest.raises(JournalUnwritable):
        await lab.loop().run()


async def test_what_a_crash_left_in_flight_is_resumed_first(lab: Lab) -> None:
    await settled(lab, on("a", "n1"))
    lab.commit(on("a", "n1", memory=2 * GiB))
    plan = (await prospect(lab.ports, lab.nodes)).plan
    await lab.plans.save(plan)
    step = plan.steps[0]
    applied = Applied(plan.digest, plan.generation, 1, str(plan.commit), plan.tree, "main", "", "repo")
    await lab.journal.append([applied, Intent(plan.digest, step.id, step.target, step.ref, step.uid)])
    lab.journal = lab.journal.reopened()
    async with lab.looping() as loop:
        await until(lambda: loop.status.ready)
        assert lab.told(StepStarted)[0].step == step.id
        assert lab.journal.ledger.in_flight == {}
    assert lab.field("Machine/acme/a", "memory") == 2 * GiB


async def test_a_node_that_was_added_is_asked_and_used(lab: Lab) -> None:
    lab.commit(on("a", "n1"))
    async with lab.looping() as loop:
        await until(lambda: loop.status.ready)
        lab.fleet.add_node("n3")
        lab.names.append("n3")
        lab.commit(on("a", "n1"), on("c", "n3"))
        await until(lambda: "Machine/acme/c" in lab.machines())


async def test_what_changes_without_a_commit_is_noticed(lab: Lab) -> None:
    """The value of a secret: the body's keyed digest is another, the revision is the same."""
    first = lab.commit(on("a", "n1", body={"metadata": {"password": {"secret": "db", "keyed": "1"}}}))
    lab.secrets.values = {"db": "hunter2"}
    async with lab.looping() as loop:
        await until(lambda: loop.status.ready)
        later = lab.want(on("a", "n1", body={"metadata": {"password": {"secret": "db", "keyed": "2"}}}))
        lab.source.commit(msgspec.structs.replace(later, revision=first.revision))
        await until(lambda: lab.field("Machine/acme/a", "metadata") == {"password": "secret:db:2"}, within=40)
