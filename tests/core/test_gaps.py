"""While a target has never been listed since the ledger began, what takes nothing new goes on."""

from __future__ import annotations

from reconciler.core.ledger import Ledger
from reconciler.core.plan import Action
from tests.builders import Fleet, GiB, machine, node, plan_of, small_site


def test_a_machine_that_takes_no_new_address_changes_although_another_node_was_never_listed() -> None:
    nodes = [node("edge1"), node("edge2")]
    fleet = Fleet("edge1", "edge2", claimed=False)
    fleet.apply(fleet.plan(small_site(machine("web"), nodes=nodes)))
    home = next(target for target, found in fleet.objects.items() if any(o.kind == "Machine" for o in found.values()))
    seen = [report for report in fleet.reports() if report.target == home]
    plan = plan_of(small_site(machine("web", memory=2 * GiB), nodes=nodes), *seen, remembered=Ledger())
    assert [change.action for change in plan.changes] == [Action.UPDATE]
    assert not plan.complete
