"""Planning again in a running controller: what a commit costs, whatever the size of the fleet.

Compared: the same deeds in two processes, one with a small fleet and one with a large one, in turn. Counted is all that
the loop does for a commit: the trees' difference, the changed documents read and judged, the fold, the lineage, the
plan. Not counted: making the commit, noticing it (`notice`), telling of the plan. The fleets are at rest, so that the
plan is of the commit alone: a plan also holds what is pending anyway, and costs that.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

from tests.benchmarks.fleets import Fleet, fleet
from tests.benchmarks.rows import Measured, Row

DEEDS = ("edit", "add", "remove")
ROUNDS = 15


class Controller:
    """A process of warm.py."""

    def __init__(self, known: Fleet) -> None:
        command = [sys.executable, "-m", "tests.benchmarks.warm", str(known.folder), str(known.state)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    def ask(self, deed: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{deed}\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the controller ended with {self.process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)


@contextmanager
def controllers(*sizes: int) -> Iterator[list[Controller]]:
    opened: list[Controller] = []
    try:
        opened.extend(Controller(fleet(size)) for size in sizes)
        yield opened
    finally:
        for each in opened:
            each.close()


@cache
def measured(small: int, large: int) -> dict[str, tuple[list[float], list[float]]]:
    """Seconds of each deed, in the small fleet and in the large one."""
    times: dict[str, tuple[list[float], list[float]]] = {}
    with controllers(small, large) as both:
        for deed in (*DEEDS, "package"):
            for each in both:
                each.ask(deed)
            found: tuple[list[float], list[float]] = ([], [])
            for _ in range(ROUNDS):
                for which, each in enumerate(both):
                    found[which].append(each.ask(deed)["seconds"])
            times[deed] = found
        memory = both[1].ask("memory")
        times["memory"] = ([memory["bytes"]], [memory["machines"]])
    return times


def _ratio(small: int, large: int, *deeds: str) -> Measured:
    found = measured(small, large)
    worst, words = 0.0, []
    for deed in deeds:
        few, many = (statistics.median(each) for each in found[deed])
        worst = max(worst, many / few)
        words.append(f"{deed} {few * 1000:.2f} → {many * 1000:.2f} ms")
    return Measured(worst, ", ".join(words))


def _absolute(small: int, large: int) -> Measured:
    found = measured(small, large)
    medians = {deed: statistics.median(found[deed][1]) * 1000 for deed in DEEDS}
    words = ", ".join(f"{deed} {value:.2f} (most {max(found[deed][1]) * 1000:.1f})" for deed, value in medians.items())
    return Measured(max(medians.values()), words)


def _memory(small: int, large: int) -> Measured:
    [size], [machines] = measured(small, large)["memory"]
    return Measured(size / machines, f"{size / 2**20:.0f} MiB for {machines:.0f} machines, the interpreter included")


def _rows(small: int, large: int, suffix: str, *, bytes_each: float, long: bool) -> list[Row]:
    sizes = f"{large:,} machines against {small:,}"
    flat = f"a one-file commit in the loop, {sizes}: an edit, a new machine placed and addressed, a removal"
    package = f"a package with 1,000 users edited, {sizes}"
    size = f"resident bytes a machine at {large:,}, indexes and what the journal tells included"
    runs = (partial(_ratio, small, large, *DEEDS), partial(_absolute, small, large))
    return [
        Row(f"replan-flat{suffix}", 2.0, "×", runs[0], flat, long=long),
        Row(f"replan-absolute{suffix}", 5.0, "ms", runs[1], f"the same at {large:,} machines", long=long),
        Row(f"replan-package{suffix}", 2.0, "×", partial(_ratio, small, large, "package"), package, long=long),
        Row(f"memory{suffix}", bytes_each, "bytes", partial(_memory, small, large), size, long=long),
    ]


ROWS = [
    # what any fleet takes (the interpreter, room that loading left) is a third of so few
    *_rows(10_000, 100_000, "-100k", bytes_each=3 * 1024, long=False),
    *_rows(10_000, 1_000_000, "", bytes_each=2 * 1024, long=True),
]
