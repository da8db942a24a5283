"""What golden pages do not show: corners of wording, each in one line."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from reconciler.core.observed import Capacity, Report
from reconciler.core.outages import Downtime
from reconciler.core.plan import (
    Action,
    BudgetUse,
    Cause,
    Difference,
    Gate,
    Headroom,
    Hold,
    Manner,
    Reason,
    Risk,
    Undo,
    Verdict,
)
from reconciler.core.refs import Ref, Target
from reconciler.core.render import names, quantities
from reconciler.core.render.changes import View
from reconciler.core.render.drift import drift_text
from reconciler.core.render.explain import Explanation, Origin, explain_text
from reconciler.core.render.fold import sorted_by_need
from reconciler.core.render.lines import wrapped
from reconciler.core.render.listing import NodeRow, Row, listing_text, nodes_text
from reconciler.core.render.outcome import Result, Unfinished, down_words, nothing_text, result_text, step_line
from reconciler.core.render.plan import plan_text
from reconciler.core.render.status import Situation, Waiting, status_text

from .test_plan_text import AT, GI, change, plan, step


def update(*found: Difference, **more: Any) -> Any:
    return change("Machine/a/b", "n", Action.UPDATE, differences=found, **more)


def live(path: str, before: Any, after: Any, cause: Cause = Cause.INTENT) -> Difference:
    return Difference(path, before, after, cause, Manner.LIVE)


def test_a_likely_change_says_what_is_not_certain() -> None:
    text = plan_text(plan(update(live("/cpu", 1, 2), verdict=Verdict.LIKELY, verdict_reason="the node said so")))
    assert "likely: the node said so" in text


def test_a_pause_that_is_written_on_a_thing_changes_nothing_else_of_it() -> None:
    text = plan_text(plan(update(reason=Reason("pause", "it is paused: looking"))))
    assert "~ Machine/a/b will be marked (nothing else is changed)" in text


def test_fields_that_come_and_go_have_their_signs() -> None:
    text = plan_text(plan(update(live("/swap", None, GI), live("/mtu", 9000, None))))
    assert "+ swap  1Gi" in text
    assert "- mtu  9000 → none" in text


def test_changes_that_differ_in_more_than_one_field_tell_each_below_the_fold() -> None:
    found = (live("/cpu", 1000, 2000), live("/memory", GI, 2 * GI))
    changes = [change(f"Machine/a/w-{n}", "n", Action.UPDATE, differences=found, risk=Risk.LIVE) for n in (1, 2)]
    text = plan_text(plan(*changes))
    assert "~ 2 machines will be updated in place\n" in text
    assert "~ cpu  1 → 2" in text


def test_data_disks_and_addresses_of_what_is_destroyed_are_told() -> None:
    nics = {"a": {"ip": "10.0.0.2/24"}, "b": {"ip": "10.0.1.2/24"}, "c": {}}
    before = {"disks": {"data": {"size": GI}}, "nics": nics}
    gone = change("Machine/a/b", "n", Action.DESTROY, risk=Risk.DATA_LOSS, before=before, recoverable_for=60.0)
    assert "disk data 1Gi; addresses 10.0.0.2, 10.0.1.2 stay reserved until the purge" in plan_text(plan(gone))


def test_a_loss_for_good_is_not_called_recoverable() -> None:
    gone = change("Machine/a/b", "n", Action.PURGE, risk=Risk.DATA_LOSS, undo=Undo.IMPOSSIBLE)
    text = plan_text(plan(gone))
    assert "worst: DATA LOSS\n" in text
    assert "undo: impossible" in text


def test_an_image_without_a_name_is_told_by_its_digest() -> None:
    after = {"image": "sha256:" + "ab" * 32, "tags": {"empty": {}}, "list": {"x": [1]}}
    made = change("Machine/a/b", "n", Action.CREATE, after=after, steps=(step("Machine/a/b@n", 1, "create"),))
    text = plan_text(plan(made))
    assert "image sha256:abababababab" in text
    assert "tags empty: as it comes" in text
    assert "list x: [1]" in text


def test_pauses_and_allowed_failures_of_a_rollout_are_told() -> None:
    made: list[Any] = []
    for n in range(1, 7):
        gates = (Gate((made[-1].steps[-1].id,), max_failures=2, pause=30),) if made else ()
        name = f"Machine/a/w-{n}@n"
        found = live("/memory", GI, 2 * GI)
        made.append(
            change(
                f"Machine/a/w-{n}",
                "n",
                Action.UPDATE,
                differences=(found,),
                risk=Risk.LIVE,
                steps=(step(name, 1, "update", gates=gates),),
            )
        )
    assert "w-1; then 1 at a time; 30 s between; stops after 2 failures" in plan_text(plan(*made))


def test_a_dirty_tree_is_committed_not_applied() -> None:
    dirty = msgspec.structs.replace(plan(update(live("/cpu", 1, 2))), commit=None, branch="")
    text = plan_text(dirty)
    assert "uncommitted tree aaaaaaa" in text
    assert text.endswith("Commit it to apply it.\n")
    assert "trueup apply --dirty takes it as it is" in plan_text(dirty, View(learning=True))
    undated = msgspec.structs.replace(dirty, observed_at=0)
    assert "observed" not in plan_text(undated)
    assert "observed" not in drift_text(msgspec.structs.replace(undated, holds=(hold(),)))


def hold(**more: Any) -> Hold:
    return Hold(**{"ref": "Machine/a/b", "rule": "drift", "sentence": "changed", "lifts": "", **more})


def test_holds_fold_where_they_say_the_same_of_the_same_fields_and_no_field_is_left_out() -> None:
    def held(machine: int, cpu: int) -> Hold:
        return hold(
            ref=f"Machine/a/w-{machine}", differences=(live("/cpu", cpu * 1000, 9000),), lifts=f"heal a/w-{machine}"
        )

    text = plan_text(plan(holds=(held(1, 3), held(2, 3), held(3, 4))))
    assert "! Machine a/w-[1-2]: changed" in text
    assert "heal a/w-1 a/w-2" in text
    assert "! Machine/a/w-3: changed" in text
    assert [line.strip() for line in text.splitlines() if "git says" in line] == [
        "cpu is 3, git says 9",
        "cpu is 4, git says 9",
    ]
    assert "heal REF" in plan_text(plan(holds=tuple(held(n, 3) for n in range(1, 5))))
    assert plan_text(plan(holds=(held(1, 3), held(2, 3))), View(expand=True)).count("git says") == 2


def test_unspent_budgets_and_unmoved_rooms_are_not_told() -> None:
    budgets = (BudgetUse("destroys", "per plan", 0, 2), BudgetUse("restarts", "per moon", 1, 2))
    rooms = tuple(Headroom(Target(f"n{n}"), memory=(n * GI, 0)) for n in range(1, 9))
    text = plan_text(plan(budgets=budgets, headroom=rooms))
    assert "destroys" not in text
    assert "restarts 1 of 2 per moon" in text
    assert "and 2 more" in text


@pytest.mark.parametrize(
    ("path", "found", "told"),
    [
        ("/x", True, "true"),
        ("/x", False, "false"),
        ("/x", 1.5, "1.5"),
        ("/x", "", '""'),
        ("/x", None, "none"),
        ("", 7, "7"),
        ("/userData", "text:0123456789abcdef", "(text 01234567)"),
        ("/x", "y" * 80, "y" * 24 + "…" + "y" * 24),
    ],
)
def test_every_kind_of_value_has_its_spelling(path: str, found: Any, told: str) -> None:
    assert quantities.value(path, found) == told


def test_values_that_look_alike_are_told_whole() -> None:
    head, tail = "x" * 40, "z" * 40
    left, right = quantities.difference("/a", {"k": [head + "1" + tail]}, {"k": [head + "2" + tail]})
    assert left != right
    assert quantities.difference("/u", "text:00000000aa", "text:00000000bb")[1].endswith(", changed")
    assert quantities.duration(3600 * 50) == "2 d 2 h"


def test_many_places_are_counted() -> None:
    targets = [f"n{n}" for n in range(1, 10)]
    assert names.places(targets) == "n1 1, n2 1, n3 1, n4 1, n5 1, n6 1 and 3 more"
    assert names.listed(targets) == "9 nodes"
    assert names.noun("Bucket", 2) == "Bucket objects"


def test_a_circle_of_needs_does_not_hang_the_page() -> None:
    assert sorted_by_need({"a": ["b"], "b": ["a"], "c": []}) == ["c", "a", "b"]
    assert wrapped([], "  ") == []


def test_an_explanation_tells_only_what_there_is() -> None:
    bare = explain_text(Explanation("Package/s", "others take from it"))
    assert bare == "Package/s\n      others take from it\n\nThe next plan\n      leaves it as it is\n"
    found = Explanation(
        "Machine/a/b",
        "it is not there yet",
        fields={"/cpu": Origin(500, "default")},
        rejected={"n": "needs 5 cores of something, 0 free", "m": "needs 1500 cpu, 500 free"},
        changes=(update(live("/cpu", 1, 2)),),
        holds=(hold(),),
    )
    text = explain_text(found)
    assert "not n  needs 5 cores of something, 0 free" in text
    assert "not m  needs 1.5 cpu, 0.5 free" in text
    assert "will be updated" in text
    assert "rule drift" in text


def test_status_tells_what_is_not_in_force_and_what_is_new() -> None:
    first = Situation(plan(), applied=None, head="9f2c41d", loop="nothing acts here now", problem="a\nb")
    text = status_text(first)
    assert "nothing yet; git is at 9f2c41d" in text
    assert "Not in force a\n             b\n" in text
    same = msgspec.structs.replace(first, applied="9f2c41d", quarantined=(Waiting("Machine/a/b", AT),) * 2)
    text = status_text(same)
    assert "9f2c41d, as in git" in text
    assert "left" not in text
    several = (Waiting("Machine/a/b", AT), Waiting("Machine/a/c", AT))
    assert "trueup restore REF" in status_text(msgspec.structs.replace(same, quarantined=several))


def test_tables_of_nothing_say_so() -> None:
    assert nodes_text([]) == "There is no Node.\n"
    assert listing_text("Machine", []) == "There is no Machine.\n"
    assert "a/b" in listing_text("Tenant", [Row("Tenant/a/b", "", "declared")])
    report = Report(Target("n"), 1, True, "i", None, Capacity(memory=GI), (), "d")
    assert "1Gi" in nodes_text([NodeRow(report, "sim", "claimed")])


def test_what_a_host_says_of_itself_is_told_whole() -> None:
    why = "it runs no virtual machines: the kernel module vhost_vsock is not loaded there"
    report = Report(Target("n"), 1, True, "i", None, Capacity(), (), "d", facts={"vm": why, "memory": GI})
    assert nodes_text([NodeRow(report, "sim", "claimed")]).splitlines()[-2:] == ["  memory: 1Gi", f"  vm: {why}"]


def test_an_outcome_tells_what_was_done_and_what_was_not() -> None:
    assert result_text(Result(2, {}, 3.0)) == "Done: 2 changes in 3 s.\n"
    before = Result(1, {}, 3.0, before=2)
    assert "(2 steps had been applied before)" in result_text(before)
    lost = Result(1, {}, 3.0, fence_lost=True)
    assert "another controller took over" in result_text(lost)
    assert "trueup journal rebuild" in result_text(lost)
    left = tuple(Unfinished(f"Machine/a/w-{n}", "n", "start", "failed", "no" if n else "") for n in range(22))
    text = result_text(Result(0, {}, 1.0, unfinished=left, refused=("the budget is spent",), stopped="interrupted"))
    assert "! Machine/a/w-0: start failed" in text
    assert "! and 2 more" in text
    assert "! the budget is spent" in text
    assert "Stopped: interrupted. Applied 0 changes in 1 s; 22 not finished." in text
    assert step_line("applied", "R", "n", "start\x1b", 0) == step_line("applied", "R", "n", "start\x1b", 0.01)
    assert "\\x1b" in step_line("applied", "R", "n", "start\x1b", 1)
    assert nothing_text(plan()) == "Nothing to do: git and the nodes agree.\n"
    assert nothing_text(plan(holds=(hold(),))) == "Nothing was done.\n"


def test_a_machine_without_a_place_is_listed_with_the_addresses_that_are_written() -> None:
    nics = [{"networks": ["Network/a"], "primary": True}, {"networks": ["Network/b"], "ip": "10.0.0.5"}]
    row = Row("Machine/acme/late", "", "held: placement", {"nics": nics})
    assert "?,10.0.0.5" in listing_text("Machine", [row])


def test_an_apply_tells_how_long_machines_were_down() -> None:
    web = Downtime(Ref("Machine/acme/web"), Target("inc/b"), 4.2, 2.5, Target("inc/a"))
    db = Downtime(Ref("Machine/acme/db"), Target("inc/a"), 1.0)
    ci = Downtime(Ref("Machine/acme/ci"), Target("inc/a"), 2.0)
    assert (down_words(web), down_words(db)) == ("moved inc/a → inc/b, down 4.2 s, predicted 2.5 s", "down 1 s")
    assert result_text(Result(1, {}, 3.0, downtimes=(web,))) == (
        "  Machine/acme/web: moved inc/a → inc/b, down 4.2 s, predicted 2.5 s\n\nDone: 1 change in 3 s.\n"
    )
    assert result_text(Result(3, {}, 3.0, downtimes=(web, db, ci))).splitlines()[0] == (
        "  3 machines were down for 1 s to 4.2 s; the longest Machine/acme/web: "
        "moved inc/a → inc/b, down 4.2 s, predicted 2.5 s"
    )
