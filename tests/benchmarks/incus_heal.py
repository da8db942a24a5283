"""Drift made by hand beside a running `trueup run`, until it is healed.

Owns: the loop's process, the drift, the watching of the bare API. Must not go here: bringing the host up.
"""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

from tests.benchmarks import incus_site
from tests.benchmarks.rows import tell
from tests.drivers.incus.daemons import Daemons
from tests.drivers.incus.desk import TRUEUP

SECONDS = 60.0
"""How long one healing may take before the row gives up."""


def healed(daemons: Daemons, folder: Path, count: int) -> list[float]:
    """Seconds from each change by hand until the API shows the machine as it should be, one change a machine. The loop
    looks around by itself once an hour: hints made it look."""
    desk = incus_site.desk(daemons, folder, count)
    tell(f"making {count} machines")
    desk.trueup("apply", "--yes", patience=incus_site.PATIENCE)
    call = incus_site.Bare(daemons.socket())
    with (folder / "said").open("w") as out:
        loop = subprocess.Popen(
            [TRUEUP, "-C", str(desk.repo), "run", "--interval", "1h"], env=desk.environment, stdout=out, stderr=out
        )
    try:
        _until_healed(call, 1)  # the loop listens from now on
        tell(f"{count - 1} changes by hand")
        return [_until_healed(call, number) for number in range(2, count + 1)]
    finally:
        loop.send_signal(signal.SIGTERM)
        loop.wait(timeout=60)


def _until_healed(call: incus_site.Bare, number: int) -> float:
    path = f"/1.0/instances/m-{number}"
    call("PATCH", path, {"config": {"limits.memory": "80MiB"}})
    start = time.perf_counter()
    while call("GET", path)["config"]["limits.memory"] != "64MiB":
        assert time.perf_counter() < start + SECONDS, f"m-{number} was not healed"
        time.sleep(0.005)
    seconds = time.perf_counter() - start
    time.sleep(0.3)
    return seconds
