"""What a step asks a server for: no list that makes no difference to it."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.core.plan import Action, Change, Step
from reconciler.testing.conformance.expect import at_rest, made
from reconciler.testing.scene import Scene, edited
from tests.drivers.incus.harness import IncusHarness

pytestmark = [pytest.mark.anyio, pytest.mark.real]
NETWORKS, VOLUMES = "GET /1.0/networks?", "/volumes/custom?"


async def _asked(scene: Scene, host: IncusHarness, *steps: Step) -> set[str]:
    """Which of the two lists the server was asked for while the steps were applied, each by a fresh driver."""
    with host.proxy.overheard() as said:
        for step in steps:
            await scene.reopen()
            outcome = await scene.apply(step)
            assert outcome.status == "applied", f"{step.id}: {outcome}"
    return {part for part in (NETWORKS, VOLUMES) for call in said if part in call}


async def test_step_lists_networks_and_volumes_only_where_it_speaks_of_them(host: IncusHarness) -> None:
    async with Scene(host) as scene:
        wanted, found = await made(scene, disks={"data": dict(host.data_disk())})

        async def change(**body: Any) -> Change:
            nonlocal wanted, found
            wanted = edited(host, wanted, **body)
            return scene.change(wanted, found)

        limits = await change(**host.size(1))
        assert {step.verb for step in limits.steps} == {"update"}
        assert await _asked(scene, host, *limits.steps) == set()
        found = await at_rest(scene, wanted, limits)

        stopped = await change(state="stopped")
        assert [step.verb for step in stopped.steps] == ["stop"]
        assert await _asked(scene, host, *stopped.steps) == set()
        found = await at_rest(scene, wanted, stopped)

        (forget,) = scene.removal(found, Action.FORGET).steps
        assert await _asked(scene, host, forget) == set()
        unmarked = next(each for each in (await scene.look()).objects if each.native_id == found.native_id)
        adopted = scene.change(wanted, unmarked, action=Action.ADOPT)
        (adopt,) = adopted.steps
        assert await _asked(scene, host, adopt) == set()
        found = await at_rest(scene, wanted, adopted)

        without = await change(nics=[])
        assert NETWORKS in await _asked(scene, host, *without.steps)
        found = await at_rest(scene, wanted, without)
        larger = await change(disks={"data": {**host.data_disk(), "size": 2 * host.data_disk()["size"]}})
        assert VOLUMES in await _asked(scene, host, *larger.steps)
        await at_rest(scene, wanted, larger)
