"""From a commit to an ordered plan of a whole fleet, with nothing remembered but the journal.

Compared with itself at another size, and with the least that reading the documents can cost. The observed side is the
simulated fleet's file: what asking real nodes takes is the drivers' (`check-vs-ansible`), and is not in these rows.
Generated documents are more alike than people's: 18 lines, 350 bytes each, and four in five differ from another of
their tenant in the name alone.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks import fleets
from tests.benchmarks.fleets import Fleet, fleet
from tests.benchmarks.rows import Measured, Row, interleaved, tell

GiB = 1 << 30
ROUNDS = 5


class Run(NamedTuple):
    """Seconds by the clock and of all processors; `peak`: bytes resident in the whole tree of processes, the largest
    sum of proportional shares that was seen."""

    wall: float
    cpu: float
    peak: int
    told: dict[str, int]


def cold(known: Fleet, *words: str, watched: bool = False) -> Run:
    """A fresh process with an empty cache. `watched`: its memory and that of all beneath it is looked at meanwhile,
    which takes time of theirs, and its end is seen late. Else `peak` is the first process's alone."""
    command = [sys.executable, "-m", "tests.benchmarks.cold", str(known.folder), str(known.state), *words]
    with tempfile.TemporaryDirectory() as cache:
        start, peak = time.perf_counter(), 0
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**known.environment, "XDG_CACHE_HOME": cache}
        )
        while watched and process.poll() is None:
            peak = max(peak, resident(process.pid))
            time.sleep(min(1.0, 0.02 + known.machines / 200_000))
        text, _ = process.communicate()
        wall = time.perf_counter() - start
    if process.returncode:
        raise RuntimeError(f"planning ended with {process.returncode}")
    told = json.loads(text)
    return Run(wall, told["cpu"], max(peak, told["peak"]), told)


def resident(pid: int) -> int:
    """Bytes of a process and all beneath it, shared pages counted in part."""
    total = 0
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            total += resident(int(child))
    except (OSError, ValueError):
        pass  # it has ended meanwhile
    return total


def _whole(machines: int) -> Measured:
    """The median of the clock; the most memory of any round."""
    known, found = fleet(machines, differing="1%"), []
    for number in range(ROUNDS):
        found.append(cold(known, watched=True))
        tell(f"{number + 1} of {ROUNDS} rounds: {found[-1].wall:.1f} s")
    wall, cpu = (statistics.median(each) for each in zip(*((run.wall, run.cpu) for run in found), strict=True))
    peak, changes = max(run.peak for run in found), found[-1].told["changes"]
    words = f"{changes} changes, {cpu:.0f} s of processors, {peak / GiB:.2f} GiB at the most (bar 2.5)"
    over = peak > 2.5 * GiB * max(1.0, machines / 1_000_000)
    return Measured(max(wall, 90.1) if over else wall, words)


def _linear(small: int, large: int) -> Measured:
    """Seconds of processors, which what else the machine does disturbs less."""
    few, many = fleet(small, differing="1%"), fleet(large, differing="1%")
    pairs = [(cold(few).cpu / small * 1e6, cold(many).cpu / large * 1e6) for _ in range(ROUNDS)]
    base, other = (statistics.median(each) for each in zip(*pairs, strict=True))
    return Measured(other / base, f"{other:.0f} against {base:.0f} µs of processors a machine")


def _limit() -> Measured:
    known = fleet(10_000, differing="1%")
    least = [sys.executable, "-m", "tests.benchmarks.limit", str(known.folder)]
    ours: list[float] = []

    def plan() -> None:
        ours.append(cold(known).cpu)

    def read() -> None:
        subprocess.run(least, check=True)

    took, floor = interleaved([plan, read])
    words = f"{took:.2f} s against {floor:.2f} s, whole processes; {statistics.median(ours):.2f} s of processors"
    return Measured(took / floor, words)


def command(known: Fleet, *words: str) -> Callable[[], None]:
    """`trueup …` in the fleet, a whole process."""
    argv = [sys.executable, "-m", "reconciler.cli", "-C", str(known.folder), *words]

    def run() -> None:
        done = subprocess.run(
            argv, check=False, env=known.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        if done.returncode not in (0, 3):  # 3: something is held by a rule
            raise RuntimeError(f"{words} ended with {done.returncode}: {done.stderr.decode()[-300:]}")

    return run


def _command(small: int, large: int, *, absolute: bool) -> Measured:
    """The second and later plans of what did not change."""
    few, many = command(fleet(small), "plan"), command(fleet(large), "plan")
    few(), many()
    base, other = interleaved([few, many], rounds=7)
    words = f"{other:.3f} s at {large:,} machines, {base:.3f} s at {small:,}"
    return Measured(other if absolute else other / base, words)


def _changed(small: int, large: int) -> Measured:
    """One document committed since the last plan from scratch, the sizes in turn."""
    times: tuple[list[float], list[float]] = ([], [])
    with tempfile.TemporaryDirectory(dir=fleets.where()) as folder:
        copies = [fleets.copy(Path(folder) / str(size), size) for size in (small, large)]
        plans = [command(each, "plan") for each in copies]
        paths = [fleets.machines(each.folder, 9) for each in copies]
        for plan in plans:
            plan()
        for turn in range(7):
            for which, here in enumerate(copies):
                path = paths[which][turn]
                text = fleets.git(here.folder, "show", f"HEAD:{path}") + "\n"
                fleets.commit(here.folder, {path: re.sub(r"package: \w+", "package: l", text)})
                times[which].append(interleaved([plans[which]], rounds=1)[0])
    base, other = (statistics.median(each) for each in times)
    return Measured(other / base, f"{other:.3f} s at {large:,} machines, {base:.3f} s at {small:,}")


ROWS = [
    Row(
        "million", 90.0, "s", partial(_whole, 1_000_000),
        "1M machine documents, cold, all observed on `sim`, 1 % differing, to ordered Changes; 2.5 GiB", long=True,
    ),
    Row("cold-10k", 3.0, "s", partial(_whole, 10_000), "the same with 10,000 machines"),
    Row(
        "cold-linear", 1.2, "×", partial(_linear, 100_000, 1_000_000),
        "time of processors a machine, 1M against 100k", long=True,
    ),
    Row(
        "cold-linear-100k", 1.2, "×", partial(_linear, 10_000, 100_000),
        "time of processors a machine, 100k against 10k",
    ),
    Row("cold-vs-limit", 2.0, "×", _limit, "10k against listing, reading and draining libyaml events in 2 processes"),
    Row(
        "plan-command", 1.3, "×", partial(_command, 1_000, 1_000_000, absolute=False),
        "`trueup plan`, fresh process, no change, 1M against 1k", long=True,
    ),
    Row(
        "plan-command-absolute", 0.35, "s", partial(_command, 1_000, 1_000_000, absolute=True),
        "the same, at 1M", long=True,
    ),
    Row(
        "plan-changed", 1.3, "×", partial(_changed, 1_000, 1_000_000),
        "`trueup plan`, fresh process, one document changed since, 1M against 1k", long=True,
    ),
    Row(
        "plan-changed-10k", 1.3, "×", partial(_changed, 1_000, 10_000),
        "`trueup plan`, fresh process, one document changed since, 10k against 1k",
    ),
    Row(
        "plan-command-10k", 1.3, "×", partial(_command, 1_000, 10_000, absolute=False),
        "`trueup plan`, fresh process, no change, 10k against 1k",
    ),
]  # fmt: skip
