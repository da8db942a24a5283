"""The kit's part on firewall rules: whom they let in, and that nobody else comes in, whatever is done by hand.

Owns: what a rule means on every driver that has FirewallRules. What no rule names is as it is without rules, which
drivers differ in. Must not go here: how one filters.
"""

from __future__ import annotations

from unittest import SkipTest

from reconciler.core.desired import Resource
from reconciler.core.refs import Ref
from reconciler.core.values import plain
from reconciler.testing.conformance.reach import Reach
from reconciler.testing.harness import Harness, resource
from reconciler.testing.rehearsal import Rehearsal
from reconciler.testing.scene import fresh_name

PORT, OTHER = 5432, 81


def _guarded(network: Resource, *rules: dict[str, object]) -> Resource:
    body = plain(network.body) | {"firewall": list(rules)}
    parties = {Ref(str(who)) for rule in rules for side in ("from", "to") for who in rule[side] or ()}  # type: ignore[attr-defined]
    return resource(network.ref, body, parties=tuple(sorted(parties)))


async def test_rule_lets_in_whom_it_names_and_keeps_the_others_out(harness: Harness) -> None:
    if "FirewallRule" not in harness.shape.capability.kinds:
        raise SkipTest("the driver has no firewall rules")
    async with Rehearsal(harness) as life:
        web, other = harness.machine(fresh_name("fw")), harness.machine(fresh_name("fo"))
        behind = [{"networks": [harness.network(1).ref], "primary": True}]
        db, free = harness.machine(fresh_name("fd"), nics=behind), harness.machine(fresh_name("ff"), nics=behind)
        ground = (harness.image(), harness.network(0), web, other, db, free)
        rule = {"from": [web.ref], "to": [db.ref], "allow": [f"tcp/{PORT}"]}
        life.want(*ground, _guarded(harness.network(1), rule))
        await life.converge()
        reach = Reach(harness, life)
        inside = await reach.listen(db.ref, PORT, OTHER) and await reach.listen(free.ref, PORT, OTHER)

        async def in_force() -> bool:
            """Whether the rule is; gives whether one that no rule names is reached."""
            assert await reach.got(web.ref, (db.ref, PORT), (db.ref, OTHER)) == [True, False]
            stranger, unnamed = await reach.got(other.ref, (db.ref, PORT), (free.ref, OTHER))
            assert not stranger
            return unnamed

        before = inside and await in_force()
        await _healed(harness, life, reach)
        assert not inside or await in_force() == before
        life.want(*ground, harness.network(1))
        await life.converge()
        if inside:
            reached = await reach.got(other.ref, (db.ref, PORT), (free.ref, OTHER))
            assert reached == [before, before], "rules change nothing for what none of them names"


async def _healed(harness: Harness, life: Rehearsal, reach: Reach) -> None:
    """Somebody lets everything in: drift, and put right without another machine being touched."""
    network = harness.network(1).ref
    try:
        await harness.hand_let_in(await reach.thing(network))
    except SkipTest:
        return
    plan = await life.converge()
    assert [(change.ref, step.verb) for change in plan.changes for step in change.steps] == [(network, "update")]
