"""Renames: the ref changes, the thing does not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from reconciler.core.desired import FIRST, Behaviour, Lineage, Resource
from reconciler.core.ledger import Renamed
from reconciler.core.plan import (
    Action,
)  # fmt: skip
from reconciler.core.refs import Ref, kind_of, mint
from tests.builders import (
    DATACENTER,
    NOW,
    desired,
    image,
    machine,
    network,
    plan_of,
    report,
    small_site,
)  # fmt: skip
from tests.core.test_changes import API, OTHER, WEB, change_of, rests, settled


def renamed(name: str, former: Ref, **more: Any) -> Resource:
    return machine(name, behaviour=Behaviour(renamed_from=former), body={"hostname": "web"}, **more)


def test_a_rename_keeps_the_thing_its_uid_and_its_address() -> None:
    fleet = settled(machine())
    site = small_site(OTHER, renamed("api", WEB))
    plan = fleet.plan(site, lineage=Lineage(removed=frozenset({WEB})))
    (change,) = plan.changes
    assert (change.action, change.uid, change.addresses[0].ip) == ("rename", mint(DATACENTER, WEB, 1), "10.0.1.10")
    assert change.steps[0].precondition.ref == WEB
    fleet.apply(plan)
    assert rests(fleet, site)
    assert [binding.ref for binding in fleet.ledger().bindings.values() if kind_of(binding.ref) == "Machine"] == [API]


@pytest.mark.parametrize("count", [False, True])
def test_going_between_one_and_a_count_renames(count: bool) -> None:
    one, first = machine(body={"hostname": "web"}), machine("web-1", body={"hostname": "web"})
    fleet = settled(one if count else first)
    new = Behaviour(renamed_from=one.ref if count else FIRST)
    wanted = msgspec.structs.replace(first if count else one, behaviour=new, digest="x")
    assert [change.action for change in fleet.plan(small_site(OTHER, wanted)).changes] == [Action.RENAME]


def test_a_rename_that_the_journal_missed_is_remembered() -> None:
    fleet = settled(machine())
    site = small_site(OTHER, renamed("api", WEB))
    plan = fleet.plan(site)
    records = list(fleet.records)
    fleet.apply(plan)
    fleet.records = records
    plan = fleet.plan(site)
    assert not plan.changes
    assert Renamed(mint(DATACENTER, WEB, 1), WEB, API) in plan.entries
    fleet.apply(plan)
    assert rests(fleet, site)


def test_a_new_machine_under_a_name_that_was_given_up_is_another_thing() -> None:
    fleet = settled(machine())
    fleet.apply(fleet.plan(small_site(OTHER, renamed("api", WEB))))
    fleet.records.clear()
    both = small_site(OTHER, renamed("api", WEB), machine())
    plan = fleet.plan(both)
    change = change_of(plan, WEB)
    assert (change.action, change.uid) == (Action.CREATE, mint(DATACENTER, WEB, 2))
    fleet.apply(plan)
    assert rests(fleet, both)


def test_a_thing_in_quarantine_comes_back_under_a_new_name() -> None:
    fleet = settled(machine())
    fleet.apply(fleet.plan(small_site(OTHER), lineage=Lineage(removed=frozenset({WEB}))))
    site = small_site(OTHER, renamed("api", WEB))
    plan = fleet.plan(site)
    assert [(change.action, change.ref) for change in plan.changes] == [(Action.RESTORE, API)]
    fleet.apply(plan)
    assert rests(fleet, site)


def test_a_living_thing_takes_a_name_whose_old_bearer_lies_in_quarantine() -> None:
    fleet = settled(machine(), machine("api"))
    fleet.apply(fleet.plan(small_site(OTHER, machine()), lineage=Lineage(removed=frozenset({API}))))
    site = small_site(OTHER, renamed("api", WEB))
    plan = fleet.plan(site)
    assert [(change.action, change.uid) for change in plan.changes] == [(Action.RENAME, mint(DATACENTER, WEB, 1))]
    fleet.apply(plan)
    assert rests(fleet, site)
    plan = fleet.plan(site, now=NOW + 7 * 86400)
    assert [(change.action, change.id) for change in plan.changes] == [(Action.PURGE, "Machine/acme/api#1@edge1")]


def test_networks_and_images_are_renamed_in_place() -> None:
    fleet = settled(machine())
    lan = network("lan")
    moved = msgspec.structs.replace(lan, behaviour=Behaviour(renamed_from=Ref("Network/acme/app")), digest="lan")
    site = desired(image(), moved, machine(nics=(lan.ref,)))
    plan = fleet.plan(site, lineage=Lineage(removed=frozenset({Ref("Network/acme/app")})))
    assert [(change.action, change.ref) for change in plan.changes] == [("rename", lan.ref), ("update", WEB)]
    assert change_of(plan, WEB).addresses[0].ip == "10.0.1.10"
    fleet.apply(plan)
    assert rests(fleet, site)


def test_a_name_that_two_want_goes_to_the_first() -> None:
    fleet = settled(machine())
    plan = fleet.plan(small_site(OTHER, renamed("b", WEB), renamed("a", WEB)))
    assert change_of(plan, "Machine/acme/a").action is Action.RENAME
    assert change_of(plan, "Machine/acme/b").action is Action.CREATE


def test_a_rename_of_what_cannot_be_seen_is_held() -> None:
    fleet = settled(machine())
    silent = report(complete=False, identity=None, claimed=False, problem="no answer")
    plan = plan_of(small_site(OTHER, renamed("api", WEB)), silent, remembered=fleet.ledger())
    assert [(hold.ref, hold.rule) for hold in plan.holds] == [(API, "unknown")]
