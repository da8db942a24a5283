"""The kit: what the driver sees is what is there, and what it cannot see it calls unknown.

Owns: observation: drift, partial listings, wrong nodes, copied marks, unmanaged things.
Must not go here: changes (life, steps), who may write (guard).
"""

from __future__ import annotations

from unittest import SkipTest

import msgspec

from reconciler.core.observed import Told, Unchanged
from reconciler.core.plan import Action, Expect, Manner
from reconciler.core.values import canonical, find
from reconciler.driver import NodeUnreachable
from reconciler.driver.prompt import Prompt, Tells
from reconciler.testing.conformance.expect import at_rest, made, refused
from reconciler.testing.harness import Harness
from reconciler.testing.scene import Scene


async def test_report_is_dated_whole_and_the_same_twice(harness: Harness) -> None:
    async with Scene(harness) as scene:
        await made(scene)
        first = await scene.look(began=7)
        assert (first.began, first.complete, first.problem) == (7, True, None)
        assert first.identity
        assert first.claim is not None
        assert (first.claim.datacenter, first.claim.identity) == (harness.datacenter, first.identity)
        second = await scene.look(began=8)
        assert second.began == 8
        assert second.digest == first.digest
        assert second.objects == first.objects


async def test_known_digest_may_be_answered_with_unchanged(harness: Harness) -> None:
    async with Scene(harness) as scene:
        wanted, _ = await made(scene)
        known = await scene.look()
        answers = await scene.driver.observe(began=9, since={known.target: known.digest})
        (answer,) = [each for each in answers if each.target == known.target]
        assert (answer.began, answer.digest) == (9, known.digest)
        await scene.run(scene.removal(await scene.there(scene.uid(wanted.ref)), Action.DESTROY))
        answers = await scene.driver.observe(began=10, since={known.target: known.digest})
        (answer,) = [each for each in answers if each.target == known.target]
        assert not isinstance(answer, Unchanged)
        assert answer.digest != known.digest


async def test_who_promises_to_answer_at_once_waits_for_nothing(harness: Harness) -> None:
    async with Scene(harness) as scene:
        _, found = await made(scene)
        promising = scene.driver
        if not isinstance(promising, Prompt) or not promising.prompt():
            raise SkipTest("the driver does not promise to answer at once")
        asking = promising.observe(began=7)
        try:
            asked = asking.send(None)  # one step of the coroutine, in no loop: it has to be the last
        except StopIteration as done:
            (report,) = [each for each in done.value if each.target == harness.target]
            assert found.native_id in {thing.native_id for thing in report.objects}
        else:
            asking.close()
            raise AssertionError(f"it waits for {asked!r}")


async def test_who_leaves_objects_unread_tells_what_it_reports(harness: Harness) -> None:
    async with Scene(harness) as scene:
        await made(scene)
        telling = scene.driver
        if not isinstance(telling, Tells):
            raise SkipTest("the driver reads what it keeps")
        known, told = await scene.look(), [each for each in await telling.tell(7) if isinstance(each, Told)]
        assert [each.opened() for each in told] == list(await scene.driver.observe(began=7))
        assert all(each.written == tuple(map(canonical, each.opened().objects)) for each in told)
        (answer,) = [
            each for each in await telling.tell(8, {known.target: known.digest}) if each.target == known.target
        ]
        assert (answer if isinstance(answer, Unchanged) else answer.report).digest == known.digest


async def test_objects_digest_changes_with_what_it_says(harness: Harness) -> None:
    async with Scene(harness) as scene:
        wanted, found = await made(scene)
        assert found.marks is not None
        await scene.run(scene.change(wanted, found, protected=True))
        assert (await scene.there(found.marks.uid)).digest != found.digest


async def test_drift_of_each_field_is_seen_and_healed(harness: Harness) -> None:
    drifts = harness.drifts()
    if not drifts:
        raise SkipTest("the harness names no drifts")
    for path, value in drifts.items():
        async with Scene(harness) as scene:
            wanted, found = await made(scene)
            assert found.marks is not None
            before = await scene.look()
            await harness.hand_set(await scene.there(found.marks.uid), path, value)
            report = await scene.look()
            seen = await scene.there(found.marks.uid)
            assert report.digest != before.digest, f"{path} was changed by hand, and nobody saw it"
            assert find(seen.fields, path) == value
            change = scene.change(wanted, seen)
            (difference,) = change.differences
            assert difference.path == path
            if difference.manner not in (Manner.IMPOSSIBLE, Manner.REPLACE):
                await at_rest(scene, wanted, await scene.run(change))


async def test_machine_stopped_by_hand_is_seen_and_healed(harness: Harness) -> None:
    async with Scene(harness) as scene:
        wanted, found = await made(scene)
        await harness.hand_stop(found)
        assert found.marks is not None
        seen = await scene.there(found.marks.uid)
        assert seen.fields["state"] == "stopped"
        await at_rest(scene, wanted, await scene.converge(wanted))


