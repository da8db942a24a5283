"""What is laid aside of the targets' objects is there when it is asked for, however it was packed."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial

from reconciler.core.plan import to_json
from reconciler.core.planner import Planner
from reconciler.core.sights import at_once
from tests.builders import SHAPES, Fleet, machine, node, request, small_site


def later(data: bytes) -> Callable[[], bytes]:
    return partial(zlib.compress, data, 1)


def test_a_plan_does_not_hang_on_how_it_is_packed() -> None:
    targets = [f"edge{number}" for number in range(15)]
    wanted = small_site(*(machine(f"m{number}") for number in range(30)), nodes=[node(name) for name in targets])
    fleet = Fleet(*targets)
    fleet.apply(fleet.plan(wanted))
    less = small_site(*(machine(f"m{number}") for number in range(29)), nodes=[node(name) for name in targets])
    plans = []
    for way in (at_once, later):
        made = Planner(SHAPES, fleet.ledger(), open_at_most=1, compress=way)
        made.world.take_desired(less)
        for report in fleet.reports():
            made.take_report(report)
        plans.append(to_json(made.plan(request())))
        assert dict(made.world.sights.packed()).keys() == set(targets)
    assert plans[0] == plans[1]
