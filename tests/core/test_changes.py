"""What a plan does: order, batches, renames, replaces, disks, selection, and the form it is kept in."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import msgspec
import pytest

from drivers.sim.shape import SimShape
from reconciler.core import order
from reconciler.core.compare import whole_cause
from reconciler.core.desired import Behaviour, Desired, Lineage, Resource, Update
from reconciler.core.diff import changed_paths, operations
from reconciler.core.ledger import Bound, Forgotten, Result
from reconciler.core.observed import Object
from reconciler.core.plan import (
    Action,
    Cause,
    Change,
    Difference,
    Expect,
    Gate,
    Manner,
    Plan,
    from_json,
    plan_digest,
    to_json,
)  # fmt: skip
from reconciler.core.planner import make_plan
from reconciler.core.refs import Ref, Target, kind_of, make_ref, mint, name_of, node_of, short, tenant_of
from reconciler.core.values import digest, find, flatten, plain, replaced
from tests.builders import (
    DATACENTER,
    NOW,
    Fleet,
    GiB,
    desired,
    image,
    ledger,
    machine,
    network,
    node,
    plan_of,
    report,
    request,
    small_site,
)  # fmt: skip

WEB, DB, API = (Ref(f"Machine/acme/{name}") for name in ("web", "db", "api"))
OTHER = image("alpine", content="2")


def settled(*machines: Resource, **more: Any) -> Fleet:
    fleet = Fleet(*more.pop("targets", ("edge1",)))
    fleet.apply(fleet.plan(small_site(OTHER, *machines, **more)))
    return fleet


def change_of(plan: Plan, ref: str) -> Change:
    return next(change for change in plan.changes if change.ref == ref)


def verbs(change: Change) -> list[str]:
    return [step.verb for step in change.steps]


def rests(fleet: Fleet, site: Desired) -> bool:
    plan = fleet.plan(site)
    return not plan.changes and not plan.holds and not plan.entries


# -- order ------------------------------------------------------------------------------------------------------


def test_images_and_networks_come_before_machines_and_go_after_them() -> None:
    fleet, site = Fleet(), small_site(machine())
    plan = fleet.plan(site)
    ends = {change.ref: change.steps[-1].id for change in plan.changes}
    assert set(change_of(plan, WEB).steps[0].needs) == {ends["Image/debian"], ends["Network/acme/app"]}
    fleet.apply(plan)
    empty = desired()
    gone = Lineage(removed=frozenset({WEB, Ref("Network/acme/app")}))
    plan = fleet.plan(empty, lineage=gone)
    assert [(hold.ref, hold.rule) for hold in plan.holds] == [("Image/debian", "witness")]
    late = fleet.plan(desired(image()), lineage=gone)
    assert [hold.rule for hold in late.holds] == []
    assert [change.ref for change in late.changes] == [WEB, "Network/acme/app"]
    assert change_of(late, WEB).steps[-1].id in change_of(late, "Network/acme/app").steps[0].needs


def test_an_image_brings_the_one_it_was_made_from() -> None:
    base = image("base", content="9")
    layered = msgspec.structs.replace(image(), references=(base.ref,), digest="layered")
    plan = plan_of(desired(base, layered, network(), machine()))
    assert [change.ref for change in plan.changes][:2] == ["Image/base", "Image/debian"]
    assert change_of(plan, "Image/base").steps[-1].id in change_of(plan, "Image/debian").steps[0].needs
    fleet = Fleet()
    fleet.apply(plan)
    assert rests(fleet, desired(base, layered, network(), machine()))


def test_steps_of_a_change_are_in_series() -> None:
    change = change_of(plan_of(small_site(machine())), WEB)
    assert [step.needs for step in change.steps[1:]] == [(step.id,) for step in change.steps[:-1]]


def test_names_are_ordered_as_people_count() -> None:
    assert sorted(["web-10", "web-9", "web", "web-²"], key=order.natural) == ["web", "web-9", "web-10", "web-²"]


def test_a_circle_is_found_whole() -> None:
    assert order.cycle({"a": {"b"}, "b": {"a"}, "c": {"a"}}) == ("a", "b")
    assert order.cycle({"a": {"b"}, "b": set()}) == ()


# -- batches ----------------------------------------------------------------------------------------------------


def group(count: int, *, memory: int = GiB, **update: Any) -> list[Resource]:
    about = Behaviour(update=Update("Machine/acme/web", **update))
    return [machine(f"web-{number}", memory=memory, behaviour=about) for number in range(1, count + 1)]


def gates(plan: Plan) -> dict[str, tuple[Gate, ...]]:
    return {name_of(change.ref): change.steps[0].gates for change in plan.changes}


def last_step(plan: Plan, name: str) -> str:
    return change_of(plan, f"Machine/acme/{name}").steps[-1].id


def test_a_group_changes_canary_first_then_batch_by_batch() -> None:
    fleet = settled(*group(6, canary=1, batch=2, pause=5))
    plan = fleet.plan(small_site(OTHER, *group(6, memory=2 * GiB, canary=1, batch=2, pause=5)))
    assert gates(plan) == {
        "web-1": (),
        "web-2": (Gate((last_step(plan, "web-1"),), 0, 5),),
        "web-3": (Gate((last_step(plan, "web-1"),), 0, 5),),
        "web-4": (Gate((last_step(plan, "web-2"), last_step(plan, "web-3")), 0, 5),),
        "web-5": (Gate((last_step(plan, "web-2"), last_step(plan, "web-3")), 0, 5),),
        "web-6": (Gate((last_step(plan, "web-4"), last_step(plan, "web-5")), 0, 5),),
    }


def test_where_failures_are_tolerated_all_earlier_batches_count_together() -> None:
    fleet = settled(*group(3, max_failures=1))
    plan = fleet.plan(small_site(OTHER, *group(3, memory=2 * GiB, max_failures=1)))
    assert gates(plan)["web-3"] == (Gate((last_step(plan, "web-1"), last_step(plan, "web-2")), 1, 0),)


def test_what_an_earlier_attempt_left_unready_goes_first() -> None:
    fleet = settled(*group(3, canary=1))
    here = fleet.objects[Target("edge1")]
    for uid, found in here.items():
        if found.marks and found.marks.ref == "Machine/acme/web-3":
            fields = {**found.fields, "memory": 2 * GiB}
            here[uid] = msgspec.structs.replace(
                found, fields=fields, marks=msgspec.structs.replace(found.marks, applied="")
            )
    plan = fleet.plan(small_site(OTHER, *group(3, memory=2 * GiB, canary=1)))
    assert change_of(plan, "Machine/acme/web-3").reason.sentence == "an earlier change did not come to its end"
    assert gates(plan)["web-3"] == ()
    assert gates(plan)["web-1"] == (Gate((last_step(plan, "web-3"),), 0, 0),)


# -- replaces, restores, disks ----------------------------------------------------------------------------------


def replacing(**more: Any) -> Desired:
    return small_site(OTHER, machine(uses=OTHER, behaviour=Behaviour(replace=True), **more))


def cut(fleet: Fleet, plan: Plan, ref: Ref, steps: int, *, last_told: bool = True) -> None:
    """Carry out the first steps of a change; the last one's result may not be journalled."""
    change = change_of(plan, ref)
    for each in plan.changes:
        if each.ref != ref and kind_of(each.ref) != "Machine":
            fleet.take(each)
    records = len(fleet.records)
    fleet.take(msgspec.structs.replace(change, steps=change.steps[:steps]))
    if not last_told:
        told = len(change.steps[steps - 1].on_applied)
        del fleet.records[len(fleet.records) - told :]
    assert len(fleet.records) >= records


