"""Asking each node in its own time: a timer per node, at once when somebody says so, later and later when it is dead.

Owns: when each node is asked next, one question a node at a time, and what the last answers were.
Must not go here: how a node is asked (observe), what follows from an answer (loop).

Nodes that failed last time are asked within limits of their own, so that however many of them hang, a sound one never
waits for its turn because of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from heapq import heappop, heappush

import anyio
import msgspec
from anyio.abc import TaskGroup

from reconciler.core.desired import NodeWant
from reconciler.core.observed import Report
from reconciler.core.refs import Target
from reconciler.runtime.observe import targets_of
from reconciler.runtime.triggers import Random, backoff, jittered

Ask = Callable[[NodeWant, Mapping[Target, Report]], Awaitable[dict[Target, Report]]]
"""Ask one node, knowing these reports; never raises for it."""


class Cadence(msgspec.Struct, frozen=True):
    """Seconds between looks: at the source (`poll`), at a node (`node`); `jitter` is a share of them. Attempts in vain
    are repeated after `retry`, doubling up to `longest`. The first plan waits up to `first` for nodes to answer."""

    poll: float = 30.0
    node: float = 300.0
    jitter: float = 0.1
    retry: float = 2.0
    longest: float = 600.0
    first: float = 5.0
    side_by_side: int = 64


class NodeState(msgspec.Struct):
    """When a node was last asked and last read whole (unix seconds), and what was wrong since."""

    asked: float = 0.0
    seen: float = 0.0
    problem: str | None = None
    failures: int = 0
    seconds: float = 0.0


class Rounds:
    """`answered` is called with a node's name after each answer."""

    def __init__(
        self, ask: Ask, answered: Callable[[str], None], *, now: Callable[[], float], cadence: Cadence, random: Random
    ) -> None:
        self.reports: dict[Target, Report] = {}
        self.states: dict[str, NodeState] = {}
        self._ask = ask
        self._answered = answered
        self._now = now
        self._cadence = cadence
        self._random = random
        self._nodes: Mapping[str, NodeWant] = {}
        self._due: dict[str, float] = {}
        self._queue: list[tuple[float, str]] = []
        self._under_way: set[str] = set()
        self._again: set[str] = set()
        self._poke = anyio.Event()
        self._sound = anyio.CapacityLimiter(cadence.side_by_side)
        self._ailing = anyio.CapacityLimiter(cadence.side_by_side)

    def declare(self, nodes: Mapping[str, NodeWant]) -> None:
        """These nodes there are now. New and changed ones are asked at once; reports of others are dropped. The very
        mapping of before is not gone through: most commits concern no node."""
        if nodes is self._nodes:
            return
        before, self._nodes = self._nodes, nodes
        for name in before.keys() - nodes.keys():
            self.states.pop(name, None)
            self._due.pop(name, None)
        targets = {target for node in nodes.values() for target in targets_of(node)}
        for target in self.reports.keys() - targets:
            del self.reports[target]
        self.ask(name for name, node in nodes.items() if name not in before or before[name].digest != node.digest)

    def ask(self, names: Iterable[str] | None = None) -> None:
        """Ask these nodes, or all, as soon as may be. One that is being asked is asked once more."""
        now = anyio.current_time()
        for name in self._nodes if names is None else names:
            if name in self._under_way:
                self._again.add(name)
            elif name in self._nodes:
                self._schedule(name, now)
        self._poke.set()

    @property
    def unasked(self) -> bool:
        """True while a declared node has never answered, nor failed to."""
        return len(self.states) < len(self._nodes)

    async def run(self) -> None:
        """For ever."""
        async with anyio.create_task_group() as group:
            while True:
                wait = self._start_due(group)
                with anyio.move_on_after(wait):
                    await self._poke.wait()

    def _start_due(self, group: TaskGroup) -> float | None:
        """Start what is due; the seconds until the next, None if there is none."""
        self._poke = anyio.Event()
        now = anyio.current_time()
        while self._queue and self._queue[0][0] <= now:
            due, name = heappop(self._queue)
            if self._due.get(name) == due and name in self._nodes:
                del self._due[name]
                self._under_way.add(name)
                group.start_soon(self._one, self._nodes[name])
        return self._queue[0][0] - now if self._queue else None

    async def _one(self, node: NodeWant) -> None:
        failed = self.states.get(node.name, NodeState()).failures
        async with self._ailing if failed else self._sound:
            start = anyio.current_time()
            reports = await self._ask(node, self.reports)
        self._under_way.discard(node.name)
        if node.name not in self._nodes:
            return
        targets = targets_of(self._nodes[node.name])
        self.reports.update((target, report) for target, report in reports.items() if target in targets)
        self._note(node, reports, anyio.current_time() - start)
        if node.name in self._again or self._nodes[node.name].digest != node.digest:
            self._again.discard(node.name)
            self._schedule(node.name, anyio.current_time())
        else:
            self._schedule(node.name, anyio.current_time() + self._pause(node.name))
        self._poke.set()
        self._answered(node.name)

    def _note(self, node: NodeWant, reports: Mapping[Target, Report], seconds: float) -> None:
        state = self.states.setdefault(node.name, NodeState())
        problems = [report.problem or "read in part" for report in reports.values() if not report.complete]
        state.asked, state.seconds = self._now(), seconds
        state.problem = problems[0] if problems else None
        state.failures = state.failures + 1 if problems else 0
        if not problems:
            state.seen = state.asked

    def _pause(self, name: str) -> float:
        cadence, failures = self._cadence, self.states[name].failures
        wait = cadence.node
        if failures:
            wait = backoff(failures, first=cadence.retry, longest=cadence.longest)
        return jittered(wait, cadence.jitter, self._random)

    def _schedule(self, name: str, due: float) -> None:
        self._due[name] = due
        heappush(self._queue, (due, name))
