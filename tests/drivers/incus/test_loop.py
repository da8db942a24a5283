"""The loop beside people at the engine's own client: what they change is noticed by hints, and healed."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drivers.incus.daemons import Daemons, missing, running
from tests.drivers.incus.desk import TRUEUP, one_host

pytestmark = pytest.mark.real


@pytest.fixture(scope="module", params=["incus", "lxd"])
def daemons(request: pytest.FixtureRequest) -> Iterator[Daemons]:
    if why := missing(request.param):
        pytest.skip(f"NOT RUN on {request.param}: {why}")
    with running(request.param, f"l{request.param[0]}") as made:
        yield made


def _memory(daemons: Daemons) -> str:
    said: str = daemons.query("/1.0/instances/web")["config"]["limits.memory"]
    return said


@pytest.mark.timeout(200)
def test_drift_by_the_ordinary_client_is_healed_by_a_hint_alone(daemons: Daemons, tmp_path: Path) -> None:
    """The loop looks around by itself once an hour: what it does within the test, hints made it do."""
    desk = one_host(tmp_path, daemons.socket())
    said = tmp_path / "said"
    with said.open("w") as out:
        loop = subprocess.Popen(
            [TRUEUP, "-C", str(desk.repo), "run", "--interval", "1h"], env=desk.environment, stdout=out, stderr=out
        )
    try:
        _until(lambda: any(each["name"] == "web" and each["status"] == "Running" for each in _all(daemons)), said)
        assert _memory(daemons) == "64MiB"
        for memory in ("80MiB", "96MiB"):
            daemons.client("config", "set", "web", f"limits.memory={memory}")
            _until(lambda: _memory(daemons) == "64MiB", said)
        daemons.client("stop", "--force", "web")
        _until(lambda: _all(daemons)[0]["status"] == "Running", said)
    finally:
        loop.send_signal(signal.SIGTERM)
        loop.wait(timeout=60)


def _all(daemons: Daemons) -> list[dict[str, str]]:
    found: list[dict[str, str]] = daemons.query("/1.0/instances?recursion=1")
    return found


def _until(holds: object, said: Path) -> None:
    assert callable(holds)
    end = time.monotonic() + 45
    while not holds():
        assert time.monotonic() < end, said.read_text()[-3000:]
        time.sleep(0.05)