@pytest.mark.parametrize("steps", range(1, 6))
@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("lost", [False, True])
def test_a_replace_that_was_cut_short_goes_on(steps: int, told: bool, lost: bool) -> None:
    fleet, site = settled(machine()), replacing()
    plan = fleet.plan(site)
    cut(fleet, plan, WEB, steps, last_told=told)
    if lost:
        fleet.records.clear()
    for _ in range(3):
        fleet.apply(fleet.plan(site))
    assert rests(fleet, site)
    machines = [found for found in fleet.objects[Target("edge1")].values() if found.kind == "Machine"]
    assert sorted(found.lifecycle for found in machines) == ["live", "quarantined"]


def test_data_disks_follow_a_replace_and_do_not_shrink_with_it() -> None:
    fleet = settled(machine(body={"disks": {"data": {"size": 2 * GiB, "path": "/data"}}}))
    site = replacing(body={"disks": {"data": {"size": GiB, "path": "/data"}}})
    plan = fleet.plan(site)
    change = change_of(plan, WEB)
    assert (change.action, find(change.after or {}, "/disks/data/size")) == (Action.REPLACE, 2 * GiB)
    assert [hold.rule for hold in plan.holds] == ["impossible"]
    fleet.apply(plan)
    plan = fleet.plan(site)
    assert not plan.changes
    assert [hold.rule for hold in plan.holds] == ["impossible"]


