"""A controller that knows a fleet, asked over its standard streams to take commits: `python -m … SITE STATE`.

Owns: what the loop does for a commit (the difference, the documents, the fold, the lineage, the plan), without waiting
for anything. Must not go here: comparing figures (bench_replan).

Each line that comes in is a deed, each line that goes out its JSON. Making the commit is not counted.
"""

from __future__ import annotations

import gc
import json
import re
import sys
import time
from itertools import cycle
from pathlib import Path
from typing import Any

import anyio

from drivers.sim.driver import SimDriver
from drivers.sim.shape import SimShape
from reconciler.core.plan import Plan
from reconciler.core.planner import Planner
from reconciler.core.rules import Request
from reconciler.edge import chain
from reconciler.edge.beside import compress
from reconciler.edge.git import Repository
from reconciler.edge.registry import Registry
from reconciler.edge.source import GitSource
from reconciler.edge.state import State
from reconciler.runtime.rounds import Rounds
from tests.benchmarks import fleets

USERS = 1_000
"""Machines that take the package which is edited."""
NOW = 1_790_000_100.0


class Warm:
    def __init__(self, site: Path, state: Path) -> None:
        self.site = site
        self.repository = Repository.open(site)
        self.ledger = chain.read(State(state).journal)
        self.source = GitSource(self.repository, Registry())
        self.planner = Planner({"sim": SimShape()}, self.ledger, compress=compress)
        self.began = fleets.git(site, "rev-parse", "refs/heads/main")
        self.paths = cycle(fleets.machines(site, 40))
        self.number = 0
        self.take()
        anyio.run(self.observe)
        self.planner.plan(Request(now=NOW))
        gc.collect()
        gc.freeze()

    def take(self, revision: str | None = None) -> None:
        """A revision, the newest if none is named, as the loop loads it."""
        self.desired = self.source._load(revision, self.ledger.applied)
        self.planner.world.take_desired(self.desired, self.source.news())

    async def observe(self) -> None:
        for node in self.desired.nodes.values():
            driver = SimDriver(node.address, node.name, SimShape(), root=str(self.site))
            for report in await driver.observe(began=self.ledger.sequence):
                self.planner.take_report(report)  # type: ignore[arg-type]
            await driver.close()

    def replan(self) -> tuple[float, Plan]:
        """Seconds from a commit that is there to its plan."""
        start = time.perf_counter()
        self.take()
        lineage = self.source._lineage(self.desired, self.ledger.applied, frozenset(self.ledger.accepted))
        plan = self.planner.plan(Request(now=NOW, lineage=lineage))
        return time.perf_counter() - start, plan

    # -- deeds: each leaves the tree as it was, counts the way there, and gives seconds and changes ------------------

    def edit(self) -> dict[str, Any]:
        path = next(self.paths)
        text = fleets.git(self.site, "show", f"refs/heads/main:{path}") + "\n"
        other = re.sub(r"package: \w+", lambda found: "package: l" if "l" not in found[0][9:] else "package: m", text)
        return self.there_and_back({path: other}, {path: text})

    def add(self) -> dict[str, Any]:
        """A new machine, which is placed and gets an address."""
        path = next(self.paths)
        text = fleets.git(self.site, "show", f"refs/heads/main:{path}") + "\n"
        self.number += 1
        name = f"bench-{self.number}"
        fresh = f"{path.rpartition('/')[0]}/{name}.yaml"
        return self.there_and_back({fresh: re.sub(r"name: [\w-]+", f"name: {name}", text)}, {fresh: None})

    def remove(self) -> dict[str, Any]:
        path = next(self.paths)
        text = fleets.git(self.site, "show", f"refs/heads/main:{path}") + "\n"
        return self.there_and_back({path: None}, {path: text})

    def package(self) -> dict[str, Any]:
        """A package with 1,000 users gets more memory."""
        packages = fleets.git(self.site, "show", "refs/heads/main:packages.yaml") + "\n"
        if "bench:" not in packages:
            packages = packages.rstrip() + "\n  bench: {cpu: 1, memory: 2Gi, disk: 20Gi}\n"
            users = fleets.machines(self.site, USERS)
            texts = {path: fleets.git(self.site, "show", f"refs/heads/main:{path}") + "\n" for path in users}
            moved = {path: re.sub(r"package: \w+", "package: bench", text) for path, text in texts.items()}
            fleets.commit(self.site, {"packages.yaml": packages, **moved})
            self.replan()
        larger = packages.replace("bench: {cpu: 1, memory: 2Gi", "bench: {cpu: 1, memory: 3Gi")
        return self.there_and_back({"packages.yaml": larger}, {"packages.yaml": packages})

    def there_and_back(self, there: dict[str, str | None], back: dict[str, str | None]) -> dict[str, Any]:
        fleets.commit(self.site, there)
        seconds, plan = self.replan()
        fleets.commit(self.site, back)
        self.replan()
        return {"seconds": seconds, "changes": len(plan.changes), "holds": len(plan.holds)}

    def memory(self) -> dict[str, Any]:
        """Resident bytes, with what the loop keeps beside the planner: each node's latest report."""
        assert Rounds is not None
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return {"bytes": pages * 4096, "machines": len(self.planner.world.facts)}


def main(site: Path, state: Path) -> None:
    warm = Warm(site, state)
    print(json.dumps({"ready": True}), flush=True)
    try:
        for line in sys.stdin:
            print(json.dumps(getattr(warm, line.strip())()), flush=True)
    finally:
        fleets.git(site, "update-ref", "refs/heads/main", warm.began)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
