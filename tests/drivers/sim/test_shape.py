"""What a change takes on a simulated node, case by case."""

from __future__ import annotations

from typing import Any

import pytest

from drivers.sim.shape import SimShape
from reconciler.core.plan import Manner

CASES: list[tuple[str, Any, Any, Manner]] = [
    ("/memory", 1, 2, Manner.LIVE),
    ("/cpu", 500, None, Manner.LIVE),
    ("/disk", 1, 2, Manner.LIVE),
    ("/disk", 2, 1, Manner.IMPOSSIBLE),
    ("/disks/data", None, {"size": 1}, Manner.LIVE),
    ("/disks/data/size", 1, 2, Manner.LIVE),
    ("/disks/data/size", 2, 1, Manner.IMPOSSIBLE),
    ("/disks/data/path", "/a", "/b", Manner.REBOOT),
    ("/hostname", "a", "b", Manner.REBOOT),
    ("/nics/app/ip", "a", "b", Manner.STOPPED),
    ("/image", "a", "b", Manner.REPLACE),
    ("/brand", "zone", "vm", Manner.REPLACE),
]


@pytest.mark.parametrize(("path", "before", "after", "manner"), CASES)
def test_manner_of_a_machines_field(path: str, before: Any, after: Any, manner: Manner) -> None:
    assert SimShape().manner("Machine", path, before, after, {}) is manner


def test_manners_can_be_set_otherwise() -> None:
    assert SimShape({"memory": Manner.REBOOT}).manner("Machine", "/memory", 1, 2, {}) is Manner.REBOOT


def test_image_never_changes_and_a_network_keeps_its_subnet() -> None:
    assert SimShape().manner("Image", "/os", "linux", "bsd", {}) is Manner.IMPOSSIBLE
    assert SimShape().manner("Network", "/subnet", "10.0.0.0/24", "10.0.1.0/24", {}) is Manner.IMPOSSIBLE
    assert SimShape().manner("Network", "/mtu", 1500, 9000, {}) is Manner.LIVE


def test_normalise_drops_what_no_form_has() -> None:
    assert SimShape().normalise("Machine", {"memory": 1, "uptime": 99}) == {"memory": 1}