def test_the_document_s_return_restores_the_same_thing_as_it_is_wanted_now() -> None:
    fleet = settled(machine())
    fleet.apply(fleet.plan(small_site(OTHER), lineage=Lineage(removed=frozenset({WEB}))))
    disks = {"disks": {"data": {"size": GiB, "path": "/data"}}}
    site = small_site(OTHER, machine(memory=2 * GiB, body=disks))
    plan = fleet.plan(site)
    change = change_of(plan, WEB)
    assert (change.action, change.uid) == (Action.RESTORE, mint(DATACENTER, WEB, 1))
    assert verbs(change) == ["restore", "disk", "configure", "start"]
    fleet.apply(plan)
    assert rests(fleet, site)


def test_what_comes_back_with_another_image_comes_back_as_it_was_and_tells() -> None:
    fleet = settled(machine())
    fleet.apply(fleet.plan(small_site(OTHER), lineage=Lineage(removed=frozenset({WEB}))))
    plan = fleet.plan(small_site(OTHER, machine(uses=OTHER)))
    change = change_of(plan, WEB)
    assert (change.action, change.after and change.after["image"]) == (Action.RESTORE, "sha256:11111111")
    assert [hold.rule for hold in plan.holds] == ["replace"]
    assert plan.proved


def test_a_data_disk_is_made_live_and_destroyed_by_a_step_of_its_own() -> None:
    disks = {"disks": {"data": {"size": GiB, "path": "/data"}}}
    fleet = settled(machine())
    plan = fleet.plan(small_site(OTHER, machine(body=disks)))
    assert verbs(change_of(plan, WEB)) == ["disk"]
    fleet.apply(plan)
    plan = fleet.plan(small_site(OTHER, machine()))
    assert verbs(change_of(plan, WEB)) == ["destroy-disk"]
    assert plan.changes[0].risk == "data-loss"


def test_an_object_that_the_ledger_lost_is_taken_up_as_it_is() -> None:
    fleet, site = settled(machine(), machine("db")), small_site(OTHER, machine(), machine("db"))
    before = {found.marks.ref: find(found.fields, "/nics/app/ip") for found in fleet.objects[Target("edge1")].values()
              if found.marks}  # fmt: skip
    fleet.records.clear()
    plan = fleet.plan(site)
    assert not plan.changes
    fleet.apply(plan)
    assert rests(fleet, site)
    grown = fleet.plan(small_site(OTHER, machine(memory=2 * GiB), machine("db")))
    (change,) = grown.changes
    assert f"{change.addresses[0].ip}/24" == before[WEB]
    assert change.differences[0].cause is Cause.INTENT


def test_a_newer_thing_that_never_came_to_be_gives_way_to_the_one_that_lives() -> None:
    fleet, site = settled(machine()), small_site(OTHER, machine())
    fleet.journal(Bound(WEB, mint(DATACENTER, WEB, 2), 2, Target("edge1")))
    plan = fleet.plan(site)
    assert [type(entry) for entry in plan.entries] == [Forgotten, Bound, *[type(entry) for entry in plan.entries[2:]]]
    fleet.apply(plan)
    fleet.apply(fleet.plan(site))
    assert rests(fleet, site)


def test_housekeeping_waits_for_a_fresh_look() -> None:
    fleet, site = settled(machine()), small_site(OTHER, machine())
    stale = fleet.reports()
    fleet.records.clear()
    fleet.journal(*[Result("p", str(number), Target("edge1"), WEB, "applied") for number in range(99)])
    assert not [entry for entry in plan_of(site, *stale, remembered=fleet.ledger()).entries if isinstance(entry, Bound)]


