"""A whole Debian with systemd, built by mmdebstrap, as a zone. Takes minutes and Debian's packages."""

from __future__ import annotations

import shutil

import anyio
import pytest

from drivers.local.storage.choose import unusable as storage_unusable
from reconciler.core.refs import Ref
from reconciler.testing.conformance.expect import at_rest
from reconciler.testing.harness import resource
from reconciler.testing.scene import Scene
from tests.drivers.local.hand import MI, Hand, LocalHarness
from tests.drivers.local.probe import needs

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.long, pytest.mark.timeout(1200)]


@pytest.mark.parametrize("backend", ["zfs-fuse", "btrfs"])
async def test_debian_boots_with_systemd_and_stops_when_asked(
    backend: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    needs(backend)
    if shutil.which("mmdebstrap") is None or storage_unusable(backend):
        pytest.skip("NOT RUN, Debian as a zone: mmdebstrap is not installed")
    hand = Hand(tmp_path_factory.mktemp("debian"), backend)
    try:
        async with Scene(LocalHarness(hand)) as scene:
            digest = "recipe:debian-bookworm"
            body = {"source": {"debian": "bookworm"}, "digest": digest, "type": "rootfs", "os": "linux"}
            await scene.converge(resource(Ref("Image/debian"), body))
            wanted = scene.fresh(
                image={"name": "debian", "digest": digest, "type": "rootfs", "os": "linux"},
                memory=512 * MI,
                threads=400,
                cpu=2000,
                ready={"exec": ["systemctl", "is-system-running", "--wait"], "within": 60},
            )
            change = await scene.run(scene.change(wanted, None))
            found = await at_rest(scene, wanted, change)
            zone = found.native_name
            assert "running" in hand.lxc("attach", zone, "--", "systemctl", "is-system-running")
            assert wanted.ref.rpartition("/")[2] in hand.lxc("attach", zone, "--", "hostname")
            lift = "echo 3000000000 > /sys/fs/cgroup/memory/memory.limit_in_bytes; echo max > /sys/fs/cgroup/memory.max"
            hand.lxc("attach", zone, "--", "sh", "-c", lift, check=False)
            seen = await scene.there(zone)
            assert seen.fields["memory"] == 512 * MI, "a guest that writes control groups cannot lift its own caps"
            with anyio.fail_after(15):
                stopped = scene.change(scene.harness.machine(wanted.ref.rpartition("/")[2], state="stopped"), found)
                await scene.apply(next(step for step in stopped.steps if step.verb == "stop"))
    finally:
        await hand.open().tear_down()
