"""Golden pages: the records of a plan, and the text that people read of them.

`TRUEUP_GOLDEN=write pytest tests/core/render` writes the pages anew; read the diff before committing it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from reconciler.core.plan import (
    Action,
    BudgetUse,
    Cause,
    Change,
    Difference,
    Expect,
    Gate,
    Headroom,
    Hold,
    Manner,
    Plan,
    Reason,
    Risk,
    Step,
    Undo,
)
from reconciler.core.refs import Ref, Target, Uid
from reconciler.core.render.changes import View
from reconciler.core.render.colour import coloured
from reconciler.core.render.plan import plan_text

GOLDEN = Path(__file__).parent / "golden"
GI = 1 << 30
AT = 1790863331.0  # 2026-10-01 14:02:11Z


WRITTEN = {
    "Network/acme/batch": "networks.yaml:9",
    "Machine/ops/ci:removed": "tenants/ops/all.yaml:12, alice, 9f2c41d",
    "Machine/acme/legacy:/memory": "packages.yaml:6",
}


def same_as_golden(name: str, text: str) -> None:
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("TRUEUP_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


def step(change: str, number: int, verb: str, **more: Any) -> Step:
    ref, _, target = change.partition("@")
    return Step(
        id=f"{change}:{number}-{verb}",
        target=Target(target),
        ref=Ref(ref),
        uid=Uid("u"),
        verb=verb,
        args=more.pop("args", {}),
        precondition=Expect("live"),
        effect=Expect("live"),
        summary=more.pop("summary", verb),
        **more,
    )


def change(ref: str, target: str, action: Action, **more: Any) -> Change:
    return Change(
        id=f"{ref}@{target}",
        ref=Ref(ref),
        uid=Uid("u"),
        target=Target(target),
        action=action,
        reason=more.pop("reason", Reason("changed", "")),
        **more,
    )


def plan(*changes: Change, **more: Any) -> Plan:
    return Plan(
        datacenter="ams1",
        datacenter_id="d",
        tree="a" * 40,
        changes=changes,
        holds=more.pop("holds", ()),
        digest="7c1e5a0900112233",
        generation=7,
        commit="9f2c41d" + "0" * 33,
        branch="main",
        observed_at=AT,
        **more,
    )


def grow(name: str, target: str, before: int, after: int, **more: Any) -> Change:
    found = Difference("/memory", before * GI, after * GI, Cause.INTENT, more.pop("manner", Manner.LIVE))
    return change(name, target, Action.UPDATE, differences=(found,), risk=more.pop("risk", Risk.LIVE), **more)


def destroyed_ci() -> Change:
    name = "Machine/ops/ci@edge1"
    return change(
        "Machine/ops/ci",
        "edge1",
        Action.DESTROY,
        risk=Risk.DATA_LOSS,
        before={"state": "running", "disk": 40 * GI, "nics": {"admin": {"ip": "10.10.0.101/24"}}},
        reason=Reason("removed", "its document was removed in 9f2c41d"),
        recoverable_for=7 * 86400,
        steps=(
            step(name, 1, "stop", seconds=2),
            step(name, 2, "quarantine", summary="snapshot and quarantine", risk=Risk.DATA_LOSS),
        ),
    )


def restarted_legacy() -> Change:
    name = "Machine/acme/legacy@inc/a"
    verbs = (("stop", 5), ("configure", 1), ("start", 29))
    steps = tuple(step(name, n, verb, seconds=s) for n, (verb, s) in enumerate(verbs, 1))
    return grow("Machine/acme/legacy", "inc/a", 2, 3, manner=Manner.REBOOT, risk=Risk.RESTART, steps=steps)


def rolled_web() -> list[Change]:
    """web-1 first, then two, then one."""
    made: list[Change] = []
    for index, target in enumerate(("inc/a", "inc/a", "inc/b", "inc/c"), 1):
        name = f"Machine/acme/web-{index}@{target}"
        wave = (index, 1, 1, 2)[index - 1] if index > 1 else 0
        before = [c.steps[-1].id for c in made if (c is made[0]) or wave == 2]
        gates = (Gate(tuple(before)),) if before else ()
        steps = (step(name, 1, "update", gates=gates), step(name, 2, "ready", seconds=5, needs=(f"{name}:1-update",)))
        made.append(grow(f"Machine/acme/web-{index}", target, 2, 3, steps=steps))
    return made


def created_network() -> Change:
    after = {"vlan": 120, "subnet": "10.0.3.0/24", "mtu": 9000, "tag": "fabric", "nat": False}
    return change("Network/acme/batch", "inc", Action.CREATE, after=after, reason=Reason("new", "it is new"))


def held_web() -> Hold:
    found = Difference("/cpu", 2000, 1000, Cause.DRIFT, Manner.LIVE)
    return Hold(
        "Machine/acme/web-3",
        "drift",
        "changed on the node by alice",
        "to revert it: trueup heal acme/web-3; to keep it: commit it",
        target="inc/b",
        differences=(found,),
    )


def site_plan() -> Plan:
    return plan(
        destroyed_ci(),
        restarted_legacy(),
        *rolled_web(),
        created_network(),
        holds=(held_web(),),
        unmanaged=3,
        proved=True,
        headroom=(
            Headroom(Target("edge1"), memory=(int(18.7 * GI), int(22.7 * GI))),
            Headroom(Target("inc/c"), memory=(int(52.4 * GI), int(51.4 * GI)), note="cordoned"),
            Headroom(Target("smart1"), memory=(GI, GI)),
        ),
        budgets=(
            BudgetUse("destroys", "per plan", 1, 2),
            BudgetUse("destroys", "per day", 1, 4),
            BudgetUse("restarts", "per plan", 1, 4),
        ),
    )


def created_machines() -> list[Change]:
    made = []
    for index in range(1, 13):
        after = {
            "image": "sha256:" + "1f0a" * 16,
            "memory": 512 << 20,
            "cpu": 500,
            "disk": 5 * GI,
            "state": "running",
            "hostname": f"web-{index}",
            "nics": {"app": {"ip": f"10.0.1.{9 + index}/24", "mac": f"02:00:00:00:00:{index:02x}", "primary": True}},
            "metadata": {"pgpass": "secret:acme-pgpass:0123456789abcdef"},
        }
        name = f"Machine/acme/web-{index}@edge{index % 2 + 1}"
        steps = (step(name, 1, "create", args={"image": {"name": "debian-12"}}), step(name, 2, "start"))
        target = f"edge{index % 2 + 1}"
        made.append(change(f"Machine/acme/web-{index}", target, Action.CREATE, after=after, steps=steps))
    return made


def test_a_mixed_plan_reads_worst_first() -> None:
    same_as_golden("site", plan_text(site_plan(), View(now=AT + 5, sources=WRITTEN, since="5b0a77e")))


def test_twelve_equal_creations_fold_into_one_block() -> None:
    same_as_golden("folded", plan_text(plan(*created_machines())))


def test_expand_tells_every_creation() -> None:
    same_as_golden("expanded", plan_text(plan(*created_machines()[:2]), View(expand=True)))


def test_an_old_and_incomplete_observation_comes_first() -> None:
    incomplete = plan(complete=False, problems=tuple(f"edge{n} did not answer" for n in range(7)))
    text = plan_text(incomplete, View(now=AT + 900))
    assert text.startswith("OBSERVATION INCOMPLETE, 7 problems")
    assert "(15 min old), incomplete" in text
    same_as_golden("incomplete", text)


def test_every_action_has_its_words_and_counts() -> None:
    steps = {action: (step(f"Machine/a/{action}@n", 1, "x", summary="do it"),) for action in Action}
    changes = [change(f"Machine/a/{action}", "n", action, steps=steps[action], undo=Undo.LOSSY) for action in Action]
    claim = change("Node/n", "n", Action.ADOPT)
    same_as_golden("actions", plan_text(plan(*changes, claim)))


def test_an_empty_plan_says_that_all_agree() -> None:
    same_as_golden("empty", plan_text(plan(unmanaged=1)))


def test_drift_is_told_apart_from_intent() -> None:
    drift = Difference("/cpu", 2000, 1000, Cause.DRIFT, Manner.LIVE)
    both = Difference("/memory", GI, 2 * GI, Cause.BOTH, Manner.STOPPED)
    text = plan_text(plan(change("Machine/a/b", "n", Action.UPDATE, differences=(drift, both))))
    assert "~ cpu  2 → 1   # drift: changed on the node, not in git" in text
    assert "~ memory  1Gi → 2Gi   # forces a stop; changed in git and on the node" in text


def test_a_changed_secret_is_told_without_its_value() -> None:
    found = Difference("/metadata/pw", "secret:db:aaaa", "secret:db:bbbb", Cause.INTENT, Manner.LIVE)
    text = plan_text(plan(change("Machine/a/b", "n", Action.UPDATE, differences=(found,))))
    assert "metadata.pw  (secret db) → (secret db), changed" in text
    assert "aaaa" not in text
    assert "bbbb" not in text


def test_what_a_node_says_never_reaches_the_terminal_raw() -> None:
    found = Difference("/hostname", "a\x1b]0;owned\x07\nPlan: 0", "b", Cause.DRIFT, Manner.LIVE)
    text = plan_text(plan(change("Machine/a/b", "n", Action.UPDATE, differences=(found,))))
    assert "\x1b" not in text
    assert "a\\x1b]0;owned\\x07\\x0aPlan: 0" in text


@pytest.mark.parametrize("expand", [False, True])
def test_colour_is_a_pass_that_changes_no_word(expand: bool) -> None:
    import re

    text = plan_text(site_plan(), View(expand=expand))
    painted = coloured(text)
    assert "\x1b[31m" in painted
    assert re.sub(r"\x1b\[[0-9;]*m", "", painted) == text


def test_a_long_rolling_update_neither_recurses_nor_fills_the_page() -> None:
    made: list[Change] = []
    for index in range(3000):
        name = f"Machine/a/w-{index}@n"
        gates = (Gate((made[-1].steps[-1].id,), pause=10),) if made else ()
        made.append(grow(f"Machine/a/w-{index}", "n", 1, 2, steps=(step(name, 1, "update", gates=gates),)))
    text = plan_text(plan(*made))
    assert "w-0; then 1 at a time; 10 s between; stops at the first failure" in text
    assert len(text.splitlines()) < 20


def test_equal_plans_give_equal_text_whatever_the_order() -> None:
    forth, back = site_plan(), msgspec.structs.replace(site_plan(), changes=tuple(reversed(site_plan().changes)))
    assert sorted(plan_text(forth).splitlines()) == sorted(plan_text(back).splitlines())
