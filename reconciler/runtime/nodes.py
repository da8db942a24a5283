"""The open drivers, one a node.

Owns: opening a driver when it is first needed, again when the node's document changed, and closing it.
Must not go here: finding drivers (edge/registry gives `opening`), asking them (observe), steps (execute).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress

from reconciler.core.desired import NodeWant
from reconciler.core.refs import Target, node_of
from reconciler.driver import Driver
from reconciler.runtime.foreign import contained
from reconciler.waiting import alone

CLOSING = 5.0
"""Seconds that closing a driver may take: whoever closes it has other nodes to look after, or wants to end."""

Opening = Callable[[NodeWant], Driver]


class NodeMissing(Exception):
    """No node of that name is declared, so nobody can be asked. The text is one sentence for people."""


class Nodes:
    """`opening` makes a driver from a node's document; it may raise, in words for people."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._open: dict[str, tuple[str, Driver]] = {}
        self._retired: list[tuple[str, Driver]] = []
        self._declared: Mapping[str, NodeWant] = {}

    def driver(self, node: NodeWant) -> Driver:
        """The node's driver. Raises what `opening` raises."""
        held = self._open.get(node.name)
        if held is not None and held[0] == node.digest:
            return held[1]
        driver = self._opening(node)
        if held is not None:
            self._retired.append((node.name, held[1]))
        self._open[node.name] = (node.digest, driver)
        return driver

    def at(self, target: Target) -> Driver:
        """The driver for a step's target. Raises NodeMissing, or what `opening` raises."""
        name = node_of(target)
        declared = self._declared.get(name)
        if declared is not None:
            return self.driver(declared)
        held = self._open.get(name)
        if held is None:
            raise NodeMissing(f"node {name} is not declared")
        return held[1]

    async def keep(self, declared: Mapping[str, NodeWant], *, busy: Collection[str] = ()) -> None:
        """Only these nodes are declared now. Drivers of others, and replaced ones, are closed unless busy."""
        gone = [name for name in self._open if name not in declared] if declared is not self._declared else []
        self._declared = declared
        self._retired += [(name, self._open.pop(name)[1]) for name in gone]
        idle = [(name, driver) for name, driver in self._retired if name not in busy]
        self._retired = [(name, driver) for name, driver in self._retired if name in busy]
        if idle:
            await _close([driver for _, driver in idle])

    async def close(self) -> None:
        await self.keep({})


async def _close(drivers: Iterable[Driver]) -> None:
    """Nothing depends on them any more, so what goes wrong while closing concerns nobody."""
    if alone():
        for driver in drivers:
            with suppress(Exception):
                await driver.close()
        return
    import anyio

    async def close(driver: Driver) -> None:
        with suppress(Exception), contained, anyio.move_on_after(CLOSING):
            await driver.close()

    async with anyio.create_task_group() as group:
        for driver in drivers:
            group.start_soon(close, driver)
