"""Snapshots by a schedule: how long one is kept so that as many are there as asked for."""

from __future__ import annotations

import time

import anyio
import pytest

from drivers.incus.schedules import every, write_minutes
from reconciler.testing.rehearsal import Rehearsal
from reconciler.testing.scene import fresh_name
from tests.drivers.incus.harness import IncusHarness


@pytest.mark.parametrize(
    ("schedule", "minutes"),
    [
        ("* * * * *", 1),
        ("*/15 * * * *", 15),
        ("5-35/10 * * * *", 15),
        ("0 3 * * *", 1440),
        ("0 3,15 * * *", 720),
        ("0 0 * * 0", 10080),
        ("0 0 * * 7", 10080),
        ("0 0 1 * *", 43830),
        ("0 0 1 * 1", 8421),
        ("0 0 1 1 *", 525960),
        ("30/10 * * * *", 20),
    ],
)
def test_time_between_two_of_a_schedule(schedule: str, minutes: int) -> None:
    assert every(schedule) == minutes


@pytest.mark.parametrize("schedule", ["x * * * *", "60 * * * *", "0 0 31 2 *", "0 3", "*/0 * * * *", "5-1 * * * *"])
def test_what_is_no_schedule_is_refused(schedule: str) -> None:
    with pytest.raises(ValueError, match=r"schedule|beyond|never|fields"):
        every(schedule)


def test_time_to_keep_is_spelled_as_the_servers_do() -> None:
    assert [write_minutes(count) for count in (7, 60, 1440, 7 * 1440 + 61)] == ["7M", "1H", "1d", "7d 1H 1M"]


@pytest.mark.real
@pytest.mark.anyio
async def test_server_takes_the_snapshots_and_a_schedule_that_people_wrote_is_theirs(host: IncusHarness) -> None:
    async with Rehearsal(host) as life:
        ours = host.machine(fresh_name("sn"), snapshots={"schedule": "* * * * *", "keep": 2})
        theirs = host.machine(fresh_name("so"))
        life.want(host.image(), host.network(), ours, theirs)
        await life.converge()
        (report,) = await life.observe()
        name = {thing.marks.ref: thing.native_name for thing in report.objects if thing.marks is not None}
        host.daemons.client("config", "set", name[theirs.ref], "snapshots.schedule=0 1 * * *")
        assert not (await life.plan()).changes
        host.daemons.client("config", "set", name[ours.ref], "snapshots.expiry=9d")
        (change,) = (await life.converge()).changes
        assert [step.verb for step in change.steps] == ["update"]
        until = time.monotonic() + 130
        while not (taken := host.daemons.query(f"/1.0/instances/{name[ours.ref]}/snapshots?recursion=1")):
            assert time.monotonic() < until, "no snapshot was taken in two minutes"
            await anyio.sleep(1)
        assert taken[0]["expires_at"] > taken[0]["created_at"]
        life.want(host.image(), host.network(), host.machine(ours.ref.rpartition("/")[2]), theirs)
        await life.converge()
        assert host.daemons.client("config", "get", name[ours.ref], "snapshots.schedule").strip() == ""
        assert host.daemons.client("config", "get", name[theirs.ref], "snapshots.schedule").strip() == "0 1 * * *"
