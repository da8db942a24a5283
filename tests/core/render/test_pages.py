"""The pages beside the plan: drift, status, listings, explanations."""

from __future__ import annotations

import msgspec

from reconciler.core.observed import Capacity, Object, Report
from reconciler.core.outages import Outage
from reconciler.core.plan import Action, Cause, Difference, Hold, Manner, Risk
from reconciler.core.refs import Target
from reconciler.core.render.changes import View
from reconciler.core.render.drift import drift_text
from reconciler.core.render.explain import Explanation, Origin, explain_text
from reconciler.core.render.listing import NodeRow, Row, listing_text, nodes_text
from reconciler.core.render.status import Situation, Waiting, status_text

from .test_plan_text import AT, GI, change, held_web, plan, same_as_golden


def vanished() -> Hold:
    return Hold(
        "Machine/acme/db",
        "vanished",
        "it was made on edge1 and is gone, without a destroy of ours",
        "trueup heal acme/db makes a new one; trueup forget acme/db gives it up",
        target="edge1",
    )


def test_drift_offers_both_ways_back() -> None:
    same_as_golden("drift", drift_text(plan(holds=(held_web(), vanished()), unmanaged=2)))
    assert "trueup heal acme/web-3." in drift_text(plan(holds=(held_web(),)))


def test_drift_that_the_loop_heals_is_told_as_a_change() -> None:
    found = Difference("/cpu", 2000, 1000, Cause.DRIFT, Manner.LIVE)
    healed = change("Machine/a/b", "n", Action.UPDATE, differences=(found,), risk=Risk.LIVE)
    assert "the next apply takes it back" in drift_text(plan(healed))


def test_no_drift_is_not_claimed_of_what_was_not_seen() -> None:
    assert drift_text(plan()) == "Drift: none, the nodes hold what was applied last.\n"
    assert "no drift was seen" in drift_text(plan(complete=False, problems=("edge1 did not answer",)))


def test_status_is_one_page() -> None:
    situation = Situation(
        plan(holds=(vanished(),)),
        applied="5b0a77e" + "0" * 33,
        head="9f2c41d" + "0" * 33,
        loop="no loop runs here",
        quarantined=(Waiting("Machine/ops/ci", AT + 86400, "edge1"),),
        paused=(Waiting("Node/edge1", AT + 7200, reason="new disks"),),
        in_flight=("Machine/acme/web-1@edge1:2-start",),
    )
    same_as_golden("status", status_text(situation, View(now=AT)))


def test_a_listing_shows_people_s_units() -> None:
    web = {
        "memory": GI,
        "cpu": 500,
        "state": "running",
        "nics": {"app": {"ip": "10.0.1.10/24", "primary": True}, "admin": {"ip": "10.10.0.9/24"}},
    }
    rows = [
        Row("Machine/acme/web-10", "edge1", "live", web),
        Row("Machine/acme/web-2", "", "missing", {"memory": GI}),
        Row("someone's", "edge1", "unmanaged", {"hostname": "\x1b[2J"}),
    ]
    same_as_golden("machines", listing_text("Machine", rows))
    assert listing_text("Package", []) == "There is no Package.\n"


def test_nodes_tell_what_they_can_do() -> None:
    web = Object("Machine", "web", "1", {}, "d")
    report = Report(
        Target("edge1"), 1, True, "pool-1", None, Capacity(64 * GI, 16000), (web,), "d", facts={"storage": "zfs-fuse"}
    )
    blind = Report(Target("edge2"), 1, False, None, None, Capacity(), (), "", problem="no answer within 30 s")
    rows = [
        NodeRow(report, "local", "claimed", free=(22 * GI, 4000, None), cordon="new disks"),
        NodeRow(blind, "sim", "no answer within 30 s"),
    ]
    same_as_golden("nodes", nodes_text(rows))


def test_an_explanation_has_a_reason_for_every_node() -> None:
    found = Explanation(
        "Machine/acme/web-1",
        "it runs on edge1 and is as git says",
        uid="0f5a-uid",
        target="edge1",
        source="tenants/acme/machines.yaml:3",
        fields={
            "/memory": Origin(2 * GI, "Package/s", "packages.yaml:6"),
            "/nics/app/ip": Origin("10.0.1.10/24", "allocated"),
        },
        placement="bound to edge1 since it was made",
        rejected={"edge2": "needs 2147483648 memory, 0 free", "inc/a": "it is cordoned: soak until Friday"},
        possible=("edge1", "edge3"),
        users=("Machine/acme/lb",),
    )
    same_as_golden("explain", explain_text(found))


def test_an_explanation_tells_how_long_it_was_down_and_since_when_it_is() -> None:
    moved = Outage(AT, AT + 4.2, "p", "3-start", Target("inc/b"), Target("inc/a"))
    found = Explanation("Machine/acme/web-1", "it is running on inc/b", uid="u", outage=moved)
    lines = explain_text(found).splitlines()
    assert lines[3].strip() == "last down for 4.2 s, from 2026-10-01 14:02Z on: moved inc/a → inc/b"
    restarted = msgspec.structs.replace(moved, source=None)
    found = msgspec.structs.replace(found, outage=restarted, down_since=AT + 120)
    lines = explain_text(found).splitlines()
    assert lines[3].strip() == "last down for 4.2 s, from 2026-10-01 14:02Z on"
    assert lines[4].strip() == "down since 2026-10-01 14:04Z: stopped for a change that did not come to its end"
