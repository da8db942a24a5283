"""Executions under way side by side, and the nodes that they hold.

Owns: which nodes are busy and with how many steps, plans that were promised to somebody and wait for their nodes.
Must not go here: what is executed and when (loop), how (execute).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import anyio
from anyio.abc import TaskGroup

from reconciler.core.plan import Change, Plan
from reconciler.core.refs import node_of
from reconciler.errors import TrueupError, TryLater
from reconciler.runtime.dispatch import nodes_of
from reconciler.runtime.events import Emit, Event, StepEnded
from reconciler.runtime.execute import Execution
from reconciler.runtime.summary import Summary
from reconciler.runtime.worker import Means, Pace


class Promise:
    """A plan that somebody approved and waits for: it is carried out whole, as soon as its nodes are free."""

    def __init__(self, plan: Plan, emit: Emit | None = None) -> None:
        self.plan = plan
        self.emit = emit
        self.nodes = nodes_of(plan.changes)
        self._done = anyio.Event()
        self._result: Summary | TrueupError | None = None

    def settle(self, result: Summary | TrueupError) -> None:
        self._result = result
        self._done.set()

    async def result(self) -> Summary:
        """Raises what ended it."""
        await self._done.wait()
        assert self._result is not None, "it is settled"
        if isinstance(self._result, TrueupError):
            raise self._result
        return self._result


class Runs:
    """`freed` hears of a node whose steps have all ended, `ended` of an execution that has, `heard` of every event.
    `group`, in which executions run, is given before the first of them begins."""

    group: TaskGroup

    def __init__(
        self,
        pace: Pace,
        *,
        freed: Callable[[str], None],
        ended: Callable[[Summary | TrueupError], None],
        heard: Emit | None = None,
    ) -> None:
        self.busy: Counter[str] = Counter()
        """Steps that have not ended, by node; no node with none."""
        self.promised: list[Promise] = []
        self._pace = pace
        self._heard = heard
        self._freed = freed
        self._ended = ended
        self._under_way: list[Execution] = []
        self._stopped: str | None = None

    @property
    def held(self) -> frozenset[str]:
        """Nodes that nothing new may begin on: busy, or promised."""
        return frozenset(self.busy).union(*(promise.nodes for promise in self.promised))

    def ripe(self) -> list[Promise]:
        """Promises whose nodes are free, first come first served; they are taken."""
        held = set(self.busy)
        ripe = []
        for promise in self.promised:
            if held.isdisjoint(promise.nodes):
                ripe.append(promise)
            held |= promise.nodes
        self.promised = [promise for promise in self.promised if promise not in ripe]
        return ripe

    def begin(
        self,
        plan: Plan,
        means: Means,
        *,
        changes: frozenset[str] | None = None,
        moves: bool = True,
        promise: Promise | None = None,
    ) -> None:
        """Carry out a plan, or these changes of it; its nodes are busy from now on."""
        chosen = [change for change in plan.changes if changes is None or change.id in changes]
        left = _steps(chosen)
        self.busy.update(left)

        def emit(event: Event) -> None:
            if isinstance(event, StepEnded):
                self._step_ended(left, node_of(event.target))
            if self._heard is not None:
                self._heard(event)
            if promise is not None and promise.emit is not None:
                promise.emit(event)

        execution = Execution(plan, means, changes=changes, pace=self._pace, emit=emit, moves=moves)
        self._under_way.append(execution)
        if self._stopped is not None:
            execution.stop(self._stopped)
        self.group.start_soon(self._carry_out, execution, left, promise)

    def stop(self, reason: str) -> None:
        """Let all executions finish what is in hand; promises that wait are told no."""
        self._stopped = reason
        for promise in self.promised:
            promise.settle(TryLater(f"not begun: {reason}", hint="apply it again"))
        self.promised = []
        for execution in self._under_way:
            execution.stop(reason)

    async def _carry_out(self, execution: Execution, left: Counter[str], promise: Promise | None) -> None:
        result: Summary | TrueupError = TryLater(
            "interrupted before it came to its end", hint="apply it again to resume"
        )
        try:
            result = await execution.run()
        except TrueupError as error:
            result = error
        finally:
            self._under_way.remove(execution)
            for node in list(left):
                self._free(left, node)
            if promise is not None:
                promise.settle(result)
            self._ended(result)

    def _step_ended(self, left: Counter[str], node: str) -> None:
        left[node] -= 1
        self.busy[node] -= 1
        if left[node] <= 0:
            self._free(left, node)

    def _free(self, left: Counter[str], node: str) -> None:
        self.busy[node] -= left.pop(node, 0)
        if self.busy[node] <= 0:
            del self.busy[node]
            self._freed(node)


def _steps(changes: Iterable[Change]) -> Counter[str]:
    return Counter(node_of(step.target) for change in changes for step in change.steps)
