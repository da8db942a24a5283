"""Commits, drift, faults and slow nodes at random; once the storm is over, all is as git wants it, and never twice."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import anyio
import pytest

from reconciler.core.desired import Budget, Policy
from reconciler.runtime.loop import Settings
from reconciler.runtime.rounds import Cadence
from tests.builders import GiB, machine
from tests.runtime.lab import Lab

pytestmark = pytest.mark.anyio

EASY = Budget(per_plan=1000, per_day=100_000)
FAULTS = ("fail", "unconfirmed-before", "unconfirmed-after", "slow")


def realised_once(lab: Lab) -> None:
    """Invariant I2, and no address taken twice."""
    live, addresses = Counter[str](), Counter[str]()
    for name in lab.names:
        for found in lab.fleet.objects(name, "Machine"):
            marks = found.object.marks
            if marks is not None and found.object.lifecycle == "live":
                live[marks.ref] += 1
                addresses.update(nic["ip"] for nic in found.object.fields.get("nics", {}).values())
    assert all(count == 1 for count in live.values()), live
    assert all(count == 1 for count in addresses.values()), addresses


async def storm(lab: Lab, chance: random.Random) -> dict[str, int]:
    """Half an hour of it; the memory that is wanted of each machine at the end."""
    wanted: dict[str, int] = {}
    for _ in range(60):
        for _ in range(chance.randrange(4)):
            wanted[f"m{chance.randrange(12)}"] = chance.randrange(1, 4) * GiB
        if wanted and chance.random() < 0.3:
            del wanted[chance.choice(sorted(wanted))]
        lab.commit(*(machine(name, memory=memory) for name, memory in sorted(wanted.items())))
        if chance.random() < 0.5:
            lab.fleet.fail(chance.choice(FAULTS), nth=chance.randrange(1, 4), seconds=chance.randrange(90))
        if chance.random() < 0.3:
            lab.fleet.set_latency(chance.choice(lab.names), {"*": chance.random() * 20})
        if chance.random() < 0.1:
            lab.fleet.break_target(chance.choice(lab.names), chance.choice(("unreachable", "hang", "partial")))
        if chance.random() < 0.2:
            for name in lab.names:
                lab.fleet.repair(name)
        await anyio.sleep(chance.random() * 60)
        realised_once(lab)
    return wanted


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(4, 60))])
async def test_after_a_storm_all_is_as_wanted_and_nothing_was_made_twice(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    policy = Policy(follow="auto", drift="heal", destroys=EASY)
    lab = Lab(tmp_path, 3, policy=policy)
    cadence = Cadence(poll=5, node=60)
    async with lab.looping(Settings(cadence=cadence)) as loop:
        wanted = await storm(lab, chance)
        lab.fleet.disarm()
        for name in lab.names:
            lab.fleet.repair(name)
            lab.fleet.set_latency(name, {})
        newest = lab.source.history[-1].revision.commit
        for _ in range(1440):
            if loop.status.ready and loop.status.revision == newest:
                break
            await anyio.sleep(5)
        status = loop.status
    assert status.ready, status
    assert {ref.rpartition("/")[2] for ref in lab.machines()} == set(wanted)
    for name, memory in wanted.items():
        assert lab.field(f"Machine/acme/{name}", "memory") == memory
    assert lab.journal.ledger.in_flight == {}
    realised_once(lab)
