"""The simulated driver's harness for the conformance kit: the fleet's file changed from behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import copy
from pathlib import Path
from typing import Any
from unittest import SkipTest

from drivers.sim import DRIVER
from drivers.sim.world import World
from reconciler.core.desired import NodeMember, NodeWant, Resource
from reconciler.core.observed import Object
from reconciler.core.refs import Ref, Target
from reconciler.driver import Driver
from reconciler.testing.harness import Harness, resource

GI = 2**30


class SimHarness(Harness):
    """A node, or one member of a cluster of three. `projects`: each tenant has one of its own there."""

    def __init__(self, file: Path, members: Sequence[str], *, projects: bool = False) -> None:
        self.world = World(file)
        names = self.world.add_node("edge1", members=members, carries=["admin", "public"])
        self.shape = DRIVER.shape
        self.target = Target(names[0])
        self.node = NodeWant(
            "edge1",
            "sim",
            "",
            f"sim:{file}",
            nics={"admin": "eth0", "public": "eth1"},
            members={member: NodeMember() for member in members},
            projects=projects,
        )
        self.secrets = {"token": "hush"}

    def beside(self) -> SimHarness:
        if not self.node.members:
            raise SkipTest("the node has one target")
        other = copy(self)
        other.target = next(Target(f"edge1/{each}") for each in self.node.members if f"edge1/{each}" != self.target)
        return other

    async def open(self) -> Driver:
        return DRIVER.open(self.node, {})

    def image(self, number: int = 0) -> Resource:
        body = {"source": {"busybox": "1.36"}, "digest": f"sha256:{number}a", "type": "rootfs", "os": "linux"}
        return resource(Ref(f"Image/image{number}"), body)

    def network(self, number: int = 0) -> Resource:
        net = f"10.0.{number}"
        body = {
            "nicTag": "admin",
            "vlan": 10 + number,
            "subnet": f"{net}.0/24",
            "range": [f"{net}.10", f"{net}.240"],
            "gateway": f"{net}.1",
            "mtu": 1500,
        }
        return resource(Ref(f"Network/net{number}"), body)

    def size(self, number: int) -> dict[str, Any]:
        keys = {"memory": GI, "swap": GI, "cpu": 500, "cpuShares": 100, "threads": 200, "vcpus": 1, "disk": 5 * GI}
        keys |= {"ioPriority": 100, "ioRead": 20 << 20, "ioWrite": 10 << 20}
        return {key: value * (number + 1) for key, value in keys.items()}

    def beneath(self) -> tuple[Resource, ...]:
        body = {"limits": {"machines": 99}, "certificates": {}, "networks": ["Network/net0"]}
        return (resource(Ref("Tenant/conformance"), body),) if self.node.projects else ()

    def edits(self) -> Mapping[str, Mapping[str, Any]]:
        nics = [{"networks": ["Network/net0"], "primary": True}]
        return {
            "hostname": {"hostname": "other"},
            "cpu uncapped": {"cpu": None},
            "disk unhurried": {"ioRead": None, "ioWrite": None},
            "keys": {"sshKeys": ["ssh-ed25519 AAAA one", "ssh-ed25519 AAAB two"]},
            "user data": {"userData": "#cloud-config\n"},
            "metadata": {"metadata": {"a/b": "1", "token": {"secret": "token", "keyed": "d1"}}},
            "metadata rotated": {"metadata": {"token": {"secret": "token", "keyed": "d2"}}},
            "no nics": {"nics": []},
            "nics": {"nics": nics},
            "no metadata": {"metadata": None},
            "no user data": {"userData": None},
        }

    def drifts(self) -> Mapping[str, Any]:
        return {
            "/memory": 3 * GI,
            "/cpu": 4000,
            "/disk": 9 * GI,
            "/hostname": "impostor",
            "/nics/net0/ip": "10.0.0.250/24",
            "/brand": "vm",
            "/image": "sha256:other",
        }

    def data_disk(self) -> Mapping[str, Any]:
        return {"size": GI, "path": "/data"}

    async def hand_set(self, thing: Object, path: str, value: Any) -> None:
        self.world.drift(self.target, thing.native_name, path, value, by="root@console")

    async def hand_stop(self, thing: Object) -> None:
        self.world.stop(self.target, thing.native_name)

    async def hand_delete(self, thing: Object) -> None:
        self.world.delete(self.target, thing.native_name)

    async def hand_copy(self, thing: Object) -> str:
        return self.world.copy(self.target, thing.native_name, f"{thing.native_name}-copy").object.native_name

    async def hand_unmanaged(self, name: str) -> str:
        return self.world.add_unmanaged(self.target, "Machine", name, {"memory": GI}).object.native_name

    @asynccontextmanager
    async def partial_listing(self, hidden: Object) -> AsyncIterator[None]:
        async with self._broken("partial", hide=[hidden.native_name]):
            yield

    @asynccontextmanager
    async def unreadable(self, thing: Object, path: str) -> AsyncIterator[None]:
        self.world.unreadable(self.target, thing.native_name, path)
        yield
        self.world.unreadable(self.target, thing.native_name, path, None)

    @asynccontextmanager
    async def another_node(self) -> AsyncIterator[None]:
        async with self._broken("reimaged"):
            yield

    @asynccontextmanager
    async def unclaimed(self) -> AsyncIterator[None]:
        async with self._broken("unclaimed"):
            yield

    @asynccontextmanager
    async def unreachable(self) -> AsyncIterator[None]:
        async with self._broken("unreachable"):
            yield

    @asynccontextmanager
    async def _broken(self, how: str, **more: Any) -> AsyncIterator[None]:
        self.world.break_target(self.target, how, **more)
        yield
        self.world.repair(self.target)

    @asynccontextmanager
    async def failing(self, verb: str) -> AsyncIterator[None]:
        number = self.world.fail("fail", verb=verb, times=0)
        yield
        self.world.disarm(number)

    @asynccontextmanager
    async def never_ready(self, thing: Object) -> AsyncIterator[None]:
        self.world.set_gauges(self.target, thing.native_name, ready=False)
        yield
        self.world.set_gauges(self.target, thing.native_name, ready=True)
