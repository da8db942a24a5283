"""The kit's part on forwards: what comes in at an address goes on to the machine, and to nobody once it is gone.

Owns: what a forward means on every driver that does them. Must not go here: how one forwards.
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

LISTEN = "192.0.2.77"


def _forwarding(network: Resource, to: Ref, *ports: str) -> Resource:
    body = plain(network.body) | {"forwards": [{"listen": LISTEN, "to": to, "ports": list(ports)}]}
    return resource(network.ref, body, parties=(to,))


async def test_forward_leads_in_is_changed_healed_and_gone(harness: Harness) -> None:
    if "forwards" not in harness.shape.capability.fields:
        raise SkipTest("the driver forwards nothing")
    async with Rehearsal(harness) as life:
        web = harness.machine(fresh_name("fi"))
        outside = harness.machine(fresh_name("fx"), nics=[{"networks": [harness.network(1).ref], "primary": True}])
        network, ground = harness.network(0), (harness.image(), harness.network(1), web, outside)
        life.want(*ground, _forwarding(network, web.ref, "tcp/8443:443"))
        await life.converge()
        reach = Reach(harness, life)
        inside = await reach.listen(web.ref, 443, 81)
        asked = [(LISTEN, 8443), (LISTEN, 443), (LISTEN, 81)]

        async def leads_in(*to: bool) -> None:
            assert not inside or await reach.got(outside.ref, *asked) == list(to)

        await leads_in(True, False, False)
        await _healed(harness, life, reach)
        await leads_in(True, False, False)
        life.want(*ground, _forwarding(network, web.ref, "any"))
        plan = await life.converge()
        assert [(step.ref, step.verb) for step in plan.steps] == [(network.ref, "update")]
        await leads_in(False, True, True)
        life.want(*ground, network)
        await life.converge()
        await leads_in(False, False, False)


async def _healed(harness: Harness, life: Rehearsal, reach: Reach) -> None:
    network = harness.network(0).ref
    try:
        await harness.hand_unforward(await reach.thing(network), LISTEN)
    except SkipTest:
        return
    plan = await life.converge()
    assert [(change.ref, step.verb) for change in plan.changes for step in change.steps] == [(network, "update")]
