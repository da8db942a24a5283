"""One attempt, straight on: load, resume what was cut short, observe, plan, carry out.

Owns: the sequence, for one command or `--once`; and what the loop shares with it (means, unfinished plans).
Must not go here: repeating it (loop), deciding (core), the world itself (ports).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from reconciler.core.desired import Desired, Policy
from reconciler.core.ledger import Intent, Ledger, Result, Spent
from reconciler.core.observed import Report
from reconciler.core.plan import Plan
from reconciler.core.refs import Target
from reconciler.core.rules import Request, is_single
from reconciler.errors import PlanMissing, TrueupError
from reconciler.runtime.execute import Execution
from reconciler.runtime.nodes import Nodes
from reconciler.runtime.observe import Asking, observe, outbid
from reconciler.runtime.revision import InForce, Ports, dated, in_force
from reconciler.runtime.summary import Summary
from reconciler.runtime.worker import Allowance, Means, Pace

if TYPE_CHECKING:
    from reconciler.core.budgets import Account, Tally


class Prospect(msgspec.Struct, frozen=True):
    """What would be done, and what it was made from."""

    desired: Desired
    request: Request
    reports: Mapping[Target, Report]
    plan: Plan
    problem: TrueupError | None = None


class Attempt(msgspec.Struct, frozen=True):
    """What one cycle did. `resumed`: plans that an earlier process had left unfinished."""

    prospect: Prospect
    summary: Summary
    resumed: tuple[Summary, ...] = ()


def unattended(policy: Policy) -> Request:
    """How the loop asks for a plan: intent only where git is followed; drift is the policy's. Undated."""
    return Request(now=0, intent=policy.follow == "auto")


def allowance_of(desired: Desired) -> Allowance:
    """The budgets' word just before an intent that spends (invariant I5)."""

    counted: dict[int, Counter[Account]] = {}
    """Machines of each account, wanted or bound, by the number of bindings then: counting looks at the whole fleet."""

    def census(ledger: Ledger, account: Account) -> int:
        size = len(ledger.bindings)
        if size not in counted:
            counted.clear()
            counted[size] = machines_of(desired, ledger)
        return counted[size][account]

    def allowance(spent: tuple[Spent, ...], ledger: Ledger, now: float) -> str | None:
        from reconciler.core.budgets import Tally, over_budget  # most plans spend of none

        def tally() -> Tally:
            return Tally(ledger, desired.policy, desired.nodes, lambda account: census(ledger, account), now)

        return over_budget(tally, desired.policy, spent)

    return allowance


def machines_of(desired: Desired, ledger: Ledger) -> Counter[Account]:
    """How many machines each account is of: those that git wants or the ledger knows."""
    from reconciler.core.budgets import accounts

    found: Counter[Account] = Counter()
    wanted = {ref for ref in list(desired.resources) if is_single(ref)}
    for ref in wanted.union(ref for ref in ledger.bindings.refs if is_single(ref)):
        found.update(accounts(desired.nodes, ref, next(iter(ledger.bindings.targets(ref)), Target(""))))
    return found


def means_of(ports: Ports, nodes: Nodes, desired: Desired) -> Means:
    return Means(
        journal=ports.journal,
        clock=ports.clock,
        fencing=ports.fencing,
        driver=nodes.at,
        secrets=ports.secrets,
        files=ports.files,
        allowance=allowance_of(desired),
        spending=ports.spending.turn,
    )


class Unfinished(NamedTuple):
    """A stored plan that an earlier process began. `changes`: those of it that are to be gone on with; None for all."""

    plan: Plan
    changes: frozenset[str] | None = None


async def unfinished(ports: Ports) -> tuple[Unfinished, ...]:
    """The stored plans with steps in flight: a process was killed between an intent and its outcome. Then those of
    which it was told to stop, with the changes that were begun: they were approved, and rest halfway. What is open of
    a plan that is stored no more is closed as unconfirmed: the next observation tells what became of it."""
    found: list[Unfinished] = []
    lost: list[Intent | Result] = []
    ledger = ports.journal.ledger
    flying = {plan for plan, _ in ledger.in_flight}
    for digest in sorted(flying | {entry.plan for entry in ledger.halfway.values()}):
        halfway = [entry for entry in ledger.halfway.values() if entry.plan == digest]
        try:
            plan = await ports.plans.find(digest)
        except PlanMissing:
            lost += [*(intent for (plan, _), intent in sorted(ledger.in_flight.items()) if plan == digest), *halfway]
            continue
        rests = {entry.step for entry in halfway}
        begun = (change.id for change in plan.changes if not rests.isdisjoint(step.id for step in change.steps))
        found.append(Unfinished(plan, None if digest in flying else frozenset(begun)))
    reason = "cut short, and its plan is not stored any more"
    closing = [Result(each.plan, each.step, each.target, each.ref, "unconfirmed", reason, each.source) for each in lost]
    if closing:
        await ports.journal.append(closing)
    return tuple(found)


async def prospect(
    ports: Ports,
    nodes: Nodes,
    *,
    revision: str | None = None,
    request: Request | None = None,
    asking: Asking | None = None,
) -> Prospect:
    """Load, observe and plan; nothing is changed. `revision` None: the one in force; `request` None: unattended; its
    time and lineage are filled in here.

    Raises TrueupError if the desired state cannot be had.
    """
    if revision is not None:
        loaded = InForce(await ports.source.load(revision, since=ports.journal.ledger.applied))
    else:
        loaded = await in_force(ports.source, ports.journal.ledger)
    await nodes.keep(loaded.desired.nodes)
    return await _planned(ports, nodes, loaded, request or unattended(loaded.desired.policy), asking)


async def _planned(ports: Ports, nodes: Nodes, loaded: InForce, request: Request, asking: Asking | None) -> Prospect:
    desired, journal = loaded.desired, ports.journal
    reports = await observe(desired.nodes.values(), nodes, journal, datacenter=desired.datacenter_id, asking=asking)
    request = await dated(request, ports, desired)
    from reconciler.core.planner import make_plan  # a kept plan is carried out without it

    plan = make_plan(desired, reports.values(), journal.ledger, ports.shapes, request)
    return Prospect(desired, request, reports, plan, loaded.problem)


async def attempt(
    ports: Ports,
    nodes: Nodes,
    *,
    request: Request | None = None,
    asking: Asking | None = None,
    pace: Pace | None = None,
) -> Attempt:
    """One whole cycle. `asking.emit` hears of the nodes and of the steps.

    Raises TrueupError if the desired state cannot be had or the journal cannot be written, FenceLost if a node has seen
    a higher fence.
    """
    loaded = await in_force(ports.source, ports.journal.ledger)
    await nodes.keep(loaded.desired.nodes)
    means = means_of(ports, nodes, loaded.desired)
    emit = asking.emit if asking is not None else None
    resumed = [
        await Execution(each.plan, means, changes=each.changes, pace=pace, emit=emit).run()
        for each in await unfinished(ports)
    ]
    made = await _planned(ports, nodes, loaded, request or unattended(loaded.desired.policy), asking)
    lost = outbid(made.reports.values(), ports.fencing.fence, made.desired.datacenter_id)
    if lost is not None:
        raise lost
    await ports.plans.save(made.plan)
    summary = await Execution(made.plan, means, pace=pace, emit=emit, moves=made.request.intent).run()
    return Attempt(made, summary, tuple(resumed))
