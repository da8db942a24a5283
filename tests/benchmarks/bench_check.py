"""A hundred nodes that are as they should be, looked at by real commands: `trueup plan` against `ansible-playbook
--check`.

Compared: both sides run on this host alone and look at what is there. Ours: a hundred nodes of driver `local`, each
with a folder of zones, a bridge, firewall tables, an image and a running zone of its own, all of it read and compared
with git. Theirs: a hundred hosts of the local connection, 25 side by side, each asked whether one folder is there.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import anyio

from drivers.local import DRIVER, unusable
from reconciler.core.desired import NodeWant
from tests.benchmarks.bench_commands import CATALOGUE, Bench
from tests.benchmarks.peers import found, missing, ratio, void
from tests.benchmarks.rows import Measured, Row, interleaved

NODES, FORKS = 100, 25
_SITE = """\
apiVersion: trueup/v1
kind: Datacenter
metadata: {name: bench}
spec:
  id: 3f0c1e52-7d5a-4c57-9d0e-6f1b6a1d2c51
  nicTags: {%s}
"""
_NODE = """\
---
apiVersion: trueup/v1
kind: Node
metadata: {name: n%(n)d}
spec: {driver: local, nics: {t%(n)d: none}, storage: {backend: copy}}
---
apiVersion: trueup/v1
kind: Network
metadata: {name: net%(n)d}
spec: {nicTag: t%(n)d, subnet: 10.213.%(n)d.0/24, range: 10.213.%(n)d.100-10.213.%(n)d.199, gateway: 10.213.%(n)d.1}
---
apiVersion: trueup/v1
kind: Machine
metadata: {name: web%(n)d, tenant: ops}
spec: {image: busybox, package: xs, nics: [net%(n)d], node: n%(n)d}
"""


def _site() -> str:
    tags = ", ".join(f"t{number}: {{}}" for number in range(NODES))
    return _SITE % tags + CATALOGUE + "".join(_NODE % {"n": number} for number in range(NODES))


async def _down(state: Path) -> None:
    for number in range(NODES):
        driver = DRIVER.open(NodeWant(f"n{number}", "local", ""), {"state": str(state)})
        await driver.tear_down()


def _check() -> Measured:
    binary = found("ansible-playbook")
    if reason := unusable():
        return Measured(None, reason)
    if binary is None:
        return missing("ansible-playbook")
    with tempfile.TemporaryDirectory(prefix="trueup-bench-", dir="/var/tmp") as name:
        folder = Path(name)
        hosts, book = folder / "hosts", folder / "book.yaml"
        said = f"ansible_connection=local ansible_python_interpreter={sys.executable}"
        hosts.write_text("[all]\n" + "".join(f"h{n} {said}\n" for n in range(NODES)))
        book.write_text(
            "- hosts: all\n  gather_facts: false\n  tasks:\n"
            f'    - file: {{path: "{folder}/there/{{{{ inventory_hostname }}}}", state: directory}}\n'
        )
        for number in range(NODES):
            (folder / "there" / f"h{number}").mkdir(parents=True)
        environment = {**os.environ, "HOME": name, "ANSIBLE_LOCALHOST_WARNING": "0"}
        bench = Bench(folder, _site())
        try:
            bench.run("git", "add", ".")
            bench.run("git", "commit", "-qm", "a hundred nodes")
            bench.run("trueup", "apply", "--yes")

            def plan() -> None:
                told = bench.run("trueup", "plan")
                assert "Nothing to do" in told, told

            argv = [binary, "-i", str(hosts), "-f", str(FORKS), "--check", str(book)]
            return ratio(*interleaved([plan, lambda: void(argv, environment)], rounds=5))
        finally:
            anyio.run(_down, bench.state)


ROWS = [
    Row(
        "check-vs-ansible", 1 / 20, "×", _check,
        "100 nodes, nothing to do, really looked at, against `ansible-playbook --check` of one folder a host",
        long=True,
    ),
]  # fmt: skip
