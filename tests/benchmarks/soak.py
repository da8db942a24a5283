"""Many commits taken by one controller, and how large it is before and after: `python -m … SITE STATE COMMITS`.

Owns: the commits, made beforehand at once, and the two figures. Must not go here: what is too much (test_soak).
"""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
from itertools import cycle
from pathlib import Path

from reconciler.core.rules import Request
from tests.benchmarks import fleets
from tests.benchmarks.warm import NOW, Warm

PLACES = 20
"""Machines that are edited in turn: what is pending costs its own each time."""


def commits(site: Path, count: int) -> list[str]:
    """Ids of that many commits, each of which gives another machine another package; no branch is moved."""
    texts = {path: fleets.git(site, "show", f"HEAD:{path}") + "\n" for path in fleets.machines(site, PLACES)}
    lines: list[str] = []
    for number, path in zip(range(1, count + 1), cycle(texts)):
        was = texts[path]
        texts[path] = re.sub(r"package: \w+", "package: m" if "package: l" in was else "package: l", was)
        lines += ["commit refs/soak", f"mark :{number}", "committer bench <bench@example.org> 1790000001 +0000"]
        lines += ["data 4"]
        lines += ["edit", "from refs/heads/main^0"] if number == 1 else ["edit"]
        lines += [f"M 100644 inline {path}", f"data {len(texts[path].encode())}", texts[path]]
    marks = site / ".git" / "soak-marks"
    command = ["git", "-C", str(site), "fast-import", "--quiet", "--done", f"--export-marks={marks}"]
    stream = "\n".join(lines) + "\n\ndone\n"
    subprocess.run(command, input=stream.encode(), check=True, env={**os.environ, **fleets.GIT})
    found = dict(line.split() for line in marks.read_text().splitlines())
    return [found[f":{number}"] for number in range(1, count + 1)]


def resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(site: Path, state: Path, count: int) -> None:
    made = commits(site, count)
    warm = Warm(site, state)
    early = changes = 0
    for number, commit in enumerate(made):
        warm.take(commit)
        lineage = warm.source._lineage(warm.desired, warm.ledger.applied, frozenset())
        plan = warm.planner.plan(Request(now=NOW + number, lineage=lineage))
        changes += len(plan.changes)
        if number == count // 4:
            early = resident()
    print(json.dumps({"early": early, "late": resident(), "changes": changes}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
