"""The host boots: nothing that lives in memory is left, and the first look brings back what ran."""

from __future__ import annotations

import anyio
import pytest

from reconciler.testing.conformance.expect import made
from reconciler.testing.scene import Scene
from tests.drivers.local.hand import MI, Hand

pytestmark = [pytest.mark.anyio, pytest.mark.real]


async def test_what_ran_before_a_boot_runs_after_it(scene: Scene, hand: Hand) -> None:
    disk = {"size": 64 * MI, "path": "/data/more", "delegated": False}
    _, running = await made(scene, disks={"data": disk})
    _, stopped = await made(scene, state="stopped")
    network = scene.uid(scene.harness.network(0).ref)
    before = [dict((await scene.there(uid)).fields) for uid in (running.native_name, stopped.native_name, network)]
    await scene.driver.close()
    hand.power_off()
    await anyio.sleep(0.3)
    await scene.reopen()
    after = [dict((await scene.there(uid)).fields) for uid in (running.native_name, stopped.native_name, network)]
    assert after == before
    assert "/data/more" in hand.lxc("attach", running.native_name, "--", "cat", "/proc/mounts")


async def test_pool_that_is_missing_is_never_replaced_by_an_empty_one(scene: Scene, hand: Hand) -> None:
    """An empty pool would look like a node on which nothing was ever made."""
    from reconciler.driver import NodeUnreachable

    identity = (await scene.look()).identity
    away = hand.place.pool_file.with_suffix(".away")
    hand.place.pool_file.rename(away)
    hand.kill_daemon()
    with pytest.raises(NodeUnreachable, match="missing"):
        await scene.look()
    assert not hand.place.pool_file.exists()
    away.rename(hand.place.pool_file)
    assert (await scene.look()).identity == identity


async def test_zone_that_cannot_be_started_or_read_keeps_no_other_from_coming_back(scene: Scene, hand: Hand) -> None:
    (_, unreadable), (_, broken), (_, whole) = await made(scene), await made(scene), await made(scene)
    before = dict((await scene.there(whole.native_name)).fields)
    kept = {}
    for each, damage in (
        (unreadable, "# trueup.nic.0 = {not json\nlxc.net.0.type = veth\n"),
        (broken, "lxc.net.7.type = x\n"),
    ):
        file = hand.place.zone(each.native_name) / "config"
        kept[file] = file.read_text()
        file.write_text(kept[file] + damage)
    await scene.driver.close()
    hand.power_off()
    await scene.reopen()
    assert dict((await scene.there(whole.native_name)).fields) == before
    assert (await scene.there(broken.native_name)).fields["state"] == "stopped"
    for file, text in kept.items():
        file.write_text(text)