# -- selection --------------------------------------------------------------------------------------------------


def test_a_plan_of_some_leaves_the_others_out_and_takes_what_they_need() -> None:
    fleet = Fleet("edge1", "edge2", claimed=False)
    site = small_site(OTHER, machine(), machine("db", nics=(), uses=OTHER), nodes=[node("edge1"), node("edge2")])
    plan = fleet.plan(site, only=frozenset({WEB}))
    assert [change.ref for change in plan.changes] == ["Node/edge1", "Image/debian", "Network/acme/app", WEB]
    assert not plan.holds
    fleet.apply(plan)
    wider = desired(image(), OTHER, network(mtu=9000), machine(), machine("db", nics=(), uses=OTHER),
                    nodes=[node("edge1"), node("edge2")])  # fmt: skip
    assert {change.ref for change in fleet.plan(wider, only=frozenset({DB})).changes} >= {DB}
    assert WEB not in {change.ref for change in fleet.plan(wider, only=frozenset({DB})).changes}
    assert [change.ref for change in fleet.plan(wider, only=frozenset({Ref("Node/edge2")})).changes] == ["Node/edge2"]


def test_a_selected_machine_takes_the_change_of_its_network_along() -> None:
    fleet = settled(machine())
    site = desired(image(), OTHER, network(mtu=9000), machine())
    assert [change.ref for change in fleet.plan(site, only=frozenset({WEB})).changes] == ["Network/acme/app", WEB]
    assert fleet.plan(site, only=frozenset({DB})).changes == ()


# -- the form of a plan -----------------------------------------------------------------------------------------


def whole_plan() -> Plan:
    fleet = settled(machine(), machine("db"), *group(3, canary=1))
    site = small_site(OTHER, machine(memory=2 * GiB), machine("new"), *group(3, memory=3 * GiB, canary=1))
    return fleet.plan(site, lineage=Lineage(removed=frozenset({DB})))


def test_a_plan_survives_json_and_tampering_is_seen() -> None:
    plan = whole_plan()
    assert from_json(to_json(plan)) == plan
    with pytest.raises(ValueError, match="edited, or cut short"):
        from_json(to_json(plan).replace(b'"memory": 2147483648', b'"memory": 2147483649'))
    with pytest.raises(msgspec.ValidationError):
        from_json(b"{}")


def test_the_digest_binds_content_and_neither_the_hour_nor_the_commit() -> None:
    fleet = settled(machine())
    site = small_site(OTHER, machine(memory=2 * GiB))
    twin = msgspec.structs.replace(site, revision=msgspec.structs.replace(site.revision, commit="another", branch="x"))
    digests = {fleet.plan(site).digest, fleet.plan(site, now=NOW + 99).digest, fleet.plan(twin).digest}
    assert len(digests) == 1
    assert fleet.plan(small_site(OTHER, machine(memory=3 * GiB))).digest not in digests
    assert plan_digest(DATACENTER, "other", fleet.plan(site).changes) not in digests


def test_the_hash_seed_changes_nothing() -> None:
    script = "from tests.core.test_changes import whole_plan; from reconciler.core.plan import to_json; "
    script += "import sys; sys.stdout.buffer.write(to_json(whole_plan()))"
    told = {
        subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONHASHSEED": seed},
                       capture_output=True, check=True).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert told == {to_json(whole_plan())}


def test_a_plan_whose_driver_cannot_keep_its_word_says_whose_fault_it_is() -> None:
    class Forgetful(SimShape):
        def steps(self, draft: Any) -> Any:
            steps = super().steps(draft)
            return tuple(
                msgspec.structs.replace(step, effect=msgspec.structs.replace(step.effect, fields={}, applied=None))
                for step in steps
            )

    plan = make_plan(small_site(machine()), [report()], ledger(), {"sim": Forgetful()}, request())
    assert not plan.proved
    assert any("driver sim would leave" in problem for problem in plan.problems)

    class Vague(SimShape):
        def steps(self, draft: Any) -> Any:
            return tuple(
                msgspec.structs.replace(step, args={key: value for key, value in step.args.items() if key != "marks"})
                for step in super().steps(draft)
            )

    plan = make_plan(small_site(machine()), [report()], ledger(), {"sim": Vague()}, request())
    assert any("leave the marks behind" in problem for problem in plan.problems)

    class Destroyer(SimShape):
        def steps(self, draft: Any) -> Any:
            return tuple(msgspec.structs.replace(step, effect=Expect("absent")) for step in super().steps(draft))

    plan = make_plan(small_site(machine()), [report()], ledger(), {"sim": Destroyer()}, request())
    assert any("its steps would leave nothing" in problem for problem in plan.problems)


