"""The edge alone: a journal row, and what differs between two commits, whatever the size of the tree."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median

import anyio
import msgspec

from reconciler.core.ledger import Entry, Intent, Result
from reconciler.core.refs import Ref, Target, Uid
from reconciler.edge.chain import Chain
from reconciler.edge.clock import SystemClock
from reconciler.edge.git import CommitTree, Repository
from reconciler.edge.journal import Journal
from tests.benchmarks.rows import Measured, Row, interleaved

_STEPS = 50_000
_WORKERS = 100


@contextmanager
def _folder() -> Iterator[Path]:
    """Not in memory: what is measured is durable."""
    path = Path(tempfile.mkdtemp(prefix="trueup-bench-", dir="/var/tmp"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _entries(number: int) -> tuple[Entry, Entry]:
    target, ref = Target(f"edge{number % 100}"), Ref(f"Machine/acme/web-{number}")
    step = f"{ref}@{target}:1-update"
    return Intent("p" * 32, step, target, ref, Uid("u" * 36)), Result("p" * 32, step, target, ref, "applied")


async def _written(path: Path, pairs: list[tuple[Entry, Entry]]) -> None:
    """A hundred workers journal intent and result of every step, each intent durable before its worker goes on."""
    async with await Journal.open(path, SystemClock()) as journal:
        waiting = iter(pairs)

        async def worker() -> None:
            last: tuple[Entry, ...] = ()
            for intent, result in waiting:
                await journal.append((*last, intent))
                last = (result,)
            await journal.append(last)

        async with anyio.create_task_group() as group:
            for _ in range(_WORKERS):
                group.start_soon(worker)


def _bare(path: Path, pairs: list[tuple[Entry, Entry]]) -> None:
    """What SQLite takes for the same entries, a row each, a durable commit for every hundred steps."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("CREATE TABLE entries (sequence INTEGER PRIMARY KEY, entry BLOB)")
        for start in range(0, len(pairs), _WORKERS):
            db.execute("BEGIN")
            rows = [(msgspec.json.encode(entry),) for pair in pairs[start : start + _WORKERS] for entry in pair]
            db.executemany("INSERT INTO entries (entry) VALUES (?)", rows)
            db.execute("COMMIT")


def _journal_row() -> Measured:
    pairs = [_entries(number) for number in range(_STEPS)]
    with _folder() as folder:
        names = (folder / f"{number}.db" for number in itertools.count())
        ours, bare = interleaved([lambda: anyio.run(_written, next(names), pairs), lambda: _bare(next(names), pairs)])
    note = f"{ours / _STEPS / 2 * 1e6:.1f} µs an entry against {bare / _STEPS / 2 * 1e6:.1f}"
    return Measured(ours / bare, note)


def _replay_row() -> Measured:
    pairs = [_entries(number) for number in range(_STEPS)]
    with _folder() as folder:
        path = folder / "j.db"
        anyio.run(_written, path, pairs)

        def bare() -> None:
            with closing(sqlite3.connect(path)) as db:
                for (text,) in db.execute("SELECT entries FROM journal ORDER BY sequence"):
                    msgspec.json.decode(text)

        def whole() -> None:  # as who writes, whatever a checkpoint says
            opened = Chain.open(path, read_only=True)
            opened.ledger()
            opened.close()

        ours, floor = interleaved([whole, bare])
    note = f"{ours / _STEPS / 2 * 1e6:.1f} µs an entry against {floor / _STEPS / 2 * 1e6:.1f}"
    return Measured(ours / floor, note)


def _history(folder: Path, files: int, commits: int) -> None:
    """A bare repository of so many small files in folders of 256, and commits that change one each (fast-import)."""
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(folder)], check=True)
    process = subprocess.Popen(
        ["git", "-C", str(folder), "fast-import", "--quiet"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdin is not None
    write = process.stdin.write

    def commit(number: int) -> None:
        write(f"commit refs/heads/main\ncommitter a <a@b> {1_700_000_000 + number} +0000\ndata 1\nx\n".encode())

    def change(number: int, text: str) -> None:
        path = f"m/{number >> 16:02x}/{number >> 8 & 255:02x}/{number & 255:02x}.yaml"
        write(f"M 644 inline {path}\ndata {len(text)}\n{text}\n".encode())

    commit(0)
    for number in range(files):
        change(number, f"name: web-{number}\npackage: small\n")
    for number in range(1, commits):
        commit(number)
        change(number * 7919 % files, f"name: edited-{number}\n")
    process.stdin.close()
    if process.wait():
        raise RuntimeError("git fast-import failed")


def _noticed(repository: Repository, commits: list[str]) -> float:
    """Median seconds from a commit's name to its changed paths and their contents, its lineage proved on the way."""
    times = []
    for before, after in itertools.pairwise(commits):
        known = repository.tree(before)
        start = time.perf_counter()
        tree = CommitTree(repository.folder, repository.tree(after), objects=repository.objects)
        changes = tree.changes(repository.difference, known)
        contents = list(tree.read([blob for blob in changes.values() if blob is not None]))
        times.append(time.perf_counter() - start)
        if len(contents) != 1:
            raise RuntimeError(f"{len(contents)} paths changed, not one")
    return median(times)


def _changed_paths() -> Measured:
    with _folder() as folder:
        found = {}
        for files in (10_000, 100_000):
            place = folder / str(files)
            _history(place, files, 32)
            listed = subprocess.run(
                ["git", "-C", str(place), "rev-list", "--reverse", "main"], check=True, capture_output=True, text=True
            )
            with Repository.open(place) as repository:
                found[files] = _noticed(repository, listed.stdout.split())
        small, large = found.values()
    return Measured(large / small, f"{large * 1000:.2f} ms at 100k files, {small * 1000:.2f} ms at 10k")


def _lineage() -> Measured:
    with _folder() as folder:
        _history(folder / "r", 100_000, 200)
        with Repository.open(folder / "r") as repository:
            head, first = repository.commit("main"), repository.commit("main~199")
            times = []
            for _ in range(11):
                start = time.perf_counter()
                if not repository.is_ancestor(first, head):
                    raise RuntimeError("the first commit is no ancestor of the last")
                times.append(time.perf_counter() - start)
    return Measured(median(times) * 1000, "one git process, 200 commits back in a tree of 100k files")


ROWS = [
    Row("journal", 3.0, "×", _journal_row, "100k durable journal entries, 100 workers waiting, against bare SQLite"),
    Row("journal-replay", 4.0, "×", _replay_row, "the journal verified and folded, against reading its JSON"),
    Row("changed-paths", 2.0, "×", _changed_paths, "a one-file commit to its changed contents, 100k files against 10k"),
    Row("lineage", 20.0, "ms", _lineage, "whether what was applied is an ancestor"),
]
