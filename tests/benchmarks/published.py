"""The table in docs/benchmarks.md: rows of a run replace their like, the others stay as they were measured.

Owns: reading and writing that table, and what of this machine is told beside it. Must not go here: measuring.
"""

from __future__ import annotations

import os
import platform
import re
import sqlite3
import subprocess
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version

from tests.benchmarks.rows import HEAD, line_of

BEGIN, END = "<!-- table -->", "<!-- end of table -->"
_ROW = re.compile(r"^\| ([\w-]+) \|.*\| (\d{4}-\d\d-\d\d) \|$")
_RUN = re.compile(r"^- (\d{4}-\d\d-\d\d): (.*)$")


def machine() -> str:
    """What was measured with, and how busy the machine was: for people, on one line."""
    git = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
    packages = ", ".join(f"{name} {version(name)}" for name in ("anyio", "msgspec", "pydantic", "ruamel.yaml"))
    return (
        f"Python {platform.python_version()}, {platform.system()} {platform.release()}, {os.cpu_count()} cores "
        f"(load {os.getloadavg()[1]:.1f}), git {git}, SQLite {sqlite3.sqlite_version}, {packages}"
    )


def today() -> str:
    return time.strftime("%Y-%m-%d")


def merged(text: str, lines: Sequence[Mapping[str, object]], order: Sequence[str], run: tuple[str, str]) -> str:
    """The page with these lines in its table. `order`: the names of all rows there are, others are dropped; `run`: the
    date, and what was measured with. Raises ValueError if the page has no place for a table."""
    head, begun, rest = text.partition(BEGIN)
    old, ended, tail = rest.partition(END)
    if not begun or not ended:
        raise ValueError(f"there is no {BEGIN} … {END} in the page")
    rows: dict[str, tuple[str, str]] = {}
    runs: dict[str, str] = {}
    for line in old.splitlines():
        if found := _ROW.match(line):
            rows[found[1]] = (line, found[2])
        elif found := _RUN.match(line):
            runs[found[1]] = found[2]
    date, means = run
    for each in lines:
        rows[str(each["name"])] = (f"{line_of(each)} {date} |", date)
    runs[date] = means
    kept = [rows[name] for name in order if name in rows]
    used = sorted({when for _, when in kept})
    table = [f"{HEAD[0]} run |", f"{HEAD[1]}---|", *(line for line, _ in kept)]
    told = [f"- {when}: {runs.get(when, 'unknown')}" for when in used]
    return "\n".join([f"{head}{BEGIN}", "", *table, "", *told, "", f"{END}{tail}"])
