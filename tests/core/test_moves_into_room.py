"""Moves into room that others of the same plan give back: they wait for it, and fall with it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from reconciler.core.desired import Budget, Constraints, Lineage, Policy, Resource
from reconciler.core.observed import Capacity
from reconciler.core.plan import Action, Change, Plan
from reconciler.core.refs import Ref
from tests.builders import Fleet, GiB, machine
from tests.core.test_moves import FANS, WEB, A, B, C, cluster, live, moves, rules_of, site

DB, OLD = Ref("Machine/acme/db"), Ref("Machine/acme/old")


class Narrow(Fleet):
    """Members of 8 GiB each."""

    def reports(self) -> list[Any]:
        return [msgspec.structs.replace(each, capacity=Capacity(8 * GiB, 32_000, 200 * GiB), digest=f"n{each.digest}")
                for each in super().reports()]  # fmt: skip


def at(name: str, memory: int, place: str | None, **body: Any) -> Resource:
    return machine(name, memory=memory, constraints=Constraints(node=place), **body)


def narrow(*machines: Resource) -> Narrow:
    fleet = Narrow(A, B, C)
    fleet.apply(fleet.plan(site(*machines)))
    return fleet


def change_of(plan: Plan, ref: Ref) -> Change:
    return next(change for change in plan.changes if change.ref == ref)


def waits(plan: Plan, ref: Ref, other: Ref) -> bool:
    """Before it is stopped, not only before it is carried over."""
    return change_of(plan, other).steps[-1].id in change_of(plan, ref).steps[0].needs


def test_a_drain_goes_where_the_same_plan_makes_room() -> None:
    fleet = narrow(at("web", 6 * GiB, A), at("old", 6 * GiB, B), at("db", 6 * GiB, C))
    wanted = site(at("web", 6 * GiB, None), at("db", 6 * GiB, C), at=cluster(a=FANS))
    plan = fleet.plan(wanted, lineage=Lineage(removed=frozenset({OLD})))
    assert moves(plan) == [(WEB, A, B)]
    assert waits(plan, WEB, OLD)
    assert [(room.target, room.memory) for room in plan.headroom] == [
        (A, (2 * GiB, 8 * GiB)), (B, (2 * GiB, 2 * GiB)),
    ]  # fmt: skip
    fleet.apply(plan)
    assert live(fleet) == [(B, "running")]


def test_room_that_is_free_already_is_taken_first() -> None:
    fleet = narrow(at("web", 6 * GiB, A), at("old", 6 * GiB, B))
    plan = fleet.plan(site(at("web", 6 * GiB, None), at=cluster(a=FANS)), lineage=Lineage(removed=frozenset({OLD})))
    assert moves(plan) == [(WEB, A, C)]
    assert not waits(plan, WEB, OLD)


def test_moves_follow_each_other_into_what_each_leaves() -> None:
    """What a document sends from b to c goes when c is freed, and the drained member's machine follows it to b."""
    fleet = narrow(at("web", 6 * GiB, A), at("db", 6 * GiB, B), at("old", 6 * GiB, C))
    wanted = site(at("web", 6 * GiB, None), at("db", 6 * GiB, C), at=cluster(a=FANS))
    plan = fleet.plan(wanted, lineage=Lineage(removed=frozenset({OLD})))
    assert sorted(moves(plan)) == [(DB, B, C), (WEB, A, B)]
    assert waits(plan, DB, OLD)
    assert waits(plan, WEB, DB)
    fleet.apply(plan)
    assert fleet.plan(wanted).changes == ()


def test_a_new_machine_waits_for_one_that_leaves() -> None:
    fleet = narrow(at("web", 6 * GiB, A))
    plan = fleet.plan(site(at("web", 6 * GiB, B), at("db", 6 * GiB, A)))
    assert moves(plan) == [(WEB, A, B)]
    assert (change_of(plan, DB).action, change_of(plan, DB).target) == (Action.CREATE, A)
    assert waits(plan, DB, WEB)


def test_two_that_would_change_places_stay() -> None:
    fleet = narrow(at("web", 6 * GiB, A), at("db", 6 * GiB, B), at("old", 6 * GiB, C))
    plan = fleet.plan(site(at("web", 6 * GiB, B), at("db", 6 * GiB, A), at("old", 6 * GiB, C)))
    assert moves(plan) == []
    assert rules_of(plan) == [(DB, "move"), (WEB, "move")]


def test_what_counts_on_a_change_that_is_withheld_is_not_even_stopped() -> None:
    """db shall have an address that stays reserved for what is destroyed: it does not leave b, and b is not freed."""
    taken = {Ref("Network/acme/app"): "10.0.1.2"}
    fleet = narrow(at("web", 6 * GiB, A), at("db", 6 * GiB, B), at("old", 6 * GiB, C, ips=taken))
    wanted = site(at("web", 6 * GiB, None), at("db", 6 * GiB, C, ips=taken), at=cluster(a=FANS))
    plan = fleet.plan(wanted, lineage=Lineage(removed=frozenset({OLD})))
    assert moves(plan) == []
    assert rules_of(plan) == [(DB, "address"), (WEB, "capacity")]


@pytest.mark.parametrize("allowed", [0, 1])
def test_they_spend_the_budget_of_restarts(allowed: int) -> None:
    fleet = narrow(at("web", 6 * GiB, A), at("old", 6 * GiB, B), at("db", 6 * GiB, C))
    policy = Policy(restarts=Budget(per_plan=allowed))
    wanted = site(at("web", 6 * GiB, None), at("db", 6 * GiB, C), at=cluster(a=FANS), policy=policy)
    plan = fleet.plan(wanted, lineage=Lineage(removed=frozenset({OLD})))
    assert moves(plan) == [(WEB, A, B)][:allowed]
    assert ((WEB, "budget") in rules_of(plan)) is not allowed


def test_the_choice_does_not_depend_on_who_is_named_first() -> None:
    names = ("web", "db", "old")
    plans = []
    for order in (names, names[::-1]):
        by_name = {"web": at("web", 6 * GiB, A), "db": at("db", 6 * GiB, B), "old": at("old", 6 * GiB, C)}
        fleet = narrow(*(by_name[name] for name in order))
        wanted = [at("web", 6 * GiB, None), at("db", 6 * GiB, C)]
        plans.append(fleet.plan(
            site(*(wanted if order is names else wanted[::-1]), at=cluster(a=FANS)),
            lineage=Lineage(removed=frozenset({OLD})),
        ))  # fmt: skip
    assert moves(plans[0]) == moves(plans[1])
    assert plans[0].digest == plans[1].digest
