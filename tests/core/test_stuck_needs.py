"""Machines whose image or network cannot become what git says of it."""

from __future__ import annotations

from reconciler.core.desired import Behaviour
from tests.builders import Fleet, GiB, desired, image, machine, network


def test_nothing_is_replaced_by_what_an_image_of_another_content_would_be() -> None:
    allowed = Behaviour(replace=True)
    fleet = Fleet()
    fleet.apply(fleet.plan(desired(image(), network(), machine("a", behaviour=allowed))))
    other = image(content="2")
    plan = fleet.plan(desired(other, network(), machine("a", uses=other, behaviour=allowed)))
    assert plan.changes == ()
    assert {hold.ref: hold.rule for hold in plan.holds} == {"Image/debian": "impossible", "Machine/acme/a": "needs"}
    assert "images are immutable" in next(hold.sentence for hold in plan.holds if hold.ref == "Image/debian")


def test_machines_keep_the_network_that_cannot_be_changed_and_what_else_differs_is_made() -> None:
    fleet = Fleet()
    fleet.apply(fleet.plan(desired(image(), network(), machine("a"), machine("b"))))
    wider = network(subnet="10.0.0.0/16", first="10.0.1.10", last="10.0.1.250", gateway="10.0.1.1")
    plan = fleet.plan(desired(image(), wider, machine("a"), machine("b", nics=(), memory=2 * GiB)))
    assert {hold.ref: hold.rule for hold in plan.holds} == {"Network/acme/app": "impossible", "Machine/acme/a": "needs"}