# -- small parts ------------------------------------------------------------------------------------------------


def thing(lifecycle: Any = "live", **fields: Any) -> Object:
    return Object("Machine", "n", "id", fields, "", None, lifecycle)


@pytest.mark.parametrize(
    ("expect", "found", "words"),
    [
        (Expect("absent"), None, None),
        (Expect("live"), None, "it is not there"),
        (Expect("absent"), thing(), "it is there, live"),
        (Expect("quarantined"), thing(), "it is live, not quarantined"),
        (Expect("live", {"/memory": 1}), thing(memory=1), None),
        (Expect("live", {"/memory": 1}), thing(memory=2), "/memory is 2, not 1"),
        (Expect("live", {"/gone": None}), thing(), None),
        (Expect("live", applied="x"), thing(), "its marks tell of another change"),
        (Expect("live", ref="Machine/a/b"), thing(), "it is nobody, not Machine/a/b"),
    ],
)
def test_an_expectation_says_what_is_different(expect: Expect, found: Object | None, words: str | None) -> None:
    assert expect.mismatch(found) == words


def test_an_expectation_of_what_cannot_be_read_is_not_met() -> None:
    unread = msgspec.structs.replace(thing(), unknown={"/nics": "no permission"})
    words = Expect("live", {"/nics/app/ip": "x"}).mismatch(unread)
    assert words == "/nics/app/ip could not be read: no permission"
    assert Expect("live", {"/memory": None}).mismatch(unread) is None


def test_paths_and_operations() -> None:
    before, after = {"a": {"x": 1, "y": [1]}, "gone": 5}, {"a": {"x": 2, "y": [1, 2]}, "new": 5}
    assert changed_paths(before, before) == ()
    assert changed_paths(before, after) == ("/a/x", "/a/y", "/gone", "/new")
    assert operations(before, after) == [
        {"op": "replace", "path": "/a/x", "value": 2},
        {"op": "replace", "path": "/a/y", "value": [1, 2]},
        {"op": "remove", "path": "/gone"},
        {"op": "add", "path": "/new", "value": 5},
    ]
    assert flatten({"a": {"b/c": 1, "d": {}}, "e": 2}) == {"/a/b~1c": 1, "/a/d": {}, "/e": 2}
    assert find({"a": 1}, "/a/b") is None
    assert replaced({"a": {"b": 1}, "c": 2}, "/a/b", None) == {"c": 2}
    assert replaced({}, "/a~1b/c", 1) == {"a/b": {"c": 1}}
    assert replaced({"a": 1}, "/a", None) == {}
    assert replaced({"a": 1}, "/a/b", 2) == {"a": {"b": 2}}
    assert replaced({"a": 1}, "/x/y", None) == {"a": 1}
    assert plain(b'{"a":1}') == {"a": 1}
    assert digest(b"x") != digest("x")


def test_names_are_taken_apart() -> None:
    assert (make_ref("Machine", "web", "acme"), make_ref("Image", "d")) == (WEB, "Image/d")
    assert (kind_of(WEB), tenant_of(WEB), name_of(WEB), short(WEB)) == ("Machine", "acme", "web", "acme/web")
    assert (tenant_of("Image/d"), node_of("inc/a"), node_of("edge1")) == (None, "inc", "edge1")


def test_causes_add_up() -> None:
    def difference(cause: Cause) -> Difference:
        return Difference("/x", 1, 2, cause, Manner.LIVE)

    assert whole_cause(()) is None
    assert whole_cause((difference(Cause.DRIFT),)) is Cause.DRIFT
    assert whole_cause((difference(Cause.DRIFT), difference(Cause.INTENT))) is Cause.BOTH
