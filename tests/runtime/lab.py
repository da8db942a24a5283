"""A simulated fleet, a history of revisions, and a loop over both, on virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec

from drivers.sim import DRIVER
from drivers.sim.world import World
from reconciler.core.desired import Desired, NodeWant, Policy, Resource
from reconciler.core.ledger import Entry
from reconciler.driver import Driver
from reconciler.runtime.events import Event
from reconciler.runtime.loop import Loop, Settings
from reconciler.runtime.nodes import Nodes
from reconciler.runtime.revision import Ports
from reconciler.testing.ports import (
    FixedFence,
    MemoryJournal,
    MemoryPlans,
    StaticFiles,
    StaticSecrets,
    StaticSource,
    VirtualClock,
)
from tests.builders import SHAPES, desired, image, machine, network, node

FOLLOW = Policy(follow="auto", drift="heal")


class Lab:
    """Nodes `n1` … `n<count>`, claimed by nobody yet; machines are pinned to none."""

    def __init__(self, folder: Path, count: int = 2, *, policy: Policy = FOLLOW) -> None:
        self.path = folder / "fleet.db"
        self.fleet = World(self.path)
        self.names = [f"n{number}" for number in range(1, count + 1)]
        self.policy = policy
        for name in self.names:
            self.fleet.add_node(name)
        self.clock = VirtualClock()
        self.journal = MemoryJournal(self.clock)
        self.fence = FixedFence(1)
        self.source = StaticSource()
        self.plans = MemoryPlans()
        self.secrets = StaticSecrets()
        self.events: list[Event] = []
        self.loads = 0

    def want(self, *machines: Resource, **more: Any) -> Desired:
        nodes = [node(name, address=f"sim:{self.path}") for name in self.names]
        return desired(image(), network(), *machines, nodes=nodes, policy=more.pop("policy", self.policy))

    def commit(self, *machines: Resource, **more: Any) -> Desired:
        wanted = self.want(*machines, **more)
        self.source.commit(wanted)
        return wanted

    def opening(self, wanted: NodeWant) -> Driver:
        return DRIVER.open(wanted, {})

    @property
    def ports(self) -> Ports:
        return Ports(
            source=self.source,
            plans=self.plans,
            journal=self.journal,
            clock=self.clock,
            fencing=self.fence,
            shapes=SHAPES,
            opening=self.opening,
            secrets=self.secrets,
            files=StaticFiles(),
        )

    @property
    def nodes(self) -> Nodes:
        return Nodes(self.opening)

    def loop(self, settings: Settings | None = None, **more: Any) -> Loop:
        return Loop(self.ports, settings or Settings(), random=lambda: 0.5, emit=self.events.append, **more)

    @asynccontextmanager
    async def looping(self, settings: Settings | None = None, **more: Any) -> AsyncIterator[Loop]:
        loop = self.loop(settings, **more)
        async with anyio.create_task_group() as group:
            group.start_soon(loop.run)
            yield loop
            loop.stop("the test is over")

    def machines(self, name: str | None = None) -> dict[str, str]:
        """Live machines by ref, with their target."""
        found = {}
        for target in [name] if name else self.names:
            for thing in self.fleet.objects(target, "Machine"):
                marks = thing.object.marks
                if marks is not None and thing.object.lifecycle == "live":
                    found[str(marks.ref)] = target
        return found

    def field(self, ref: str, key: str) -> Any:
        return self.fleet.find(self.fleet.where(ref), ref).object.fields[key]

    def journalled(self, kind: type[Entry]) -> list[Any]:
        return [entry for entry in self.journal.entries if isinstance(entry, kind)]

    def told(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


async def until(fact: Callable[[], object], within: float = 600.0) -> float:
    """Wait for a fact; how many seconds it took. It must come true."""
    start = anyio.current_time()
    with anyio.fail_after(within):
        while not fact():  # noqa: ASYNC110 - facts of the fleet, which nobody announces
            await anyio.sleep(0.1)
    return anyio.current_time() - start


def on(name: str, target: str, **more: Any) -> Resource:
    """A machine that is pinned to a node."""
    made = machine(name, **more)
    return msgspec.structs.replace(
        made,
        constraints=msgspec.structs.replace(made.constraints, node=target),
        digest=f"{made.digest}@{target}",
    )
