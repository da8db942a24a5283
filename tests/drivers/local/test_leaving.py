# ruff: noqa: ASYNC221 - the hand works with plain commands and files, nothing else waits
"""Leaving a host by the commands of the guide: nothing of the node is left, and other nodes are."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from reconciler.core.plan import Action
from reconciler.testing.conformance.expect import made
from reconciler.testing.scene import Scene
from tests.drivers.local.hand import Hand, LocalHarness
from tests.drivers.local.probe import needs

pytestmark = [pytest.mark.anyio, pytest.mark.real]

GUIDE = Path(__file__).parents[3] / "docs/guides/local-driver.md"


@pytest.mark.parametrize("backend", ["zfs-fuse", "btrfs"])
async def test_commands_of_the_guide_leave_nothing_of_a_node(
    scene: Scene, hand: Hand, tmp_path: Path, backend: str
) -> None:
    needs(backend)
    _, stays = await made(scene)
    mine = Hand(tmp_path, backend)
    harness = LocalHarness(mine)
    async with Scene(harness) as leaving:
        _, found = await made(leaving)
        await leaving.run(leaving.removal(found, Action.DESTROY))
        leaving.made.clear()  # it stays in quarantine
    section = GUIDE.read_text().partition("## Leaving a host")[2]
    commands = re.search(r"```bash\n(.*?)```", section, re.DOTALL)
    assert commands is not None
    script = commands[1]
    if backend == "btrfs":
        script = re.sub(r"^\$IN .*?^done\n", "", script, flags=re.DOTALL | re.MULTILINE)
        assert "zfs" not in script
    done = subprocess.run(
        ["bash", "-u", "-c", script],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "N": str(mine.place.folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert backend == "btrfs" or "quarantine" in done.stdout
    assert mine.leftovers() == []
    assert (await scene.there(stays.native_name)).fields["state"] == "running"
