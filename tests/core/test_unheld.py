"""Fields that one host does not hold, as its kernel is: there they are not wanted, and elsewhere they are."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest

from reconciler.core.desired import Desired
from reconciler.core.observed import Report
from reconciler.core.plan import Action, Plan
from reconciler.core.refs import Ref
from reconciler.core.values import canonical
from tests.builders import Fleet, machine, node, plan_of, planner, request, small_site

WEB = Ref("Machine/acme/web")
LACKS = {"ioPriority": "its kernel has no weights for disks"}


def site(weight: int | None = 300) -> Desired:
    return small_site(machine(body={"ioPriority": weight}), nodes=[node()])


def lacking(reports: Iterable[Report], cannot: dict[str, str] | None = None) -> list[Report]:
    return [msgspec.structs.replace(each, cannot=LACKS if cannot is None else cannot) for each in reports]


def of_web(plan: Plan) -> list[tuple[Action, list[str]]]:
    return [(each.action, [one.path for one in each.differences]) for each in plan.changes if each.ref == WEB]


def lived(*, claimed: bool = True) -> Fleet:
    """A machine that was made where its weight is not held."""
    fleet = Fleet(claimed=claimed)
    plan = plan_of(site(), *lacking(fleet.reports()), remembered=fleet.ledger())
    (made,) = [each for each in plan.changes if each.ref == WEB]
    assert made.after is not None
    assert "ioPriority" not in made.after
    fleet.apply(plan)
    return fleet


@pytest.mark.parametrize("claimed", [True, False])
def test_machine_is_made_without_what_its_host_does_not_hold_and_is_at_rest(claimed: bool) -> None:
    fleet = lived(claimed=claimed)
    rest = plan_of(site(), *lacking(fleet.reports()), remembered=fleet.ledger())
    assert (rest.changes, rest.holds) == ((), ())
    other = plan_of(site(weight=500), *lacking(fleet.reports()), remembered=fleet.ledger())
    assert of_web(other) == []


def test_it_is_made_so_once_the_host_holds_it_and_no_plan_from_scratch_differs() -> None:
    fleet = lived()
    warm = planner(site(), *lacking(fleet.reports()), remembered=fleet.ledger())
    assert warm.plan(request()).changes == ()
    for cannot in ({}, LACKS, {}):
        reports = lacking(fleet.reports(), cannot)
        for each in reports:
            warm.take_report(each)
        told, scratch = warm.plan(request()), plan_of(site(), *reports, remembered=fleet.ledger())
        assert canonical(msgspec.to_builtins(told)) == canonical(msgspec.to_builtins(scratch))
        assert of_web(told) == ([] if cannot else [(Action.UPDATE, ["/ioPriority"])])
    fleet.apply(plan_of(site(), *fleet.reports(), remembered=fleet.ledger()))
    assert plan_of(site(), *fleet.reports(), remembered=fleet.ledger()).changes == ()
