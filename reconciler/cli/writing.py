"""A session that changes things: the datacenter's lock is held, its journal is open.

Owns: taking the lock, the journal, what a plan is carried out with. Must not go here: what is needed to look (session).
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from reconciler.cli.opened import placed
from reconciler.cli.session import Looking, ports_of
from reconciler.core.observed import Report
from reconciler.core.plan import Plan
from reconciler.edge.chain import set_aside
from reconciler.edge.clock import SystemClock
from reconciler.edge.files import CheckedFiles, allowed_folders
from reconciler.edge.journal import Journal
from reconciler.edge.lock import DatacenterLock
from reconciler.runtime.cycle import Unfinished, means_of, unfinished
from reconciler.runtime.events import Emit
from reconciler.runtime.execute import Execution
from reconciler.runtime.observe import outbid
from reconciler.waiting import loop


class Writing(Looking):
    """The same, with the lock held and the journal open."""

    lock: DatacenterLock

    def heard(self, reports: Iterable[Report]) -> None:
        """Raises FenceLost where a node has seen a higher fence: nothing is asked of people that it would refuse."""
        lost = outbid(reports, self.lock.fence, self.datacenter_id)
        if lost is not None:
            raise lost

    async def execution(
        self, plan: Plan, emit: Emit, *, moves: bool = True, changes: frozenset[str] | None = None
    ) -> Execution:
        """The plan, or these changes of it, ready to be carried out."""
        desired = await self.desired()
        await self.nodes.keep(desired.nodes)
        return Execution(plan, means_of(self.ports, self.nodes, desired), changes=changes, emit=emit, moves=moves)

    async def unfinished(self) -> tuple[Unfinished, ...]:
        """What an earlier process left in flight or halfway."""
        return await unfinished(self.ports)

    async def settle(self, plan: Plan, *, moves: bool = True) -> None:
        """A plan without changes still moves the lineage on: its revision is what is there."""
        if plan.commit is not None:
            execution = await self.execution(plan, lambda _: None, moves=moves)
            await execution.run()


@asynccontextmanager
async def writing(args: Namespace, *, fresh: bool = False) -> AsyncIterator[Writing]:
    """Take the datacenter's lock and open its journal; `fresh`: the old one is put aside. Raises LockHeld."""
    await loop()  # the journal's writer waits for whoever else writes, and steps run side by side
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(placed(args))
        lock = stack.enter_context(DatacenterLock.acquire(opened.state, purpose=f"trueup {args.command}"))
        if fresh:
            set_aside(opened.state.journal, SystemClock().now())
        journal = await stack.enter_async_context(await Journal.open(opened.state.journal, SystemClock()))
        ports = ports_of(opened, journal=journal, fencing=lock)
        files = CheckedFiles(opened.state.files, allowed_folders(opened.state.files))
        here = Writing(args, opened, msgspec.structs.replace(ports, files=files))
        here.lock = lock
        stack.push_async_callback(here.close)
        yield here
