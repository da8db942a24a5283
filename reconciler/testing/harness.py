"""What a driver author says of their engine: samples to work with, and the hand that reaches behind our back.

Owns: `Harness`, to be subclassed once per driver. Abstract methods must be given. The rest has a default that skips
the tests that need it, with the reason shown: override what the engine can do.
Must not go here: expectations (conformance), how changes are made (scene).

Not one of these methods may go through the driver under test: `hand_*` uses the engine's own means.
"""

from __future__ import annotations

import ipaddress
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any
from unittest import SkipTest

import msgspec

from reconciler.core.desired import Constraints, Demand, NetworkFacts, NicWant, NodeWant, Resource
from reconciler.core.ledger import Address
from reconciler.core.observed import Object
from reconciler.core.refs import Ref, Target
from reconciler.core.values import canonical, digest, plain
from reconciler.driver import Driver, Shape


class Harness(ABC):
    """One node, fresh or not: the kit uses names of its own and leaves nothing live behind."""

    shape: Shape
    node: NodeWant
    target: Target
    datacenter = "5f0c1a52-6d7e-4f2b-9a34-1f3c5b7d9e01"
    """Datacenter.spec.id that the kit claims the node for."""
    interrupt_after: tuple[float, ...] = (0.0, 0.002, 0.02)
    """Seconds after which a call under way is cancelled, one attempt each."""
    secrets: Mapping[str, str] = {}
    files: Mapping[str, str] = {}
    """Content digest to a local path, for the image that `image` names."""

    # -- must be given

    @abstractmethod
    async def open(self) -> Driver:
        """A newly opened driver on the node, as a new process would open it."""

    @abstractmethod
    def image(self, number: int = 0) -> Resource:
        """A small image. Numbers 0 and 1 must differ in their digest."""

    @abstractmethod
    def network(self, number: int = 0) -> Resource:
        """A network that the node carries, with a `range` of 200 addresses or more. 0 and 1 must not overlap."""

    @abstractmethod
    def size(self, number: int) -> dict[str, Any]:
        """Of a Machine's body: memory, cpu, disk and the like, in sizes 0 and 1. Each key in which 1 differs from 0
        becomes a test of its own (design: "each field's update"), so 1 must be reachable from 0."""

    # -- may be given

    def edits(self) -> Mapping[str, Mapping[str, Any]]:
        """Further edits of a Machine's body, by name, made one after the other: what can change beyond sizes."""
        return {}

    def beneath(self) -> tuple[Resource, ...]:
        """What else must be there before a machine of the kit: its Tenant, where the node gives each a project."""
        return ()

    def drifts(self) -> Mapping[str, Any]:
        """Fields of a running sample machine of size 0 that `hand_set` can change by the engine's means, to what."""
        return {}

    def data_disk(self) -> Mapping[str, Any]:
        """A small data disk: {size, path}."""
        raise SkipTest("the driver has no data disks")

    async def hand_set(self, thing: Object, path: str, value: Any) -> None:
        raise SkipTest("the harness changes no field by hand")

    async def hand_stop(self, thing: Object) -> None:
        raise SkipTest("the harness stops no machine by hand")

    async def hand_delete(self, thing: Object) -> None:
        raise SkipTest("the harness deletes nothing by hand")

    async def hand_copy(self, thing: Object) -> str:
        """Copy the object with all the marks it bears, as a backup tool would; the copy's native name."""
        raise SkipTest("the harness copies nothing by hand")

    async def hand_unmanaged(self, name: str) -> str:
        """A machine that people made without us; its native name."""
        raise SkipTest("the harness makes no machine by hand")

    async def hand_shell(self, thing: Object, script: str) -> str | None:
        """What a shell in the running machine prints; AssertionError if it ends badly. None: no guest runs there."""
        return None

    async def hand_unmount(self, machine: Object, volume: str) -> None:
        """Take a Volume off a running machine, by what its document calls it."""
        raise SkipTest("the harness takes no volume off by hand")

    async def hand_let_in(self, network: Object) -> None:
        """Let everything into a network that firewall rules name, past them."""
        raise SkipTest("the harness changes no firewall by hand")

    async def hand_unforward(self, network: Object, listen: str) -> None:
        """Forward this address no more."""
        raise SkipTest("the harness takes no forward away by hand")

    def beside(self) -> Harness:
        """This harness for another target of the same node, to which machines can be moved."""
        raise SkipTest("the node has one target")

    def partial_listing(self, hidden: Object) -> AbstractAsyncContextManager[None]:
        """While inside, the listing is cut short, and the object is not in it."""
        raise SkipTest("the harness cannot cut a listing short")

    def unreadable(self, thing: Object, path: str) -> AbstractAsyncContextManager[None]:
        """While inside, the field cannot be read."""
        raise SkipTest("the harness cannot make a field unreadable")

    def another_node(self) -> AbstractAsyncContextManager[None]:
        """While inside, the node's native identity is another: a host or pool put in its place."""
        raise SkipTest("the harness cannot put another node in this one's place")

    def unclaimed(self) -> AbstractAsyncContextManager[None]:
        """While inside, the node mark is gone, as after a reimage."""
        raise SkipTest("the harness cannot take the node mark away")

    def unreachable(self) -> AbstractAsyncContextManager[None]:
        """While inside, the node does not answer at all."""
        raise SkipTest("the harness cannot make the node unreachable")

    def failing(self, verb: str) -> AbstractAsyncContextManager[None]:
        """While inside, the engine refuses what this verb needs."""
        raise SkipTest(f"the harness cannot make {verb} fail")

    def never_ready(self, thing: Object) -> AbstractAsyncContextManager[None]:
        """While inside, the machine does not become ready."""
        raise SkipTest("the harness cannot keep a machine from becoming ready")

    # -- made from the above

    def machine(self, name: str, **body: Any) -> Resource:
        """A Machine of size 0 on network 0 from image 0, with these keys of its body changed; None takes one out."""
        image, network = self.image(), self.network()
        look = plain(image.body)
        whole = {
            **self.size(0),
            "brand": "zone",
            "hostname": name,
            "image": {"name": image.ref.rpartition("/")[2]} | {key: look[key] for key in ("digest", "type", "os")},
            "nics": [{"networks": [network.ref], "primary": True}],
            "state": "running",
            **body,
        }
        whole = {key: value for key, value in whole.items() if value is not None}
        nics = tuple(NicWant(tuple(nic["networks"]), primary=bool(nic.get("primary"))) for nic in whole["nics"])
        volumes = (Ref(f"Volume/conformance/{volume}") for volume in whole.get("volumes", ()))
        references = (image.ref, *(nic.networks[0] for nic in nics), *volumes)
        made = resource(Ref(f"Machine/conformance/{name}"), whole, references=references, nics=nics)
        constraints = msgspec.structs.replace(made.constraints, node=self.target)
        return msgspec.structs.replace(made, constraints=constraints)

    def volume(self, name: str, size: int) -> Resource:
        return resource(Ref(f"Volume/conformance/{name}"), {"size": size}, demand=Demand(disk=size))

    def address(self, network: Resource, number: int) -> Address:
        """The `number`-th address that a machine of the kit has on a network; deterministic."""
        body = plain(network.body)
        first = ipaddress.ip_address(body["range"][0])
        mac = "02:" + ":".join(digest([network.ref, number])[at : at + 2] for at in range(0, 10, 2))
        return Address(network.ref, str(first + number), mac)


def resource(ref: Ref, body: Mapping[str, Any], **more: Any) -> Resource:
    """A Resource as the loader would make it: a Network with its address facts, a Machine with what it takes."""
    data = canonical(body)
    if ref.startswith("Network/"):
        first, last = body.get("range") or (None, None)
        more["network"] = NetworkFacts(body["nicTag"], body["subnet"], first, last, body.get("gateway"))
    if ref.startswith("Machine/"):
        sizes = {key: body.get(key) or 0 for key in ("memory", "cpu", "disk")}
        more["demand"] = Demand(**sizes)
        more["constraints"] = Constraints(brand=body["brand"], image_type=body["image"]["type"])
    return Resource(ref=ref, digest=digest([ref, body]), body=data, **more)
