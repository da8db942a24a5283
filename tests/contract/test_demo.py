"""What people run first: the demo's story, and the tree that `trueup init` writes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from drivers.local import DRIVER
from reconciler.core.desired import NodeWant
from tests.drivers.local.probe import needs

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "examples" / "quickstart" / "demo.py"


def demo(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(DEMO), *argv], capture_output=True, text=True, check=False)


def left(told: str) -> set[str]:
    """Folders of stories that are there after one that told this."""
    return {folder for folder in re.findall(r"/\S*trueup-demo-\w+", told) if Path(folder).exists()}


@pytest.mark.timeout(300)
def test_the_story_on_the_simulated_node_is_kept_and_cleaned_away() -> None:
    told = demo("--sim", "--keep")
    assert told.returncode == 0, told.stdout + told.stderr
    (folder,) = left(told.stdout)
    assert f"--clean {folder}" in told.stdout
    assert demo("--clean", folder).returncode == 0
    assert not Path(folder).exists()
    assert demo("--clean", str(ROOT)).returncode == 1


@pytest.mark.real
@pytest.mark.timeout(300)
def test_the_story_on_this_host_leaves_nothing_behind() -> None:
    needs()
    told = demo()
    assert told.returncode == 0, told.stdout + told.stderr
    assert "simulated" not in told.stdout
    assert left(told.stdout) == set()


@pytest.mark.real
@pytest.mark.timeout(300)
def test_what_init_writes_becomes_machines_that_are_ready(tmp_path: Path) -> None:
    needs()
    env = {**os.environ, "TRUEUP_STATE": str(tmp_path / "s")}
    for role in ("AUTHOR", "COMMITTER"):
        env |= {f"GIT_{role}_NAME": "Alice", f"GIT_{role}_EMAIL": "alice@example.org"}

    def run(*argv: str) -> None:
        told = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert told.returncode == 0, told.stdout + told.stderr

    trueup = (sys.executable, "-m", "reconciler.cli")
    run(*trueup, "init", "dc")
    run("git", "-C", "dc", "add", "-A")
    run("git", "-C", "dc", "commit", "-qm", "What we want")
    try:
        run(*trueup, "-C", "dc", "apply", "--yes")
        run(*trueup, "-C", "dc", "exec", "first/web-1", "--", "true")
    finally:
        anyio.run(DRIVER.open(NodeWant("here", "local", ""), {"state": str(tmp_path / "s")}).tear_down)
