"""Listening to the nodes that tell of changes, and asking those nodes at once.

Owns: one listener a node whose driver offers Watch, again with patience when it breaks.
Must not go here: what changed (asked for, never told), the nodes' regular turns (rounds).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping

import anyio
import msgspec

from reconciler.core.desired import NodeWant
from reconciler.driver.watch import Watch
from reconciler.runtime.foreign import contained
from reconciler.runtime.nodes import Nodes
from reconciler.runtime.triggers import backoff


class Patience(msgspec.Struct, frozen=True):
    """Seconds: `between` two questions that hints bring about (what we do ourselves is hinted at too), and from `retry`
    to `longest` until a broken listener is tried again."""

    between: float = 1.0
    retry: float = 2.0
    longest: float = 300.0


class Hints:
    """`ask` is told the name of a node that may have changed."""

    def __init__(self, nodes: Nodes, ask: Callable[[tuple[str, ...]], None], patience: Patience | None = None) -> None:
        self._nodes = nodes
        self._ask = ask
        self._patience = patience or Patience()
        self._wanted: Mapping[str, NodeWant] = {}
        self._heard: dict[str, tuple[str, anyio.CancelScope]] = {}
        self._changed = anyio.Event()

    def declare(self, wanted: Mapping[str, NodeWant]) -> None:
        """These nodes there are now; a changed document is listened to anew. The very mapping of before is not gone
        through."""
        if wanted is self._wanted:
            return
        self._wanted = wanted
        self._changed.set()

    async def run(self) -> None:
        """For ever."""
        async with anyio.create_task_group() as group:
            while True:
                self._changed = anyio.Event()
                for name, (digest, scope) in list(self._heard.items()):
                    if name not in self._wanted or self._wanted[name].digest != digest:
                        scope.cancel()
                        del self._heard[name]
                for name, node in self._wanted.items():
                    if name not in self._heard:
                        scope = anyio.CancelScope()
                        self._heard[name] = (node.digest, scope)
                        group.start_soon(self._listen, node, scope)
                await self._changed.wait()

    async def _listen(self, node: NodeWant, scope: anyio.CancelScope) -> None:
        failures = 0
        with scope:
            while True:
                try:
                    driver = self._nodes.driver(node)
                    if not isinstance(driver, Watch):
                        return
                    with contained:
                        hints = driver.watch()
                        try:
                            async for _ in hints:
                                failures = 0
                                self._ask((node.name,))
                                await anyio.sleep(self._patience.between)
                        finally:
                            # What breaks in it while we wait here cancels this task until it is closed.
                            if isinstance(hints, AsyncGenerator):
                                await hints.aclose()
                except Exception:  # whatever a driver raises concerns its node alone, whose regular turns go on
                    failures += 1
                wait = backoff(max(failures, 1), first=self._patience.retry, longest=self._patience.longest)
                await anyio.sleep(wait)
