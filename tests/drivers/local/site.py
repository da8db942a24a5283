"""A datacenter of real parts with one node, this host: what is wanted of it, and processes that carry it out.

Owns: revisions of it, and looking at what they have become. Must not go here: assertions, where a process is killed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import msgspec

from drivers.local import DRIVER
from reconciler.core.desired import Budget, Desired, NodeWant, Policy, Resource
from reconciler.core.observed import Object, Report
from reconciler.core.values import digest
from reconciler.driver import Driver
from reconciler.runtime.nodes import Opening
from tests import builders
from tests.drivers.local.hand import Hand, LocalHarness
from tests.runtime.campaign import Engine, live

POLICY = Policy(follow="auto", drift="heal", destroys=Budget(per_plan=100, per_day=1000))


class Site:
    """Revisions follow each other; each is carried out by a process of its own, or by several if one is killed."""

    def __init__(self, folder: Path, size: int = 16 << 30) -> None:
        self.folder = folder
        self.hand = Hand(folder / "node", size=size)  # sparse: what was destroyed keeps its room in quarantine
        self.harness = LocalHarness(self.hand)
        self.history: list[Desired] = []
        self._node = msgspec.structs.replace(self.hand.node, digest=digest(self.hand.node.body))

    def machine(self, name: str, **body: Any) -> Resource:
        return msgspec.structs.replace(self.harness.machine(name, **body), network=None)

    def network(self) -> Resource:
        made = self.harness.network()
        facts = builders.network(subnet=f"{self.harness.subnets}.0.0/24", nic_tag="front").network
        fresh = msgspec.structs.replace(made, network=facts, digest="")
        return msgspec.structs.replace(fresh, digest=digest(msgspec.to_builtins(fresh)))

    def want(self, *machines: Resource) -> None:
        """Another revision: these machines, on one network, of one image."""
        wanted = (self.harness.image(), self.network(), *machines)
        made = builders.desired(*wanted, nodes=[self._node], policy=POLICY)
        commit = f"{len(self.history)}-{made.revision.commit}"  # a tree that comes again is a commit of its own
        self.history.append(
            msgspec.structs.replace(made, revision=msgspec.structs.replace(made.revision, commit=commit))
        )

    def carry_out(self, opening: Opening | None = None, *, deadly: int | None = None) -> bool:
        """By a process that cycles until nothing is left to do. False if it was killed. `opening`: how it opens its
        node; `deadly`: the journal write or driver call at which it is killed."""
        engine = Engine(opening or self.opening, {"local": DRIVER.shape})
        return live(self.folder, self.history, deadly, engine=engine) is not None

    def opening(self, _: NodeWant) -> Driver:
        return self.hand.open()

    def objects(self) -> list[Object]:
        async def look() -> Report:
            driver = self.hand.open()
            (report,) = await driver.observe(began=0)
            await driver.close()
            assert isinstance(report, Report)
            return report

        report = anyio.run(look)
        assert report.complete, report.problem
        return list(report.objects)

    def tear_down(self) -> None:
        anyio.run(self.hand.open().tear_down)
