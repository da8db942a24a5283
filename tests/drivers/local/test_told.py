"""What commands tell of a node of this host that its driver does not hold."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from drivers.local import DRIVER
from reconciler.core.desired import NodeWant
from tests.drivers.incus.desk import Desk

pytestmark = pytest.mark.real

SITE = """\
apiVersion: trueup/v1
kind: Datacenter
metadata: {name: here}
spec: {id: 3f0c1e52-7d5a-4c57-9d0e-6f1b6a1d2c77, nicTags: {front: {}}}
---
apiVersion: trueup/v1
kind: Node
metadata: {name: here}
spec: {driver: local, nics: {front: none}, storage: {backend: copy}}
---
apiVersion: trueup/v1
kind: Packages
items:
  s: {cpu: 0.5, memory: 64Mi, disk: 64Mi, ioRead: 20Mi}
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
---
apiVersion: trueup/v1
kind: Machine
metadata: {name: web, tenant: ops}
spec: {image: busybox, package: s}
"""


def test_explain_tells_which_caps_of_a_package_nothing_holds(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.write("site.yaml", SITE)
    desk.commit("a node")
    try:
        told = desk.trueup("explain", "ops/web").splitlines()
    finally:
        anyio.run(DRIVER.open(NodeWant("here", "local", ""), {"state": desk.environment["TRUEUP_STATE"]}).tear_down)
    (line,) = [" ".join(line.split()) for line in told if "not held" in line]
    assert line == "ioRead 20Mi/s not held: its driver has no such cap site.yaml:14"
    assert any(line.split()[:2] == ["memory", "64Mi"] for line in told)