async def test_machine_deleted_by_hand_is_gone(harness: Harness) -> None:
    async with Scene(harness) as scene:
        _, found = await made(scene)
        await harness.hand_delete(found)
        assert found.marks is not None
        assert await scene.find(found.marks.uid) is None
        assert (await scene.look()).complete


async def test_listing_cut_short_is_not_complete(harness: Harness) -> None:
    async with Scene(harness) as scene:
        _, found = await made(scene)
        async with harness.partial_listing(found):
            report = await scene.look()
            assert not report.complete
            assert report.problem
            assert found.native_id not in {thing.native_id for thing in report.objects}
        assert (await scene.look()).complete


async def test_field_that_cannot_be_read_is_unknown(harness: Harness) -> None:
    async with Scene(harness) as scene:
        _, found = await made(scene)
        assert found.marks is not None
        async with harness.unreadable(found, "/memory"):
            seen = await scene.there(found.marks.uid)
            assert seen.unknown.get("/memory")
            (stop, *_) = scene.removal(found, Action.DESTROY).steps
            proof = Expect("live", {"/memory": found.fields.get("memory"), "/state": "running"})
            outcome = await scene.apply(msgspec.structs.replace(stop, precondition=proof))
            assert outcome.status == "deferred", outcome
        assert not (await scene.there(found.marks.uid)).unknown


async def test_node_that_does_not_answer_is_unknown_as_a_whole(harness: Harness) -> None:
    async with Scene(harness) as scene:
        _, found = await made(scene)
        (stop, *_) = scene.removal(found, Action.DESTROY).steps
        async with harness.unreachable():
            problem = await _silence(scene)
            assert problem, "it says in words why it knows nothing"
            outcome = await scene.apply(stop)
            assert outcome.status in ("failed", "unconfirmed", "deferred"), outcome
        assert found.marks is not None
        assert (await scene.there(found.marks.uid)).fields["state"] == "running"


async def _silence(scene: Scene) -> str:
    """Either the driver says that the node cannot be asked, or its report says nothing at all."""
    try:
        report = await scene.look()
    except NodeUnreachable as error:
        return str(error)
    assert (report.complete, report.identity, report.objects) == (False, None, ())
    return report.problem or ""


async def test_another_node_in_its_place_is_told_and_left_alone(harness: Harness) -> None:
    async with Scene(harness) as scene:
        _, found = await made(scene)
        create = scene.change(scene.fresh(), None).steps[0]
        (stop, *_) = scene.removal(found, Action.DESTROY).steps
        known = await scene.look()
        async with harness.another_node():
            report = await scene.look()
            assert report.identity != known.identity
            assert report.claim is None or report.claim.identity != report.identity
            for step in (create, stop):
                await refused(scene, step)
        assert found.marks is not None
        assert (await scene.there(found.marks.uid)).fields["state"] == "running"


async def test_node_without_its_mark_is_told_and_left_alone(harness: Harness) -> None:
    async with Scene(harness) as scene:
        _, found = await made(scene)
        create = scene.change(scene.fresh(), None).steps[0]
        (stop, *_) = scene.removal(found, Action.DESTROY).steps
        async with harness.unclaimed():
            assert (await scene.look()).claim is None
            for step in (create, stop):
                await refused(scene, step)


async def test_copied_marks_do_not_count(harness: Harness) -> None:
    async with Scene(harness) as scene:
        wanted, found = await made(scene)
        native = await harness.hand_copy(found)
        assert found.marks is not None
        assert (await scene.there(found.marks.uid)).native_id == found.native_id
        copies = [thing for thing in (await scene.look()).objects if thing.native_name == native]
        assert [copy.marks for copy in copies] == [None], "a copy is listed, and is nobody's"
        await scene.run(scene.removal(found, Action.DESTROY))
        assert native in {thing.native_name for thing in (await scene.look()).objects}
        await at_rest(scene, wanted, await scene.converge(wanted))


async def test_unmanaged_machine_is_listed_and_never_touched(harness: Harness) -> None:
    async with Scene(harness) as scene:
        native = await harness.hand_unmanaged("stranger")
        (before,) = [thing for thing in (await scene.look()).objects if thing.native_name == native]
        assert before.marks is None
        wanted, found = await made(scene)
        await scene.run(scene.removal(found, Action.DESTROY))
        await scene.converge(wanted)
        (after,) = [thing for thing in (await scene.look()).objects if thing.native_name == native]
        assert after == before


async def test_machine_that_never_becomes_ready_fails_that_step_alone(harness: Harness) -> None:
    async with Scene(harness) as scene:
        wanted = scene.fresh(ready={"tcp": 9, "within": 0.2})
        change = scene.change(wanted, None)
        *steps, ready = change.steps
        assert ready.verb == "ready"
        for step in steps:
            await scene.proved(step)
        async with harness.never_ready(await scene.there(change.uid)):
            outcome = await scene.apply(ready)
            assert outcome.status == "failed", outcome
        found = await scene.there(change.uid)
        assert found.fields["state"] == "running"
        assert found.marks is not None
        assert found.marks.applied != scene.change(wanted, found).steps[-1].effect.applied, "it is not at rest"
