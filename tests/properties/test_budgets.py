"""Whatever runs side by side, in whatever order, and however often it is killed: no window is ever overdrawn (I5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from reconciler.core.budgets import SECONDS, Census, accounts, allowance
from reconciler.core.desired import Budget, Desired, Policy
from reconciler.core.ledger import Entry, Spent
from reconciler.core.plan import Change
from reconciler.core.refs import Ref, Target
from reconciler.runtime.cycle import allowance_of, machines_of
from reconciler.runtime.worker import Pace
from reconciler.testing.ports import MemoryJournal
from tests.builders import desired, image, machine, network, node
from tests.runtime.worlds import World, change, gate, plan_of

RACKS = {"a": "r1", "b": "r1", "c": "r2", "d": None}
TENANTS = ("acme", "blue")
NODES = [node(name, rack=rack) for name, rack in RACKS.items()]


def budgets() -> st.SearchStrategy[Budget]:
    count = st.sampled_from([None, None, 0, 1, 2, 3])
    share = st.sampled_from([0.0, 0.0, 0.3])
    names = ("per_hour", "per_day", "per_node", "per_rack", "per_tenant")
    return st.builds(Budget, **{name: count for name in names}, **{f"{name}_share": share for name in names})


class Slow(MemoryJournal):
    """Folded once it is durable, as on a disk: meanwhile others look at the ledger as it was."""

    async def append(self, entries: Sequence[Entry]) -> None:
        await anyio.sleep(0.01)
        await super().append(entries)


class Doing:
    """What one plan does to machines: each with its place, tenant, what it spends and how long that takes."""

    def __init__(self, number: int, machines: list[tuple[str, str, bool, bool]], pause: int) -> None:
        self.number = number
        self.machines = machines
        self.pause = pause

    def __repr__(self) -> str:
        return f"Doing({self.number}, {self.machines}, {self.pause})"

    def changes(self) -> list[Change]:
        made: list[Change] = []
        for index, (where, tenant, destroys, restarts) in enumerate(self.machines):
            name, ref = f"p{self.number}m{index}", Ref(f"Machine/{tenant}/p{self.number}m{index}")
            names = ("destroys",) * destroys + ("restarts",) * restarts
            spent = tuple(Spent(each, ref, Target(where)) for each in names)
            waits = self.pause and index % 3 == 2
            gates = gate(made[-1].steps[-1].id, pause=self.pause, max_failures=99) if waits else ()
            more: dict[str, Any] = {"on_intent": spent, "gates": gates}
            made.append(change(name, where, "do", "do", **more))
        return made


def doings() -> st.SearchStrategy[list[Doing]]:
    one = st.tuples(st.sampled_from(sorted(RACKS)), st.sampled_from(TENANTS), st.booleans(), st.booleans())
    plan = st.tuples(st.lists(one, min_size=1, max_size=8), st.sampled_from([0, 0, 1500]))
    plans = st.lists(plan, min_size=1, max_size=4)
    return plans.map(lambda each: [Doing(number, *about) for number, about in enumerate(each)])


def site(policy: Policy, done: list[Doing]) -> Desired:
    machines = [machine(f"p{each.number}m{index}", tenant, nics=()) for each in done
                for index, (_, tenant, _, _) in enumerate(each.machines)]  # fmt: skip
    return desired(image(), network(), *machines, nodes=NODES, policy=policy)


async def lived(world: World, wanted: Desired, done: list[Doing], workers: int, killed: int | None) -> None:
    """All plans side by side, on one journal; after a while the process is killed, and a fresh one resumes them."""
    pace = Pace(workers=workers, per_target=3)
    plans = [plan_of(*each.changes(), generation=each.number + 1, commit=f"c{each.number}") for each in done]

    async def carry_out(scope: anyio.CancelScope | None) -> None:
        allowed = allowance_of(wanted)
        async with anyio.create_task_group() as group:
            for plan in plans:
                execution = world.execution(plan, pace=pace, allowance=allowed)
                group.start_soon(execution.run)
            if scope is not None and killed is not None:
                await anyio.sleep(killed)
                scope.cancel()

    if killed is not None:
        with anyio.CancelScope() as scope:
            await carry_out(scope)
        world.journal = Slow(world.clock, world.journal.records)
    await carry_out(None)


@settings(deadline=None)
@given(budgets(), budgets(), doings(), st.sampled_from([1, 2, 50]), st.sampled_from([None, 0, 2, 1600]))
def test_no_window_is_overdrawn_on_any_interleaving(
    destroys: Budget, restarts: Budget, done: list[Doing], workers: int, killed: int | None
) -> None:
    world, policy = World(), Policy(destroys=destroys, restarts=restarts)
    world.journal = Slow(world.clock)
    world.add("a", "c", latency=1.0)
    world.add("b", "d", latency=7.0)
    wanted = site(policy, done)
    virtual = {"clock": MockClock(autojump_threshold=0)}
    anyio.run(lived, world, wanted, done, workers, killed, backend="trio", backend_options=virtual)
    machines = machines_of(wanted, world.journal.ledger)
    within(world, policy, lambda account: machines[account])
    for each in done:
        for index, (where, _, destroyed, restarted) in enumerate(each.machines):
            uid = f"p{each.number}m{index}"
            spent = {entry.budget for entry in world.journalled(Spent) if entry.ref.endswith(f"/{uid}")}
            if uid in world.machines[where].objects:
                assert spent == {name for name, does in (("destroys", destroyed), ("restarts", restarted)) if does}


def within(world: World, policy: Policy, census: Census) -> None:
    """Every window that ends with a spending holds at most what is allowed."""
    dated = world.journal.ledger.spent
    for at, last in dated:
        for name, budget in (("destroys", policy.destroys), ("restarts", policy.restarts)):
            counted: Counter[tuple[str, str]] = Counter()
            for when, entry in dated:
                for account in accounts({each.name: each for each in NODES}, entry.ref, entry.target):
                    if entry.budget == name and account[0] in SECONDS and at - SECONDS[account[0]] < when <= at:
                        counted[account] += 1
            for account, count in counted.items():
                allowed = allowance(budget, account, census)
                assert allowed is None or count <= allowed, f"{count} of {allowed} {name} {account} up to {last}"
