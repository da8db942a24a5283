"""The loop alone: from a commit made to its plan ready.

Compared with nothing: the row is absolute. A fleet at rest, `follow: approve`, so that each commit ends in a plan and
nothing is carried out. Counted from the end of `git commit` to the end of the cycle that knows of it.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from drivers.sim.generate import generate
from drivers.sim.generate.site import Site
from reconciler.cli.writing import writing
from reconciler.edge.beside import compress
from reconciler.edge.watch import watch_repository
from reconciler.runtime.loop import Loop, Settings
from tests.benchmarks import fleets
from tests.benchmarks.rows import Measured, Row

COMMITS = 40


@contextmanager
def fleet(machines: int, nodes: int) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="trueup-bench-", dir="/var/tmp"))
    try:
        generate(folder / "site", Site(machines, nodes))
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


Commit = Callable[[], str]
"""Makes one, and tells which."""


def in_tree(site: Path) -> Commit:
    """In a working tree, as people commit."""
    document = next(path for path in sorted(site.rglob("tenants/**/*.yaml")) if "kind: Machine" in path.read_text())
    git = ["git", "-C", str(site), "-c", "user.name=bench", "-c", "user.email=bench@localhost"]

    def commit() -> str:
        document.write_text(resized(document.read_text()))
        subprocess.run([*git, "commit", "-qam", "another size"], check=True)
        return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()

    return commit


def in_bare(site: Path) -> Commit:
    """In a bare repository, as where people push to."""
    path = fleets.machines(site, 1)[0]
    return lambda: fleets.commit(site, {path: resized(fleets.git(site, "show", f"main:{path}") + "\n")})


def resized(text: str) -> str:
    return re.sub(r"package: \w+", "package: l" if "package: m" in text else "package: m", text)


async def noticed(site: Path, commit: Commit) -> list[float]:
    """Seconds from each commit to its plan."""
    folder, times = site.parent, []
    args = Namespace(directory=str(site), state=str(folder / "state"), command="bench", revision=None, dirty=False)
    async with writing(args) as here, anyio.create_task_group() as group:
        send, hints = anyio.create_memory_object_stream[str](100)
        loop = Loop(here.ports, Settings(compress=compress), random=random.Random(1).random, watching=lambda: hints)
        group.start_soon(loop.run)
        group.start_soon(watch_repository, here.repository.git_folder, send.send_nowait)
        while not loop.status.ready:  # noqa: ASYNC110 - the loop announces nothing
            await anyio.sleep(0.05)
        await anyio.sleep(2)
        for _ in range(COMMITS):
            made = await anyio.to_thread.run_sync(commit)
            start = time.perf_counter()
            while not planned(loop, made):  # noqa: ASYNC110 - as above
                await anyio.sleep(0.0005)
            times.append(time.perf_counter() - start)
            await anyio.sleep(0.3)
        loop.stop("measured")
        group.cancel_scope.cancel()
    return times


def planned(loop: Loop, commit: str) -> bool:
    """The plan of the commit is made, which is the first after it to name it."""
    cycle = loop.status.cycle
    return cycle is not None and cycle.revision == commit


def notice(kind: str) -> Measured:
    with fleet(10_000, 500) as folder:
        site = folder / "site"
        if kind == "bare":
            bare = folder / "site.git"
            subprocess.run(["git", "clone", "--quiet", "--bare", str(site), str(bare)], check=True)
            (site / "fleet.db").rename(bare / "fleet.db")
            times = sorted(anyio.run(noticed, bare, in_bare(bare)))
        else:
            times = sorted(anyio.run(noticed, site, in_tree(site)))
    p95, middle = times[int(len(times) * 0.95) - 1], times[len(times) // 2]
    return Measured(p95 * 1000, f"10,000 machines on 500 nodes, {COMMITS} commits, median {middle * 1000:.0f} ms")


ROWS = [
    Row("notice", 30.0, "ms", partial(notice, "tree"), "a commit made to its plan ready, p95, working tree"),
    Row("notice-bare", 30.0, "ms", partial(notice, "bare"), "the same in a bare repository"),
]
