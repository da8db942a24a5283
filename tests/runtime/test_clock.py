"""The wall clock jumps, hosts boot: nothing is purged on a clock's word alone, and nothing is forgotten (I8)."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from reconciler.core.desired import Policy
from reconciler.core.ledger import Beat, Quarantined, Vouched
from reconciler.runtime.cycle import Attempt, attempt, means_of, prospect
from reconciler.runtime.execute import execute
from tests.builders import machine
from tests.runtime.lab import Lab

pytestmark = pytest.mark.anyio
DAY = 86400.0


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path, policy=Policy(follow="auto", quarantine=int(2 * DAY)))


async def removed(lab: Lab) -> None:
    """A machine was made, and lies in quarantine for two days from now on."""
    lab.commit(machine("a"))
    await attempt(lab.ports, lab.nodes)
    lab.commit()
    await attempt(lab.ports, lab.nodes)
    assert (lab.machines(), there(lab)) == ({}, 1)


def rules(done: Attempt) -> list[str]:
    return [hold.rule for hold in done.prospect.plan.holds]


def there(lab: Lab) -> int:
    return len(lab.fleet.objects("n1", "Machine")) + len(lab.fleet.objects("n2", "Machine"))


async def test_a_leap_forwards_purges_nothing_until_so_much_time_has_really_passed(lab: Lab) -> None:
    await removed(lab)
    lab.clock.jump(30 * DAY)
    done = await attempt(lab.ports, lab.nodes)
    assert (rules(done), there(lab)) == (["clock"], 1)
    assert "2 d of it are not proved" in done.prospect.plan.holds[0].sentence
    lab.clock.advance(1.9 * DAY)
    assert (rules(await attempt(lab.ports, lab.nodes)), there(lab)) == (["clock"], 1)
    lab.clock.advance(0.2 * DAY)
    assert (rules(await attempt(lab.ports, lab.nodes)), there(lab)) == ([], 0)


async def test_a_clock_that_is_put_right_again_keeps_the_quarantine_to_its_real_end(lab: Lab) -> None:
    await removed(lab)
    lab.clock.jump(30 * DAY)
    await attempt(lab.ports, lab.nodes)
    lab.clock.advance(DAY)
    lab.clock.jump(-30 * DAY)
    assert (rules(await attempt(lab.ports, lab.nodes)), there(lab)) == ([], 1)
    lab.clock.advance(0.9 * DAY)
    assert (rules(await attempt(lab.ports, lab.nodes)), there(lab)) == ([], 1)
    lab.clock.advance(0.2 * DAY)
    assert (rules(await attempt(lab.ports, lab.nodes)), there(lab)) == ([], 0)


async def test_a_leap_backwards_only_keeps_things_longer(lab: Lab) -> None:
    await removed(lab)
    lab.clock.jump(-3 * DAY)
    assert (rules(await attempt(lab.ports, lab.nodes)), there(lab)) == ([], 1)
    lab.clock.advance(4.9 * DAY)
    assert (rules(await attempt(lab.ports, lab.nodes)), there(lab)) == ([], 1)
    lab.clock.advance(0.2 * DAY)
    assert (rules(await attempt(lab.ports, lab.nodes)), there(lab)) == ([], 0)


async def test_a_purge_that_was_planned_before_the_clock_was_doubted_is_not_made(lab: Lab) -> None:
    """What another process journalled since: the same thing was restored, and put away again."""
    await removed(lab)
    (away,) = lab.journalled(Quarantined)
    lab.clock.advance(2.1 * DAY)
    nodes = lab.nodes
    due = (await prospect(lab.ports, nodes)).plan
    assert [change.action for change in due.changes] == ["purge"]
    await lab.journal.append([away])
    done = await execute(due, means_of(lab.ports, nodes, lab.want()))
    assert (done.counts, there(lab)) == ({"deferred": 1}, 1)
    assert "2 d of it are not proved" in done.failures[0].reason


async def test_cron_on_a_host_that_reboots_purges_in_time_where_a_time_server_is(lab: Lab) -> None:
    lab.clock.synced = True
    await removed(lab)
    lab.clock.advance(2.1 * DAY)
    lab.clock.reboot()
    assert (rules(await attempt(lab.ports, lab.nodes)), there(lab)) == ([], 0)


async def test_without_one_what_a_boot_has_lasted_adds_up_and_a_person_may_vouch(lab: Lab) -> None:
    await removed(lab)
    lab.clock.advance(2.1 * DAY)
    lab.clock.reboot()
    lab.clock.advance(0.5 * DAY)
    assert (rules(await attempt(lab.ports, lab.nodes)), there(lab)) == (["clock"], 1)
    lab.clock.reboot()
    lab.clock.advance(0.5 * DAY)
    done = await attempt(lab.ports, lab.nodes)
    assert "24 h of it are not proved" in done.prospect.plan.holds[0].sentence
    await lab.journal.append([Vouched("the host was off")])
    assert (rules(await attempt(lab.ports, lab.nodes)), there(lab)) == ([], 0)


async def test_a_day_of_the_loop_at_rest_writes_a_row_an_hour_while_something_rests_and_none_then(lab: Lab) -> None:
    await removed(lab)
    async with lab.looping():
        lab.clock.jump(30 * DAY)
        before = len(lab.journal.records)
        await anyio.sleep(DAY)
        beats = len(lab.journalled(Beat))
        assert 23 <= len(lab.journal.records) - before <= 24
        assert 24 <= beats <= 26, "each row is a beat"
        assert there(lab) == 1
        await anyio.sleep(1.1 * DAY)
        assert there(lab) == 0, "its time has really passed"
        rows = len(lab.journal.records)
        await anyio.sleep(DAY / 4)
        assert len(lab.journal.records) == rows
