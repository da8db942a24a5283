"""A plan read back is the plan that was written, digest and all."""

from __future__ import annotations

from reconciler.core.plan import Action, Change, Expect, Gate, Plan, Reason, Step, from_json, plan_digest, to_json
from reconciler.core.refs import Ref, Target, Uid


def test_whole_numbers_of_seconds_survive_the_round_trip() -> None:
    ref, target, uid = Ref("Machine/a/b"), Target("n"), Uid("u")
    gate = Gate(("other",), pause=0)
    step = Step("s", target, ref, uid, "start", {}, Expect("live"), Expect("live"), "start", seconds=2, gates=(gate,))
    changes = (Change("c", ref, uid, target, Action.UPDATE, Reason("", ""), steps=(step,)),)
    plan = Plan("dc", "id", "tree", changes, (), plan_digest("id", "tree", changes), 1)
    assert from_json(to_json(plan)) == plan
