"""What the conformance kit needs of a real Incus or LXD host, by the engine's own client.

Owns: samples and the hand. Must not go here: expectations.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from copy import copy
from pathlib import Path
from typing import Any
from unittest import SkipTest

import msgspec

from drivers.incus import DRIVER, acl
from drivers.incus import marks as marking
from drivers.incus.busybox import build
from drivers.incus.units import write_quota, write_size
from reconciler.core.desired import NodeMember, NodeWant, Resource
from reconciler.core.observed import Object
from reconciler.core.refs import Ref, Target
from reconciler.driver import Driver
from reconciler.testing.harness import Harness, resource
from tests.drivers.incus.daemons import Daemons
from tests.drivers.incus.proxy import Proxy

MI = 2**20
REFUSED = {
    "create": r"^POST /1.0/instances\?",
    "start": r"^PUT /1.0/instances/[^/]+/state",
    "configure": r"^PATCH /1.0/instances/",
    "update": r"^PATCH /1.0/instances/",
}


class IncusHarness(Harness):
    interrupt_after = (0.0, 0.01, 0.06)

    def __init__(self, daemons: Daemons, spare: Daemons | None = None, *, members: int = 0) -> None:
        self.daemons = daemons
        self.spare = spare
        self.proxy = Proxy(daemons.root / f"{type(self).__name__}.socket", daemons.socket())
        self.shape = DRIVER.shape
        self.node = NodeWant("inc", "incus", "", f"unix:{self.proxy.path}", nics={"app": ""})
        self.target = Target("inc")
        if members:
            names = [daemons.member(number) for number in range(1, members + 1)]
            self.node = msgspec.structs.replace(self.node, members={name: NodeMember() for name in names})
            self.target = Target(f"inc/{names[-1]}")
        self.secrets = {"token": "hush"}
        self.digests = []
        self.files = {}
        for number in (0, 1):
            path = daemons.root / f"image{number}.tar.gz"
            self.digests.append(build(path, f"{number + 1}", plain=number == 1))
            self.files[self.digests[number]] = str(path)

    def beside(self) -> IncusHarness:
        targets = [Target(f"inc/{name}") for name in self.node.members]
        if not targets:
            raise SkipTest("the node has one target")
        other = copy(self)
        other.target = next(target for target in targets if target != self.target)
        return other

    async def open(self) -> Driver:
        return DRIVER.open(self.node, {})

    def image(self, number: int = 0) -> Resource:
        body = {"source": {"file": f"image{number}"}, "digest": self.digests[number], "type": "rootfs", "os": "linux"}
        return resource(Ref(f"Image/image{number}"), body)

    def network(self, number: int = 0) -> Resource:
        subnet = f"10.66.{number}"
        body = {
            "nicTag": "app",
            "subnet": f"{subnet}.0/24",
            "gateway": f"{subnet}.1",
            "nat": False,
            "range": [f"{subnet}.10", f"{subnet}.240"],
        }
        return resource(Ref(f"Network/net{number}"), body)

    def size(self, number: int) -> dict[str, Any]:
        keys = {"memory": 64 * MI, "cpu": 400, "threads": 200, "vcpus": 1, "disk": 120 * MI}
        keys |= {"ioRead": 200 * MI, "ioWrite": 100 * MI}
        return {"swap": 0, **{key: value * (number + 1) for key, value in keys.items()}}

    def edits(self) -> Mapping[str, Mapping[str, Any]]:
        nics = [{"networks": ["Network/net0"], "primary": True}]
        return {
            "hostname": {"hostname": "other"},
            "cpu uncapped": {"cpu": None},
            "disk unhurried": {"ioRead": None, "ioWrite": None},
            "cpu shared": {"cpuShares": 100},
            "keys": {"sshKeys": ["ssh-ed25519 AAAA one", "ssh-ed25519 AAAB two"]},
            "user data": {"userData": "#cloud-config\n"},
            "metadata": {"metadata": {"a/b": "1", "token": {"secret": "token", "keyed": "d1"}}},
            "metadata rotated": {"metadata": {"token": {"secret": "token", "keyed": "d2"}}},
            "no nics": {"nics": []},
            "nics": {"nics": nics},
            "no metadata": {"metadata": None},
            "no user data": {"userData": None},
            "no disk size": {"disk": None},
        }

    def drifts(self) -> Mapping[str, Any]:
        return {
            "/memory": 80 * MI,
            "/cpu": 250,
            "/threads": 150,
            "/ioRead": 70 * MI,
            "/disk": 100 * MI,
            "/nics/net0/ip": "10.66.0.250/24",
        }

    def data_disk(self) -> Mapping[str, Any]:
        return {"size": 20 * MI, "path": "/data"}

    # -- the hand

    def client(self, thing: Object, *args: str) -> str:
        """The engine's own client, in the project that the machine lives in. `%`: its name."""
        project, _, name = thing.native_name.rpartition("/")
        said = [name if each == "%" else each for each in args]
        return self.daemons.client(*(["--project", project] if project else []), *said)

    async def hand_set(self, thing: Object, path: str, value: Any) -> None:
        name = "%"
        spelled = {
            "/memory": lambda: ("config", "set", name, f"limits.memory={write_size(value)}"),
            "/cpu": lambda: ("config", "set", name, f"limits.cpu.allowance={write_quota(value)}"),
            "/threads": lambda: ("config", "set", name, f"limits.processes={value}"),
            "/ioRead": lambda: ("config", "device", "set", name, "root", f"limits.read={write_size(value)}"),
            "/disk": lambda: ("config", "device", "set", name, "root", f"size={write_size(value)}"),
            "/nics/net0/ip": lambda: ("config", "device", "set", name, "net0", f"ipv4.address={value[:-3]}"),
        }
        self.client(thing, *spelled[path]())

    async def hand_stop(self, thing: Object) -> None:
        self.client(thing, "stop", "--force", "%")

    async def hand_shell(self, thing: Object, script: str) -> str:
        project, _, name = thing.native_name.rpartition("/")
        return self.daemons.shell(name, script, project)

    async def hand_unmount(self, machine: Object, volume: str) -> None:
        self.client(machine, "config", "device", "remove", "%", volume)

    async def hand_unforward(self, network: Object, listen: str) -> None:
        self.daemons.client("network", "forward", "delete", network.native_name, listen, *self._placed())

    async def hand_let_in(self, network: Object) -> None:
        """Two ways: a rule more, and no rules at all."""
        name = network.native_name
        if self.daemons.kind == "lxd":
            self.daemons.client("network", "unset", name, acl.ATTACHED)
        else:
            self.daemons.client("network", "acl", "rule", "add", acl.name_of_acl(name), "ingress", "action=allow")

    async def hand_delete(self, thing: Object) -> None:
        self.client(thing, "delete", "--force", "%")

    async def hand_copy(self, thing: Object) -> str:
        """With another address: one that two machines have keeps both of them from starting, whoever made the copy.
        On the same member, if there are any: to another the servers would carry it as it runs, which takes CRIU."""
        project, _, own = thing.native_name.rpartition("/")
        self.client(thing, "copy", "%", f"{own}-copy", *self._placed())
        self.client(thing, "config", "device", "remove", f"{own}-copy", "net0")
        return f"{project}/{own}-copy" if project else f"{own}-copy"

    async def hand_unmanaged(self, name: str) -> str:
        made = self.daemons.query("/1.0/images?recursion=1")[0]["fingerprint"]
        root = {"type": "disk", "path": "/", "pool": "local"}
        member = self.member()
        self.daemons.query(
            f"/1.0/instances?target={member}" if member else "/1.0/instances",
            "POST",
            {
                "name": name,
                "profiles": [],
                "devices": {"root": root},
                "config": {"limits.memory": "64MiB"},
                "source": {"type": "image", "fingerprint": made},
            },
        )
        return name

    @asynccontextmanager
    async def partial_listing(self, hidden: Object) -> AsyncIterator[None]:
        with self.proxy.refusing(r"^GET /1.0/instances\?"):
            yield

    @asynccontextmanager
    async def another_node(self) -> AsyncIterator[None]:
        if self.spare is None:
            raise SkipTest("there is no second host to put in its place")
        claim = self._config()[marking.CLAIM]
        self.spare.query("/1.0", "PATCH", {"config": {marking.CLAIM: claim}})
        with self.proxy.turned_to(self.spare.socket()):
            yield

    @asynccontextmanager
    async def unclaimed(self) -> AsyncIterator[None]:
        claim = self._config()[marking.CLAIM]
        self._write_claim("")
        yield
        self._write_claim(claim)

    def member(self) -> str:
        """The cluster's member that is the target; nothing on a host of its own."""
        return self.target.partition("/")[2]

    def _placed(self) -> list[str]:
        return ["--target", self.member()] if self.member() else []

    def _config(self) -> Mapping[str, str]:
        """Where the claim stands: a host says it itself, each member of a cluster has its own."""
        said = self.daemons.query(f"/1.0/cluster/members/{self.member()}" if self.member() else "/1.0")
        return dict(said["config"])

    def _write_claim(self, claim: str) -> None:
        if self.member():
            self.daemons.client("cluster", "set", self.member(), f"{marking.CLAIM}={claim}")
        else:
            self.daemons.query("/1.0", "PATCH", {"config": {marking.CLAIM: claim}})

    @asynccontextmanager
    async def unreachable(self) -> AsyncIterator[None]:
        with self.proxy.cut():
            yield

    def failing(self, verb: str) -> AbstractAsyncContextManager[None]:
        if verb not in REFUSED:
            raise SkipTest(f"the harness cannot make {verb} fail")
        return self._refusing(verb)

    @asynccontextmanager
    async def _refusing(self, verb: str) -> AsyncIterator[None]:
        with self.proxy.refusing(REFUSED[verb]):
            yield

    @asynccontextmanager
    async def never_ready(self, thing: Object) -> AsyncIterator[None]:
        yield

    def close(self) -> None:
        self.proxy.close()


class ProjectHarness(IncusHarness):
    """The same where each tenant has a project of its own: that of the kit's machines is `conformance`."""

    def __init__(self, daemons: Daemons, spare: Daemons | None = None, *, members: int = 0) -> None:
        super().__init__(daemons, spare, members=members)
        self.node = msgspec.structs.replace(self.node, projects=True)

    def beneath(self) -> tuple[Resource, ...]:
        networks = [f"Network/net{number}" for number in (0, 1)]
        limits = {"memory": 8 * 2**30, "machines": 50}
        body = {"limits": limits, "certificates": {}, "networks": networks}
        return (resource(Ref("Tenant/conformance"), body),)


def path_of(daemons: Daemons) -> Path:
    return daemons.root
