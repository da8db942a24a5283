"""A controller that takes commit after commit stays as large as it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks import fleets


def grown(machines: int, commits: int) -> float:
    """Resident bytes at the end against those once it had settled."""
    known = fleets.fleet(machines)
    command = [sys.executable, "-m", "tests.benchmarks.soak", str(known.folder), str(known.state), str(commits)]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert told["early"] > 0
    assert told["changes"] > commits
    return float(told["late"] / told["early"])


def test_memory_is_flat_over_some_hundred_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUEUP_BENCH", str(tmp_path))
    assert grown(1_000, 300) <= 1.05


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_memory_is_flat_over_ten_thousand_commits_at_a_hundred_thousand_machines() -> None:
    assert grown(100_000, 10_000) <= 1.05
