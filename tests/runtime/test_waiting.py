"""The arithmetic of waiting: triggers, backoff, jitter, patience, and what can begin."""

from __future__ import annotations

import anyio
import msgspec
import pytest

from reconciler.core.plan import Verdict
from reconciler.runtime.dispatch import choose, groups
from reconciler.runtime.retries import Retries
from reconciler.runtime.triggers import Reasons, Trigger, backoff, jittered
from tests.runtime.worlds import change, gate, step_id


def retries() -> Retries:
    return Retries(first=2, longest=600, jitter=0, random=lambda: 0.5)


def test_backoff_doubles_up_to_the_longest() -> None:
    assert [backoff(n, first=2, longest=20) for n in (1, 2, 3, 4, 5, 1000)] == [2, 4, 8, 16, 20, 20]


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 90), (0.5, 100), (1.0, 110)])
def test_jitter_spreads_evenly_round_the_middle(chance: float, seconds: float) -> None:
    assert jittered(100, 0.1, lambda: chance) == pytest.approx(seconds)


@pytest.mark.anyio
async def test_triggers_that_come_together_begin_one_cycle() -> None:
    reasons = Reasons()
    for _ in range(100):
        reasons.add(Trigger("poll"))
    reasons.add(Trigger("watch", "refs/heads/main"))
    assert await reasons.wait() == (Trigger("poll"), Trigger("watch", "refs/heads/main"))
    with anyio.move_on_after(1) as scope:
        await reasons.wait()
    assert scope.cancelled_caught


@pytest.mark.anyio
async def test_a_trigger_wakes_the_one_who_waits() -> None:
    reasons = Reasons()
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 5)
        group.start_soon(reasons.wait)
        await anyio.sleep(1)
        reasons.add(Trigger("converge", "by hand"))
    assert str(Trigger("converge", "by hand")) == "converge by hand"


def test_a_change_waits_longer_after_each_attempt() -> None:
    patience, wanted = retries(), change("a", "n1")
    waits = []
    for _ in range(4):
        patience.tried(wanted, now=0)
        due = patience.next_due(0)
        assert due is not None
        waits.append(due)
        assert patience.waits(wanted, due - 0.1)
        assert not patience.waits(wanted, due)
    assert waits == [2, 4, 8, 16]


def test_another_content_is_another_change() -> None:
    patience, wanted = retries(), change("a", "n1")
    patience.tried(wanted, now=0)
    assert not patience.waits(msgspec.structs.replace(wanted, after={"memory": 2}), 0)


def test_a_change_that_is_wanted_no_more_is_forgotten() -> None:
    patience, wanted = retries(), change("a", "n1")
    patience.tried(wanted, now=0)
    patience.keep([])
    assert not patience.waits(wanted, 0)
    assert patience.next_due(0) is None


def test_changes_that_wait_for_each_other_stay_together() -> None:
    a, b = change("a", "n1"), change("b", "n2", needs=(step_id("a", "n1"),))
    c, d = change("c", "n3", gates=gate(step_id("b", "n2"))), change("d", "n1")
    assert groups([d, a, c, b]) == [(d,), (a, c, b)]


def test_a_busy_node_postpones_whole_groups_and_no_others() -> None:
    a, b, c = change("a", "n1"), change("b", "n2", needs=(step_id("a", "n1"),)), change("c", "n3")
    found = choose(
        [a, b, c], free=lambda each: each.target != "n2", settled=lambda target: True, waits=lambda each: False
    )
    assert (found.now, found.postponed) == ((c.id,), (a.id, b.id))


def test_a_node_that_was_not_read_since_our_last_write_postpones() -> None:
    a, b = change("a", "n1"), change("b", "n2")
    found = choose([a, b], free=lambda each: True, settled=lambda target: target == "n2", waits=lambda each: False)
    assert (found.now, found.postponed) == ((b.id,), (a.id,))


def test_what_is_uncertain_is_never_made_unattended() -> None:
    a = msgspec.structs.replace(change("a", "n1"), verdict=Verdict.UNCERTAIN)
    found = choose([a], free=lambda each: True, settled=lambda target: True, waits=lambda each: False)
    assert (found.now, found.unsure) == ((), (a.id,))
