"""Differences held one by one: what both sides changed, disks of what is protected, secrets nobody can tell."""

from __future__ import annotations

import msgspec

from reconciler.core.desired import Policy, Resource
from reconciler.core.ledger import Paused
from reconciler.core.plan import Plan
from reconciler.core.render.drift import drift_text
from reconciler.core.values import replaced
from tests.builders import NOW, Fleet, GiB, MiB, machine, small_site

DATA = {"disks": {"data": {"size": 64 * MiB, "delegated": False}}}


def at_rest(wanted: Resource) -> Fleet:
    fleet = Fleet()
    fleet.apply(fleet.plan(small_site(wanted)))
    assert not fleet.plan(small_site(wanted)).changes
    return fleet


def by_hand(fleet: Fleet, path: str, value: object) -> None:
    """Somebody changes a field of the only machine."""
    for objects in fleet.objects.values():
        for uid, found in objects.items():
            if found.kind == "Machine":
                objects[uid] = msgspec.structs.replace(found, fields=replaced(found.fields, path, value), digest=path)


def held(plan: Plan) -> dict[str, tuple[str, ...]]:
    return {hold.rule: tuple(difference.path for difference in hold.differences) for hold in plan.holds}


def test_every_plan_shows_what_is_paused_until_it_expires() -> None:
    fleet = at_rest(machine("web"))
    fleet.journal(Paused("Machine/acme/web", NOW + 60, "looking"), Paused("Node/edge1", NOW + 60, "new disks"))
    shown = fleet.plan(small_site(machine("web")))
    assert [(hold.ref, hold.sentence) for hold in shown.holds] == [
        ("Machine/acme/web", "paused until 2027-01-15 08:01Z: looking"),
        ("Node/edge1", "paused until 2027-01-15 08:01Z: new disks"),
    ]
    assert not fleet.plan(small_site(machine("web")), now=NOW + 61).holds


def test_what_git_and_a_hand_both_changed_is_drift_too() -> None:
    fleet = at_rest(machine("web"))
    by_hand(fleet, "/memory", 3 * GiB)
    wanted = small_site(machine("web", memory=2 * GiB))
    seen = fleet.plan(wanted, intent=False)
    assert held(seen) == {"both": ("/memory",)}
    assert "memory is 3Gi, git says 2Gi" in drift_text(seen)
    assert "1 object changed on the nodes" in drift_text(seen)
    assert [change.ref for change in fleet.plan(wanted).changes] == ["Machine/acme/web"]


def test_a_line_that_is_deleted_destroys_no_disk_of_what_is_protected() -> None:
    fleet = at_rest(machine("db", body=DATA, protected=True))
    without = fleet.plan(small_site(machine("db", protected=True)))
    assert (held(without), without.changes) == ({"protected": ("/disks",)}, ())
    at_once = fleet.plan(small_site(machine("db")))
    assert (held(at_once), at_once.changes) == ({"protected": ("/disks",)}, ())
    fleet.apply(fleet.plan(small_site(machine("db", body=DATA))))
    verbs = [step.verb for step in fleet.plan(small_site(machine("db"))).steps]
    assert "destroy-disk" in verbs


def test_a_secret_whose_value_nobody_can_tell_is_neither_equal_nor_different() -> None:
    def wanted(keyed: str | None) -> Resource:
        return machine("web", body={"metadata": {"pw": {"secret": "pw", **({"keyed": keyed} if keyed else {})}}})

    fleet = at_rest(wanted("d1"))
    plan = fleet.plan(small_site(wanted(None), policy=Policy(drift="heal")))
    assert (plan.changes, [hold.rule for hold in plan.holds]) == ((), ["unknown"])
    assert "no provider has a value" in plan.holds[0].sentence
    assert [change.action for change in fleet.plan(small_site(wanted("d2"))).changes] == ["update"]
