"""Commands on 50 real zones: `trueup plan` when nothing changed, and `trueup apply` of one live resize.

Owns: the repository and the node for them. The node is made, filled and taken away by the commands that people use.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio

from drivers.local import DRIVER, unusable
from drivers.local.place import Place
from drivers.local.storage.choose import unusable as storage_unusable
from reconciler.core.desired import NodeWant
from tests.benchmarks.rows import Measured, Row

ZONES, ROUNDS = 50, 9
CATALOGUE = """\
---
apiVersion: trueup/v1
kind: Packages
items:
  xs: {cpu: 0.25, memory: 64Mi, disk: 128Mi, threads: 200}
---
apiVersion: trueup/v1
kind: Image
metadata: {name: busybox}
spec: {source: {busybox: static}, type: rootfs, os: linux}
---
apiVersion: trueup/v1
kind: Tenant
metadata: {name: ops}
spec: {email: noc@example.org}
"""
"""A size, an image that is built here, and a tenant."""
_SITE = """\
apiVersion: trueup/v1
kind: Datacenter
metadata: {name: bench}
spec:
  id: 3f0c1e52-7d5a-4c57-9d0e-6f1b6a1d2c50
  nicTags: {front: {}}
  placement: {overprovision: {cpu: 64}}
---
apiVersion: trueup/v1
kind: Node
metadata: {name: here}
spec: {driver: local, nics: {front: none}}
---
apiVersion: trueup/v1
kind: Network
metadata: {name: front}
spec: {nicTag: front, subnet: 10.213.8.0/24, range: 10.213.8.100-10.213.8.199, gateway: 10.213.8.1}
%s---
apiVersion: trueup/v1
kind: Machine
metadata: {name: web, tenant: ops}
spec: {image: busybox, package: xs, nics: [front], replicas: %d}
"""
_ONE = """\
apiVersion: trueup/v1
kind: Package
metadata: {name: one}
spec: {memory: %dMi, cpu: 0.25, disk: 128Mi, threads: 200}
---
apiVersion: trueup/v1
kind: Machine
metadata: {name: one, tenant: ops}
spec: {image: busybox, package: one, nics: [front]}
"""


class Bench:
    """A repository with a site on it, by default of 50 machines that are made for real on a node of this host."""

    def __init__(self, folder: Path, site: str = _SITE % (CATALOGUE, ZONES - 1)) -> None:
        self.repo, self.state = folder / "repo", folder / "state"
        self.repo.mkdir()
        who = dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"), "bench")
        mail = dict.fromkeys(("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "bench@example.org")
        self.environment = {**os.environ, **who, **mail, "TRUEUP_STATE": str(self.state)}
        self.run("git", "init", "-q", "-b", "main")
        (self.repo / "site.yaml").write_text(site)

    def run(self, *argv: str, expect: int = 0) -> str:
        line = [str(Path(sys.executable).with_name("trueup")), *argv[1:]] if argv[0] == "trueup" else argv
        told = subprocess.run(line, cwd=self.repo, env=self.environment, capture_output=True, text=True, check=False)
        assert told.returncode == expect, f"{' '.join(argv)}: {told.returncode}\n{told.stdout}{told.stderr}"
        return told.stdout

    def commit(self, memory: int) -> str:
        """Commit the machine's size; the digest of the plan that takes it there."""
        (self.repo / "one.yaml").write_text(_ONE % memory)
        self.run("git", "add", ".")
        self.run("git", "commit", "-qm", f"one has {memory} MiB")
        return str(json.loads(self.run("trueup", "plan", "--json"))["digest"])

    def cap(self) -> Path:
        """Where the kernel tells the memory cap of the machine that is resized, in bytes."""
        found = json.loads(self.run("trueup", "get", "machine", "--json"))
        (uid,) = [each["uid"] for each in found if each["ref"].endswith("/one")]
        group = Place((self.state / "local" / "here").absolute()).cgroup
        v1 = Path("/sys/fs/cgroup/memory", group, uid, "memory.limit_in_bytes")
        return v1 if v1.exists() else Path("/sys/fs/cgroup", group, uid, "memory.max")

    def tear_down(self) -> None:
        driver = DRIVER.open(NodeWant("here", "local", ""), {"state": str(self.state)})
        anyio.run(driver.tear_down)


@contextlib.contextmanager
def _filled() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="trueup-bench-", dir="/var/tmp") as folder:
        bench = Bench(Path(folder))
        try:
            bench.run("trueup", "apply", bench.commit(64), "--yes")
            yield bench
        finally:
            bench.tear_down()


def _reason() -> str | None:
    return unusable() or storage_unusable("zfs-fuse")


def _plan() -> Measured:
    if reason := _reason():
        return Measured(None, reason)
    times: list[float] = []
    with _filled() as bench:
        for _ in range(ROUNDS):
            start = time.perf_counter()
            told = bench.run("trueup", "plan")
            times.append(time.perf_counter() - start)
            assert "Nothing to do" in told, told
    return Measured(statistics.median(times), f"whole process, {ZONES} zones observed, nothing to do")


def _apply() -> Measured:
    """From the start of the process until somebody else finds the new cap in force; the process also ends well."""
    if reason := _reason():
        return Measured(None, reason)
    read_back: list[float] = []
    ended: list[float] = []
    with _filled() as bench:
        cap = bench.cap()
        for turn in range(ROUNDS):
            memory = 96 + 32 * (turn % 2)
            digest = bench.commit(memory)
            assert int(cap.read_text()) != memory << 20
            with ThreadPoolExecutor(1) as reader:
                start = time.perf_counter()
                found = reader.submit(_found, cap, memory << 20)
                bench.run("trueup", "apply", digest, "--yes")
                ended.append(time.perf_counter() - start)
                read_back.append(found.result() - start)
            assert int(cap.read_text()) == memory << 20
    whole = statistics.median(ended)
    return Measured(statistics.median(read_back), f"one of {ZONES} zones; the process ends after {whole:.2f} s")


def _found(cap: Path, wanted: int) -> float:
    """When a cap is read as wanted, looked at every millisecond."""
    until = time.perf_counter() + 60
    while int(cap.read_text()) != wanted:
        assert time.perf_counter() < until, f"{cap} is not {wanted}"
        time.sleep(0.001)
    return time.perf_counter()


ROWS = [
    Row("local-plan", 0.5, "s", _plan, "`trueup plan` of 50 real zones, nothing to do, whole process"),
    Row(
        "local-apply",
        0.3,
        "s",
        _apply,
        "one live resize among 50 zones: from the start of `trueup apply DIGEST` until others read the new cap",
    ),
]
