"""The same 50 containers by `trueup plan` and by a playbook, nothing to do for either.

Owns: the specs, the playbook, the two timings. Must not go here: bringing the host up.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.drivers.incus.daemons import Daemons
from tests.drivers.incus.desk import Desk

SPECS = """\
apiVersion: trueup/v1
kind: Datacenter
metadata: {name: bench}
spec: {id: 8a1d8f6e-35c1-4f0d-9c3b-2b6c1f0e7a13, nicTags: {internal: {}}}
---
apiVersion: trueup/v1
kind: Node
metadata: {name: here}
spec: {driver: incus, address: "unix:SOCKET", storage: {pool: local}, nics: {internal: none}}
---
apiVersion: trueup/v1
kind: Tenant
metadata: {name: t}
spec: {}
---
apiVersion: trueup/v1
kind: Network
metadata: {name: lan}
spec: {nicTag: internal, subnet: 10.88.0.0/24, range: 10.88.0.10-10.88.0.200, gateway: 10.88.0.1}
---
apiVersion: trueup/v1
kind: Image
metadata: {name: bb}
spec: {source: {busybox: static}, type: rootfs}
---
apiVersion: trueup/v1
kind: Package
metadata: {name: s}
spec: {memory: 64Mi, cpu: 0.02}
---
apiVersion: trueup/v1
kind: Machine
metadata: {name: m, tenant: t}
spec: {replicas: COUNT, image: bb, package: s, nics: [lan]}
"""
PLAYBOOK = """\
- hosts: localhost
  gather_facts: false
  connection: local
  tasks:
    - community.general.lxd_container:
        url: unix:SOCKET
        name: "m-{{ item }}"
        state: started
        config: {limits.memory: 64MiB}
      loop: "{{ range(1, COUNT + 1) | list }}"
"""


class NotInstalled(Exception):
    """There is no Ansible here, and none to be had: one sentence."""


def program(folder: Path) -> str:
    """`ansible-playbook` of the PATH, else of an environment that is made in the folder."""
    found = shutil.which("ansible-playbook")
    if found is not None:
        return found
    venv = folder / "ansible"
    for argv in (
        [sys.executable, "-m", "venv", str(venv)],
        [str(venv / "bin/pip"), "install", "-q", "--disable-pip-version-check", "ansible"],
    ):
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise NotInstalled(f"ansible is not on the PATH and cannot be installed: {last}")
    return str(venv / "bin/ansible-playbook")


def compare(daemons: Daemons, folder: Path, count: int, ansible: str) -> tuple[float, float]:
    """Median seconds of three runs each, ours and theirs."""
    desk = Desk(folder)
    desk.write("all.yaml", SPECS.replace("SOCKET", daemons.socket()).replace("COUNT", str(count)))
    (folder / "play.yaml").write_text(PLAYBOOK.replace("SOCKET", daemons.socket()).replace("COUNT", str(count)))
    desk.commit("all")
    desk.trueup("apply", "--yes")
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(3):
        start = time.perf_counter()
        desk.trueup("plan")
        times[0].append(time.perf_counter() - start)
        start = time.perf_counter()
        subprocess.run([ansible, str(folder / "play.yaml")], check=True, capture_output=True)
        times[1].append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])
