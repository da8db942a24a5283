"""What people get wrong of a node, or of a machine on it: one sentence each, with its field, and the others go on."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drivers.incus.daemons import Daemons, missing, running
from tests.drivers.incus.desk import Desk
from tests.drivers.incus.proxy import Proxy

pytestmark = pytest.mark.real

SITE = """\
apiVersion: trueup/v1
kind: Datacenter
metadata: {name: dc}
spec:
  id: 0f7d1a56-35c1-4f0d-9c3b-2b6c1f0e7a13
  follow: auto
  drift: heal
  nicTags: {front: {}}
---
apiVersion: trueup/v1
kind: Node
metadata: {name: good}
spec: {driver: incus, address: "unix:SOCKET", nics: {front: none}}
---
apiVersion: trueup/v1
kind: Network
metadata: {name: shared}
spec: {nicTag: front, subnet: 10.87.1.0/24, range: 10.87.1.100-10.87.1.199, gateway: 10.87.1.1}
---
apiVersion: trueup/v1
kind: Image
metadata: {name: busybox}
spec: {source: {busybox: static}, type: rootfs}
---
apiVersion: trueup/v1
kind: Package
metadata: {name: xs}
spec: {cpu: 0.25, memory: 64Mi, disk: 100Mi, threads: 200}
---
apiVersion: trueup/v1
kind: Tenant
metadata: {name: acme}
---
apiVersion: trueup/v1
kind: Machines
metadata: {tenant: acme}
items:
  web: {image: busybox, package: xs, nics: [shared], node: good}
"""
BAD = """\
apiVersion: trueup/v1
kind: Node
metadata: {name: NAME}
spec:
  driver: incus
  address: ADDRESS
  nics: {front: none}
"""


ODD = """\
apiVersion: trueup/v1
kind: Package
metadata: {name: odd}
spec: {cpu: 0.25, memory: MEMORY, disk: 100Mi, threads: 200}
---
apiVersion: trueup/v1
kind: Machine
metadata: {tenant: acme, name: odd}
spec: {image: busybox, package: odd, nics: [shared], node: good}
"""


class Office(Desk):
    """With a host that is reached by its socket and over the network, and a client's certificate that it does not
    know."""

    def __init__(self, folder: Path, daemons: Daemons) -> None:
        super().__init__(folder)
        self.daemons = daemons
        self.address = daemons.listen()
        self.pin = daemons.query("/1.0")["environment"]["certificate_fingerprint"]
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
             "2", "-subj", "/CN=stranger", "-keyout", str(self.repo / "key.pem"), "-out", str(self.repo / "cert.pem")],
            check=True, capture_output=True,
        )  # fmt: skip
        self.write("site.yaml", SITE.replace("SOCKET", daemons.socket()))

    def bad(self, name: str, address: str, more: str = "") -> None:
        self.write(f"{name}.yaml", BAD.replace("NAME", name).replace("ADDRESS", address) + more)


@pytest.fixture(scope="module", params=["incus", "lxd"])
def desk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    if why := missing(request.param):
        pytest.skip(f"NOT RUN on {request.param}: {why}")
    with running(request.param, f"b{request.param[0]}", pool="dir") as daemons:
        yield Office(tmp_path_factory.mktemp("bad"), daemons)


def said_of(text: str, node: str) -> str:
    """The one line that tells of it."""
    lines = {line.strip() for line in text.splitlines() if re.search(rf"\b{node}\b", line)}
    assert len(lines) == 1, f"{node}: {lines}\n{text}"
    return lines.pop()


@pytest.mark.timeout(240)
def test_value_that_a_server_refuses_is_told_with_machine_field_and_node_and_the_others_go_on(desk: Office) -> None:
    desk.write("odd.yaml", ODD.replace("MEMORY", "64Mi"))
    desk.commit("two machines")
    desk.trueup("apply", "--yes")
    desk.write("odd.yaml", ODD.replace("MEMORY", "1Ki"))
    desk.edit("site.yaml", "memory: 64Mi", "memory: 80Mi")
    desk.commit("one too small")
    (said,) = re.findall(r"✗ (Machine/acme/odd  set memory: \S.*\S) +good\b", desk.trueup("apply", "--yes", code=6))
    assert desk.daemons.query("/1.0/instances/web")["config"]["limits.memory"] == "80MiB", "the other goes on"
    assert desk.daemons.query("/1.0/instances/odd")["config"]["limits.memory"] == "64MiB", f"{said}: it is as it was"
    desk.edit("site.yaml", "memory: 80Mi", "memory: 64Mi")
    desk.write("odd.yaml", ODD.replace("MEMORY", "64Mi"))


@pytest.mark.timeout(240)
def test_nodes_that_cannot_be_used_are_told_in_a_line_each_and_the_good_one_goes_on(desk: Office) -> None:
    desk.commit("one good host")
    desk.trueup("apply", "--yes")
    desk.write("site.yaml", (desk.repo / "site.yaml").read_text().replace("memory: 64Mi", "memory: 96Mi"))
    identity = "  identity: {certificate: cert.pem, key: {secret: key}, pin: PIN}\n"
    desk.bad("stranger", desk.address, identity.replace("PIN", desk.pin))
    desk.bad("impostor", desk.address, identity.replace("PIN", "ab" * 32))
    ancient = Proxy(desk.daemons.root / "ancient.socket", desk.daemons.socket())
    desk.bad("ancient", f"unix:{ancient.path}")
    desk.bad("nowhere", "unix:/nowhere/unix.socket")
    desk.commit("four bad ones")
    desk.environment["TRUEUP_SECRET_KEY"] = (desk.repo / "key.pem").read_text()
    try:
        with ancient.rewriting(r"^GET /1\.0$", b'"instances"', b'"instancez"'):
            said = desk.trueup("plan", code=4)
            assert "does not trust our client certificate" in said_of(said, "stranger")
            assert "identity.pin" in said_of(said, "impostor")
            assert "which is too old" in said_of(said, "ancient")
            assert "address: unix:/nowhere/unix.socket cannot be reached" in said_of(said, "nowhere")
            desk.trueup("apply", "--yes", code=4)
    finally:
        ancient.close()
    assert desk.daemons.query("/1.0/instances/web")["config"]["limits.memory"] == "96MiB", "the good one goes on"


_AS_NOBODY = """
import os, sys, anyio
from drivers.incus import DRIVER
from reconciler.core.desired import NodeWant
from reconciler.driver import NodeUnreachable
os.setgroups([]); os.setgid(65534); os.setuid(65534)
async def main():
    try:
        await DRIVER.open(NodeWant("inc", "incus", "", sys.argv[1]), {}).observe(began=1)
    except NodeUnreachable as error:
        print(error)
anyio.run(main)
"""


def test_a_socket_without_permission_is_one_sentence(desk: Office) -> None:
    command = [sys.executable, "-c", _AS_NOBODY, f"unix:{desk.daemons.socket()}"]
    desk.daemons.folder().chmod(0o711)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == [
        f"address: {desk.daemons.socket()} may not be opened by uid 65534: be root, or in the group that owns it"
    ]
