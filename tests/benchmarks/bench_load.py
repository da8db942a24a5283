"""Rows of the loader: a whole tree, one file, the collector.

Owns: a tree of machines in a bare repository, and the least that any loader must do with it. Must not go here: plans.
"""

from __future__ import annotations

import gc
import multiprocessing
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from _ruamel_yaml import CParser, StreamEndEvent

from reconciler.edge.collector import quiet_collector
from reconciler.edge.git import CommitTree, Repository
from reconciler.edge.load import Loader
from tests.benchmarks.rows import Measured, Row, interleaved

MACHINES = 10_000

_HEAD = {
    "datacenter.yaml": "apiVersion: trueup/v1\nkind: Datacenter\nmetadata: {name: dc}\n"
    "spec: {id: 3f0c1e52-7d5a-4c57-9d0e-6f1b6a1d2c01, dns: {resolvers: [9.9.9.9]}}\n",
    "nodes.yaml": "apiVersion: trueup/v1\nkind: Nodes\nitems:\n"
    + "".join(f"  n{n}: {{driver: sim, address: 'sim:x', nics: {{lan: e}}}}\n" for n in range(20)),
    "packages.yaml": "apiVersion: trueup/v1\nkind: Packages\nitems:\n"
    + "".join(f"  p{n}: {{memory: {n + 1}Gi, cpu: {n + 1}, disk: 10Gi}}\n" for n in range(8)),
    "images.yaml": "apiVersion: trueup/v1\nkind: Images\nitems:\n"
    + "".join(f"  i{n}: {{type: rootfs, source: {{debian: bookworm}}}}\n" for n in range(4)),
    "networks.yaml": "apiVersion: trueup/v1\nkind: Networks\nitems:\n"
    + "".join(
        f"  net{n}: {{nicTag: lan, vlan: {n + 1}, subnet: 10.{n}.0.0/16, range: 10.{n}.1.0-10.{n}.250.0}}\n"
        for n in range(50)
    ),
    "tenant.yaml": "apiVersion: trueup/v1\nkind: Tenant\nmetadata: {name: t}\n"
    "spec: {keys: {a: 'ssh-ed25519 AAAA a'}}\n",
}


def _machine(number: int, size: int = 20) -> str:
    return (
        f"apiVersion: trueup/v1\nkind: Machine\nmetadata:\n  name: m-{number:07d}\n  tenant: t\n"
        "  tags:\n    role: web\n"
        f"    env: prod\nspec:\n  package: p{number % 8}\n  image: i{number % 4}\n  nics:\n"
        f"    - net{number % 50}\n"
        f'  sshKeys: tenant\n  metadata:\n    app: shop\n    shard: "{number % 97}"\n'
        f"  disks:\n    data: {{size: {size}Gi}}\n"
        "  ready: {tcp: 80, within: 30s}\n"
    )


def _path(number: int) -> str:
    return f"machines/{number >> 8 & 255:02x}/{number & 255:02x}/m{number}.yaml"


@contextmanager
def repository(machines: int) -> Iterator[Path]:
    """A bare repository with one document a file."""
    with tempfile.TemporaryDirectory(prefix="trueup-bench-") as folder:
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", folder], check=True)
        importer = subprocess.Popen(["git", "-C", folder, "fast-import", "--quiet"], stdin=subprocess.PIPE)
        assert importer.stdin is not None
        importer.stdin.write(b"commit refs/heads/main\ncommitter a <a> 0 +0000\ndata 1\nx\n")
        files = _HEAD | {_path(number): _machine(number) for number in range(machines)}
        for path, text in files.items():
            importer.stdin.write(b"M 100644 inline %s\ndata %d\n%s\n" % (path.encode(), len(text), text.encode()))
        importer.stdin.close()
        if importer.wait():
            raise RuntimeError("git fast-import failed")
        yield Path(folder)


def _whole(folder: Path, *, collector_off: bool = False) -> Loader:
    with Repository.open(folder) as opened:
        where = opened.revision("main")
        tree = CommitTree(opened.folder, where.tree)
        loader = Loader()
        guard = quiet_collector() if collector_off else nullcontext()
        with guard:
            loader.load(tree, where)
        tree.close()
        gc.unfreeze()
        return loader


def _drain(folder: Path, tree: str, blobs: Sequence[str]) -> None:
    for data in CommitTree(folder, tree).read(blobs):
        get = CParser(data.decode()).get_event
        while type(get()) is not StreamEndEvent:
            pass


def _least(folder: Path) -> None:
    """Listing, reading and draining libyaml's events, in two processes."""
    with Repository.open(folder) as opened:
        where = opened.revision("main")
        tree = CommitTree(opened.folder, where.tree)
        blobs = [blob for _, blob in tree.entries()]
        tree.close()
    context = multiprocessing.get_context("fork")
    halves = [context.Process(target=_drain, args=(folder, where.tree, blobs[half::2])) for half in (0, 1)]
    for half in halves:
        half.start()
    for half in halves:
        half.join()


def _against_the_least() -> Measured:
    with repository(MACHINES) as folder:
        load, least = interleaved([lambda: _whole(folder), lambda: _least(folder)])
    return Measured(load / least, f"{load / MACHINES * 1e6:.0f} against {least / MACHINES * 1e6:.0f} µs a machine")


def _collector() -> Measured:
    with repository(MACHINES) as folder:
        shipped, off = interleaved([lambda: _whole(folder), lambda: _whole(folder, collector_off=True)])
    return Measured(shipped / off, f"{shipped:.2f} s as shipped, {off:.2f} s with the collector off")


def _one_file(machines: int = MACHINES) -> Measured:
    with repository(machines) as folder:
        loader = _whole(folder)
        times = []
        for size in range(21, 52):
            text = _machine(7, size)
            blob = subprocess.run(
                ["git", "-C", str(folder), "hash-object", "-w", "--stdin"],
                input=text.encode(),
                capture_output=True,
                check=True,
            )
            with Repository.open(folder) as opened:
                tree = CommitTree(opened.folder, opened.revision("main").tree)
                name = blob.stdout.decode().strip()
                next(iter(tree.read([name])))  # its pipe to git is open
                began = time.perf_counter()
                delta = loader.update(tree, {_path(7): name})
                times.append(time.perf_counter() - began)
                tree.close()
            assert delta.changed == {"Machine/t/m-0000007"}
    return Measured(sorted(times)[len(times) // 2] * 1000, f"median of {len(times)} edits among {machines} files")


ROWS = [
    Row("load-vs-limit", 2.0, "×", _against_the_least, "10k documents loaded, against listing, reading, draining"),
    Row("gc-guard", 1.1, "×", _collector, "10k documents loaded as shipped, against the collector off"),
    Row("load-one-file", 3.0, "ms", _one_file, "one edited file among 10k, to a new Resource"),
    Row("load-100k", 3.0, "ms", lambda: _one_file(100_000), "the same among 100k", long=True),
]  # fmt: skip
