"""The wall clock jumps, forwards and back: nothing is purged on its word, nothing that is due is forgotten (I8)."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.core.desired import Policy
from reconciler.core.ledger import Ticked
from reconciler.runtime.cycle import Attempt, attempt
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


async def test_a_leap_forwards_purges_nothing_and_is_told(lab: Lab) -> None:
    await removed(lab)
    lab.clock.advance(3 * DAY)
    done = await attempt(lab.ports, lab.nodes)
    assert (rules(done), there(lab)) == (["clock"], 1)
    assert "+3.0 days" in done.prospect.plan.holds[0].sentence
    assert lab.journalled(Ticked) == [Ticked()]


async def test_a_clock_that_is_put_right_again_keeps_the_quarantine_to_its_real_end(lab: Lab) -> None:
    await removed(lab)
    lab.clock.advance(30 * DAY)
    await attempt(lab.ports, lab.nodes)
    lab.clock.advance(-29 * DAY)
    assert (rules(await attempt(lab.ports, lab.nodes)), there(lab)) == ([], 1)
    lab.clock.advance(0.9 * DAY)
    assert (rules(await attempt(lab.ports, lab.nodes)), there(lab)) == ([], 1)
    lab.clock.advance(0.2 * DAY)
    assert rules(await attempt(lab.ports, lab.nodes)) == ["clock"], "the last record is of a day that never was"
    await attempt(lab.ports, lab.nodes)
    assert there(lab) == 0


async def test_a_leap_backwards_only_keeps_things_longer(lab: Lab) -> None:
    await removed(lab)
    lab.clock.advance(-3 * DAY)
    assert (rules(await attempt(lab.ports, lab.nodes)), there(lab)) == ([], 1)
    lab.clock.advance(4.9 * DAY)
    assert (rules(await attempt(lab.ports, lab.nodes)), there(lab)) == ([], 1)


async def test_a_clock_that_did_not_jump_purges_in_time(lab: Lab) -> None:
    await removed(lab)
    lab.clock.advance(1.5 * DAY)
    await lab.journal.append([Ticked()])
    lab.clock.advance(0.6 * DAY)
    assert (rules(await attempt(lab.ports, lab.nodes)), there(lab)) == ([], 0)
