"""A commit that concerns no node is not paid for by their number: the very mapping of before is not gone through."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from reconciler.core.desired import NodeWant
from reconciler.core.ledger import Ledger
from reconciler.core.planner import Planner
from reconciler.runtime.hints import Hints
from reconciler.runtime.nodes import Nodes
from reconciler.runtime.rounds import Cadence, Rounds
from tests.builders import SHAPES, desired, machine, node

pytestmark = pytest.mark.anyio


class Counted(dict[str, NodeWant]):
    """Nodes that count how often somebody goes through them all."""

    walks = 0

    def __iter__(self) -> Iterator[str]:
        self.walks += 1
        return super().__iter__()

    def __ne__(self, other: object) -> bool:
        self.walks += 1
        return super().__ne__(other)

    def keys(self) -> Any:
        self.walks += 1
        return super().keys()

    def values(self) -> Any:
        self.walks += 1
        return super().values()

    def items(self) -> Any:
        self.walks += 1
        return super().items()


@pytest.fixture
def nodes() -> Counted:
    return Counted({name: node(name) for name in ("edge1", "edge2")})


def no_driver(wanted: NodeWant) -> Any:
    raise OSError(f"nobody answers at {wanted.name}")


async def test_turns_are_declared_anew_only_with_other_nodes(nodes: Counted) -> None:
    rounds = Rounds(no_driver, lambda _: None, now=lambda: 0.0, cadence=Cadence(), random=lambda: 0.5)
    rounds.declare(nodes)
    walks = nodes.walks
    rounds.declare(nodes)
    assert walks > 0
    assert nodes.walks == walks
    other = Counted(nodes)
    rounds.declare(other)
    assert other.walks > 0


async def test_listeners_and_drivers_are_looked_through_only_with_other_nodes(nodes: Counted) -> None:
    asked: list[str] = []

    class Driver:
        async def close(self) -> None:
            asked.append("closed")

    opened = Nodes(lambda _: Driver())  # type: ignore[arg-type,return-value]
    await opened.keep(nodes)
    opened.driver(nodes["edge1"])
    changed = Counted({"edge1": node("edge1", digest="another")})
    await opened.keep(changed)
    opened.driver(changed["edge1"])
    await opened.keep(changed, busy={"edge1"})
    assert asked == []
    await opened.keep(changed)
    assert asked == ["closed"], "what was replaced is closed whether or not the nodes are others"
    hints = Hints(opened, lambda _: None)
    hints.declare(nodes)
    walks = nodes.walks
    hints.declare(nodes)
    assert nodes.walks == walks


def test_the_world_compares_nodes_only_of_other_mappings(nodes: Counted) -> None:
    world = Planner(SHAPES, Ledger()).world
    first = desired(machine("web"), nodes=nodes.values())
    first = msgspec.structs.replace(first, nodes=nodes)
    world.take_desired(first)
    walks = nodes.walks
    world.take_desired(msgspec.structs.replace(first), set())
    assert nodes.walks == walks
    other = Counted({**nodes, "edge3": node("edge3")})
    world.take_desired(msgspec.structs.replace(first, nodes=other), set())
    assert "edge3" in world.nodes
