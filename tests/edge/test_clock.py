"""What this host's clocks say, read for real."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from reconciler.core.rests import Instant, passed
from reconciler.edge import clock
from reconciler.edge.clock import SystemClock

TELL = (
    "import msgspec; from reconciler.edge.clock import SystemClock; "
    "print(msgspec.json.encode(SystemClock().instant()).decode())"
)


def test_time_since_boot_grows_as_time_passes() -> None:
    before = SystemClock().instant()
    time.sleep(0.2)
    now = SystemClock().instant()
    assert now.follows(before)
    assert 0.15 < passed(before, now) < 20
    assert (len(now.boot), now.up > 1) == (36, True)


@pytest.mark.skipif(shutil.which("faketime") is None, reason="the Debian package faketime is not installed")
def test_who_is_told_another_time_knows_how_long_the_host_is_up() -> None:
    real = SystemClock().instant()
    told = subprocess.run(["faketime", "+3 days", sys.executable, "-c", TELL], capture_output=True, check=True)
    fake = msgspec.json.decode(told.stdout, type=Instant)
    assert fake.at - real.at > 2 * 86400
    assert 0 <= passed(real, fake) < 120


@pytest.mark.parametrize("text", [None, "", "x y"])
def test_a_host_that_does_not_tell_is_of_no_boot(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uptime = tmp_path / "uptime"
    if text is not None:
        uptime.write_text(text)
    monkeypatch.setattr(clock, "_UPTIME", uptime)
    now = SystemClock().instant()
    assert (now.boot, now.up) == ("", 0.0)
    assert passed(now, now) == 0
