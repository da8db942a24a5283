"""What the rows of whole processes have on a real host: a datacenter of machines alike, and the bare API.

Owns: the specs, calls as short as they can be. Must not go here: what is timed.
"""

from __future__ import annotations

import http.client
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.drivers.incus.daemons import Daemons
from tests.drivers.incus.desk import Desk

NODE = 'spec: {driver: incus, address: "unix:SOCKET", storage: {pool: local}, nics: {internal: none}}'
_SPECS = f"""\
apiVersion: trueup/v1
kind: Datacenter
metadata: {{name: bench}}
spec: {{id: 8a1d8f6e-35c1-4f0d-9c3b-2b6c1f0e7a13, drift: heal, nicTags: {{internal: {{}}}}}}
---
apiVersion: trueup/v1
kind: Node
metadata: {{name: inc}}
{NODE}
---
apiVersion: trueup/v1
kind: Tenant
metadata: {{name: t}}
spec: {{}}
---
apiVersion: trueup/v1
kind: Network
metadata: {{name: lan}}
spec: {{nicTag: internal, subnet: 10.88.0.0/24, range: 10.88.0.10-10.88.0.200, gateway: 10.88.0.1}}
---
apiVersion: trueup/v1
kind: Image
metadata: {{name: bb}}
spec: {{source: {{busybox: static}}, type: rootfs}}
---
apiVersion: trueup/v1
kind: Package
metadata: {{name: s}}
spec: {{memory: 64Mi, cpu: 0.02}}
---
apiVersion: trueup/v1
kind: Machine
metadata: {{name: m, tenant: t}}
spec: {{replicas: COUNT, image: bb, package: s, nics: [lan]}}
"""
FILE = "all.yaml"
PATIENCE = 600.0
"""Seconds that a command may take."""


def specs(daemons: Daemons, count: int, node: str = NODE) -> str:
    return _SPECS.replace(NODE, node).replace("SOCKET", daemons.socket()).replace("COUNT", str(count))


def desk(daemons: Daemons, folder: Path, count: int, node: str = NODE) -> Desk:
    """A repository that asks for so many machines; nothing is there yet."""
    made = Desk(folder)
    made.write(FILE, specs(daemons, count, node))
    made.commit("all")
    return made


class Bare:
    """One kept connection, the standard library."""

    def __init__(self, path: str) -> None:
        self._connection = http.client.HTTPConnection("node")
        self._connection.sock = socket.socket(socket.AF_UNIX)
        self._connection.sock.connect(path)

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        self._connection.request(method, path, None if body is None else json.dumps(body))
        answer = json.loads(self._connection.getresponse().read())
        if answer["type"] == "async":
            answer = self("GET", f"{answer['operation'].partition('?')[0]}/wait")
            assert answer["status_code"] == 200, answer
            return answer
        assert answer["type"] == "sync", answer
        return answer["metadata"]


def clear(daemons: Daemons) -> None:
    """Every machine goes, by hand."""

    def remove(each: dict[str, Any]) -> None:
        call, path = Bare(daemons.socket()), f"/1.0/instances/{each['name']}"
        if each["status"] == "Running":
            call("PUT", f"{path}/state", {"action": "stop", "timeout": -1, "force": True})
        call("DELETE", path)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(remove, daemons.query("/1.0/instances?recursion=1")))
