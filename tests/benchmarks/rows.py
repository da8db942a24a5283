"""What a benchmark row is, and how candidates are measured against each other.

Owns: Row, interleaved medians, the table, how far a row is. Must not go here: workloads (one module each beside it).

A row's value is a ratio of two things measured in turn in one run, or an absolute figure where its bar is one. Rows
that cannot run here say why and count as not run, never as met.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """What a workload returns: the figure, and in words what it was made of."""

    value: float | None
    note: str = ""
    """For a value of None: why it could not run here."""


@dataclass(frozen=True)
class Row:
    """One line of the table. `bar`: the most that meets it, in the row's unit."""

    name: str
    bar: float
    unit: str
    run: Callable[[], Measured]
    what: str
    long: bool = False
    """Runs only when named: it takes minutes."""


def tell(text: str) -> None:
    """How far a long row is, for who waits."""
    print(f"  … {text}", file=sys.stderr, flush=True)


def report(row: Row) -> dict[str, object]:
    """Run a row and print it as one JSON object on a line."""
    try:
        found = row.run()
    except Exception as error:
        found = Measured(None, f"failed: {type(error).__name__}: {error}")
    met = None if found.value is None else found.value <= row.bar
    value = None if found.value is None else float(f"{found.value:.4g}")
    line = {"name": row.name, "value": value, "unit": row.unit, "bar": row.bar, "met": met, "note": found.note}
    print(json.dumps(line, ensure_ascii=False), flush=True)
    return {**line, "what": row.what}


def interleaved(candidates: Sequence[Callable[[], object]], rounds: int = 5) -> list[float]:
    """Median seconds of each candidate, run in turn so that what else the machine does falls on all alike."""
    times: list[list[float]] = [[] for _ in candidates]
    for _ in range(rounds):
        for index, candidate in enumerate(candidates):
            start = time.perf_counter()
            candidate()
            times[index].append(time.perf_counter() - start)
    return [statistics.median(each) for each in times]


HEAD = ("| name | workload | value | bar | met | measured |", "|---|---|---|---|---|---|")
"""Of the table in Markdown."""


def line_of(line: Mapping[str, object]) -> str:
    """A row of the table in Markdown."""
    words = {True: "yes", False: "**no**", None: "not run"}
    value = "" if line["value"] is None else f"{line['value']:g} {line['unit']}"
    met = words[line["met"]]  # type: ignore[index]
    note = str(line["note"]).replace("|", "/").replace("\n", " ")
    return f"| {line['name']} | {line['what']} | {value} | ≤ {line['bar']:g} | {met} | {note} |"


def table(lines: Sequence[Mapping[str, object]]) -> str:
    """The Markdown table of the rows as run."""
    return "\n".join([*HEAD, *map(line_of, lines)])
