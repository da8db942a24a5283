"""The whole path over one driver, small: observe, plan, carry out in order, journal; in memory.

Owns: what a test needs to let the real planner drive a driver under test. The journal's entries are written as the
runtime writes them: intent before, result after.
Must not go here: concurrency, retries, gates (runtime), expectations (conformance).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType

import anyio
import msgspec

from reconciler.core.desired import Budget, Desired, Drain, Lineage, NodeWant, Policy, Resource, Revision
from reconciler.core.ledger import Applied, Covered, Result, Status
from reconciler.core.observed import Report
from reconciler.core.plan import Change, Plan
from reconciler.core.planner import make_plan
from reconciler.core.refs import SINGLE, Ref, Target, kind_of
from reconciler.core.rules import Request
from reconciler.core.values import digest
from reconciler.driver import Outcome, StepContext
from reconciler.testing.clearing import clear_after
from reconciler.testing.harness import Harness
from reconciler.testing.ports import MemoryJournal, VirtualClock

POLICY = Policy(follow="auto", drift="heal", destroys=Budget(per_plan=1000), quarantine=3600)


class Rehearsal:
    """Async context manager over one harness. `want` says what the next revision holds."""

    def __init__(self, harness: Harness, policy: Policy = POLICY) -> None:
        self.harness = harness
        self.policy = policy
        self.clock = VirtualClock()
        self.journal = MemoryJournal(self.clock)
        self.wanted: dict[Ref, Resource] = {}
        self.removed: set[Ref] = set()
        self.drains: Mapping[Target, Drain] = {}
        """What the next revision drains."""
        self.fence = 1

    async def __aenter__(self) -> Rehearsal:
        self.driver = await self.harness.open()
        reports = await self.observe()
        claims = [report.claim for report in reports if report.claim is not None]
        self.fence = max([1, *(claim.fence for claim in claims)])
        generation = max([0, *(claim.generation for claim in claims)])
        await self.journal.append([Applied("", generation, self.fence, "", "", "main", "", "")])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await clear_after(kind, self.clear)
        finally:
            await self.driver.close()

    def want(self, *resources: Resource) -> None:
        """The whole of the next revision."""
        fresh = {resource.ref: resource for resource in (*resources, *self.harness.beneath())}
        self.removed |= self.wanted.keys() - fresh.keys()
        self.removed -= fresh.keys()
        self.wanted = fresh

    @property
    def desired(self) -> Desired:
        tree = digest([resource.digest for _, resource in sorted(self.wanted.items())])
        revision = Revision(commit=f"commit-{tree}", tree=tree, branch="main", repository="rehearsal")
        node = self.harness.node
        for target, drain in self.drains.items():
            node = drained(node, target, drain)
        return Desired("conformance", self.harness.datacenter, revision, self.policy, {node.name: node}, self.wanted)

    async def observe(self) -> tuple[Report, ...]:
        answers = await self.driver.observe(began=self.journal.ledger.sequence)
        return tuple(answer for answer in answers if isinstance(answer, Report))

    async def plan(self) -> Plan:
        reports = await self.observe()
        ledger = self.journal.ledger
        fresh = [Covered(each.target) for each in reports if each.complete and each.target not in ledger.covered]
        await self.journal.append(fresh)
        request = Request(self.clock.now(), Lineage(removed=frozenset(self.removed)))
        shapes = {self.harness.node.driver: self.harness.shape}
        return make_plan(self.desired, reports, self.journal.ledger, shapes, request)

    async def carry_out(self, plan: Plan) -> list[tuple[Change, Outcome]]:
        """Change by change; each ends with its first step that was not applied. Gives each with its last outcome."""
        await self._begin(plan)
        ended = []
        for change in _in_order(plan.changes):
            outcome = Outcome("unchanged")
            for step in change.steps:
                await self.journal.append([step.intent(plan.digest), *step.on_intent])
                outcome = await self.driver.apply(step, self._context(plan))
                said = (outcome.status, outcome.reason, step.source)
                result = Result(plan.digest, step.id, step.target, step.ref, *said)
                done = outcome.status in ("applied", "unchanged")
                await self.journal.append([result, *(step.on_applied if done else ())])
                if not done:
                    break
            ended.append((change, outcome))
        return ended

    async def _begin(self, plan: Plan) -> None:
        begin = Applied(
            plan=plan.digest,
            generation=plan.generation,
            fence=self.fence,
            revision=plan.commit or "",
            tree=plan.tree,
            branch=plan.branch,
            root=plan.root,
            repository=plan.repository,
            removed=plan.removed,
            returned=plan.returned,
        )
        await self.journal.append([begin, *plan.entries])

    async def cut_short(self, plan: Plan, ref: Ref, patience: float | None) -> None:
        """Carry out one change of it up to the step that carries something over, and wait for that only so many
        seconds, or for as long as it takes: nobody hears what became of it."""
        await self._begin(plan)
        for step in next(change for change in plan.changes if change.ref == ref).steps:
            await self.journal.append([step.intent(plan.digest), *step.on_intent])
            with anyio.move_on_after(None if step.source is None else patience):
                outcome = await self.driver.apply(step, self._context(plan))
            status: Status = outcome.status if step.source is None else "unconfirmed"
            result = Result(plan.digest, step.id, step.target, step.ref, status, source=step.source)
            await self.journal.append([result, *(step.on_applied if step.source is None else ())])
            if step.source is not None:
                return

    def _context(self, plan: Plan) -> StepContext:
        return StepContext(
            self.fence, plan.generation, self.clock.now(), secrets=self.harness.secrets, files=self.harness.files
        )

    async def converge(self) -> Plan:
        """Plan and carry it out; the next plan must be empty but for holds. Gives the plan that was carried out."""
        plan = await self.plan()
        assert plan.proved, plan.problems
        for change, outcome in await self.carry_out(plan):
            assert outcome.status in ("applied", "unchanged"), f"{change.id}: {outcome.status}, {outcome.reason}"
        rest = await self.plan()
        left = [f"{change.action} {change.id}: {change.differences}, {change.reason}" for change in rest.changes]
        assert not left, f"the next plan is not empty: {left}"
        return plan

    async def clear(self) -> None:
        """Destroy and purge whatever this rehearsal wanted."""
        self.drains = {}
        keep = [resource for resource in self.wanted.values() if kind_of(resource.ref) not in SINGLE]
        self.want(*keep)
        await self.converge()
        self.clock.advance(2 * POLICY.quarantine)
        await self.converge()


def _in_order(changes: Iterable[Change]) -> list[Change]:
    """Changes after those that their steps need."""
    waiting, done, order = list(changes), set[str](), list[Change]()
    while waiting:
        ready = [
            change
            for change in waiting
            if all(need in done or need.startswith(f"{change.id}:") for step in change.steps for need in step.needs)
        ]
        assert ready, "changes wait for one another"
        order.extend(ready)
        done.update(step.id for change in ready for step in change.steps)
        waiting = [change for change in waiting if change not in ready]
    return order


def drained(node: NodeWant, target: str, drain: Drain | None) -> NodeWant:
    """The node with one of its targets drained, or not any more."""
    member = target.partition("/")[2]
    if not member:
        return msgspec.structs.replace(node, drain=drain)
    fresh = msgspec.structs.replace(node.members[member], drain=drain)
    return msgspec.structs.replace(node, members={**node.members, member: fresh})


def replaced_allowed(resource: Resource) -> Resource:
    """The same machine, whose document says `update: {replace: allowed}`."""
    behaviour = msgspec.structs.replace(resource.behaviour, replace=True)
    return msgspec.structs.replace(resource, behaviour=behaviour, digest=digest([resource.digest, "replace"]))
