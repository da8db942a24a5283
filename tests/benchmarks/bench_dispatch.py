"""Handing out steps: the executor with its real journal, against a bare loop that does the same calls.

Compared: 100,000 steps that do nothing, ten a machine, one machine on each of 10,000 nodes, every intent durable
before its call and every outcome after it, hash-chained. The bare loop: 100 workers that take machines from a deque
and await the same calls, with no journal, no needs, no limits.
"""

from __future__ import annotations

import tempfile
from collections import deque
from pathlib import Path

import anyio
import anyio.lowlevel

from reconciler.core.plan import Plan, Step
from reconciler.core.refs import Target
from reconciler.core.shape import Shape
from reconciler.driver import Outcome, StepContext
from reconciler.edge.clock import SystemClock
from reconciler.edge.journal import Journal
from reconciler.runtime.execute import Execution
from reconciler.runtime.worker import Means
from reconciler.testing.ports import FixedFence
from tests.benchmarks.rows import Measured, Row, interleaved
from tests.runtime.worlds import change, plan_of

MACHINES, STEPS, WORKERS = 10_000, 10, 100


class Nothing:
    """A driver whose calls return at once."""

    shape: Shape
    done = Outcome("applied")

    async def observe(self, **_: object) -> tuple[()]:
        return ()

    async def apply(self, step: Step, context: StepContext | None) -> Outcome:
        return self.done

    async def close(self) -> None:
        return None


async def bare(plan: Plan) -> None:
    lanes = deque(each.steps for each in plan.changes)
    driver = Nothing()

    async def work() -> None:
        while lanes:
            for step in lanes.popleft():
                await driver.apply(step, None)
                await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        for _ in range(WORKERS):
            group.start_soon(work)


async def ours(plan: Plan) -> None:
    driver, clock = Nothing(), SystemClock()

    def at(target: Target) -> Nothing:
        return driver

    with tempfile.TemporaryDirectory() as folder:
        async with await Journal.open(Path(folder) / "journal.db", clock) as journal:
            means = Means(journal, clock, FixedFence(), at)
            summary = await Execution(plan, means).run()
    assert summary.whole


def dispatch() -> Measured:
    changes = (change(f"m{number}", f"n{number}", *["do"] * STEPS) for number in range(MACHINES))
    plan = plan_of(*changes)
    fast, slow = interleaved([lambda: anyio.run(bare, plan), lambda: anyio.run(ours, plan)], rounds=5)
    each = MACHINES * STEPS
    return Measured(slow / fast, f"{slow / each * 1e6:.1f} us a step against {fast / each * 1e6:.1f}")


ROWS = [Row("dispatch", 6.0, "×", dispatch, "100k no-op steps over 10k nodes, journalled, against a bare loop")]
