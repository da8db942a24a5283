"""The campaign on real zones: each round kills a process in the middle of making, resizing and destroying machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from drivers.local import DRIVER
from reconciler.core.desired import Budget, Desired, NodeWant, Policy, Resource
from reconciler.core.observed import Object, Report
from reconciler.core.values import digest
from reconciler.driver import Driver
from tests import builders
from tests.drivers.local.hand import Hand, LocalHarness
from tests.drivers.local.probe import needs
from tests.runtime.campaign import Engine, live

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]
POLICY = Policy(follow="auto", drift="heal", destroys=Budget(per_plan=100, per_day=1000))


class Turnover:
    """A node on this host. Each round there is a new machine, a resized one, and one that is gone."""

    def __init__(self, hand: Hand, folder: Path) -> None:
        self.hand = hand
        self.folder = folder
        self.harness = LocalHarness(hand)
        self.history: list[Desired] = []
        self.node = msgspec.structs.replace(hand.node, digest=digest(hand.node.body))
        self.engine = Engine(self.opening, {"local": DRIVER.shape})

    def opening(self, node: NodeWant) -> Driver:
        return self.hand.open()

    def machine(self, name: str, **body: Any) -> Resource:
        return msgspec.structs.replace(self.harness.machine(name, **body), network=None)

    def next_round(self, deadly: int | None) -> bool:
        """Another revision; kill the process that carries it out, then let one live. True if one was killed."""
        number = len(self.history)
        resized = self.machine("kept", memory=(64 + number % 2 * 32) << 20)
        wanted = (self.harness.image(), self.network(), resized, self.machine(f"turn-{number}"))
        self.history.append(builders.desired(*wanted, nodes=[self.node], policy=POLICY))
        killed = live(self.folder, self.history, deadly, engine=self.engine) is None
        live(self.folder, self.history, None, engine=self.engine)
        return killed

    def network(self) -> Resource:
        made = self.harness.network()
        facts = builders.network(subnet="10.213.0.0/24", nic_tag="front").network
        fresh = msgspec.structs.replace(made, network=facts, digest="")
        return msgspec.structs.replace(fresh, digest=digest(msgspec.to_builtins(fresh)))

    def objects(self) -> list[Object]:
        async def look() -> Report:
            (report,) = await self.hand.open().observe(began=0)
            assert isinstance(report, Report)
            return report

        report = anyio.run(look)
        assert report.complete, report.problem
        return list(report.objects)


@pytest.fixture(scope="module")
def turnover(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Turnover]:
    needs()
    folder = tmp_path_factory.mktemp("campaign")
    hand = Hand(folder / "node", size=16 << 30)  # sparse: what was destroyed keeps its room in quarantine
    found = Turnover(hand, folder)
    yield found
    anyio.run(hand.open().tear_down)


def kills(turnover: Turnover, points: range) -> None:
    turnover.next_round(None)
    for point in points:
        if turnover.next_round(point):
            as_if_nothing_had_been(turnover)


def as_if_nothing_had_been(turnover: Turnover) -> None:
    number = len(turnover.history) - 1
    found = turnover.objects()
    assert all(each.marks is not None for each in found), "something was made that is nobody's"
    machines = Counter((each.marks.ref, each.lifecycle) for each in found if each.marks and each.kind == "Machine")
    gone = {(f"Machine/conformance/turn-{old}", "quarantined"): 1 for old in range(number)}
    here = {("Machine/conformance/kept", "live"): 1, (f"Machine/conformance/turn-{number}", "live"): 1}
    assert machines == Counter({**gone, **here})
    states = {
        each.marks.ref: each.fields["state"]
        for each in found
        if each.marks and each.lifecycle == "live" and each.kind == "Machine"
    }
    assert set(states.values()) == {"running"}


def test_killed_while_zones_are_made_and_destroyed_it_ends_as_if_nothing_had_been(turnover: Turnover) -> None:
    kills(turnover, range(2, 26, 5))


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_killed_at_every_point_with_zones_it_ends_as_if_nothing_had_been(turnover: Turnover) -> None:
    kills(turnover, range(1, 36))
