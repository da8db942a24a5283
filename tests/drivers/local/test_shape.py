"""What a zone, a network and an image hold, and what a change of each takes, as cases."""

from __future__ import annotations

from typing import Any

import pytest

from drivers.local.shape import LocalShape
from reconciler.core.plan import Manner
from reconciler.driver import Shape

SHAPE: Shape = LocalShape()
RUNNING: dict[str, Any] = {"state": "running", "metadata": {"a": "1"}}
STOPPED: dict[str, Any] = {"state": "stopped"}


@pytest.mark.parametrize(
    ("path", "before", "after", "fields", "manner"),
    [
        ("/memory", 1, 2, RUNNING, Manner.LIVE),
        ("/swap", 1, None, RUNNING, Manner.LIVE),
        ("/cpu", None, 500, RUNNING, Manner.LIVE),
        ("/cpuShares", 1, 2, RUNNING, Manner.LIVE),
        ("/threads", 1, 2, RUNNING, Manner.LIVE),
        ("/disk", 2, 1, RUNNING, Manner.LIVE),
        ("/image", "a", "b", RUNNING, Manner.REPLACE),
        ("/image", "a", "b", STOPPED, Manner.REPLACE),
        ("/hostname", "a", "b", RUNNING, Manner.REBOOT),
        ("/hostname", "a", "b", STOPPED, Manner.LIVE),
        ("/nics/app/ip", "a", "b", RUNNING, Manner.REBOOT),
        ("/nics/app", None, {}, RUNNING, Manner.REBOOT),
        ("/nics/app/ip", "a", "b", STOPPED, Manner.LIVE),
        ("/resolvers", ["a"], ["b"], RUNNING, Manner.LIVE),
        ("/resolvers", None, ["b"], RUNNING, Manner.REBOOT),
        ("/sshKeys", ["a"], None, RUNNING, Manner.REBOOT),
        ("/metadata/a", "1", "2", RUNNING, Manner.LIVE),
        ("/userData", None, "text:1", RUNNING, Manner.LIVE),
        ("/userData", None, "text:1", {"state": "running"}, Manner.REBOOT),
        ("/disks/data", None, {}, RUNNING, Manner.STOPPED),
        ("/disks/data", {}, None, STOPPED, Manner.STOPPED),
        ("/disks/data/size", 1, 2, RUNNING, Manner.LIVE),
        ("/disks/data/size", 2, 1, RUNNING, Manner.IMPOSSIBLE),
        ("/disks/data/path", "/a", "/b", RUNNING, Manner.STOPPED),
    ],
)
def test_manner_of_a_machines_field(path: str, before: Any, after: Any, fields: Any, manner: Manner) -> None:
    assert SHAPE.manner("Machine", path, before, after, fields) is manner


def test_images_contents_never_change() -> None:
    assert SHAPE.manner("Image", "/digest", "a", "b", {}) is Manner.IMPOSSIBLE


@pytest.mark.parametrize(
    ("kind", "native", "held"),
    [
        (
            "Machine",
            {"vcpus": 2, "ioPriority": 100, "ioRead": 1, "ioWrite": 1, "brand": "zone", "cpu": 500},
            {"cpu": 500},
        ),
        ("Machine", {"memory": 4096 + 5, "swap": 4095}, {"memory": 4096, "swap": 0}),
        ("Machine", {"nics": {}, "metadata": {}, "resolvers": []}, {}),
        ("Network", {"tag": "a", "nat": False, "name": "x"}, {"tag": "a", "nat": False}),
        ("Image", {"digest": "d", "systemd": True}, {"digest": "d"}),
    ],
)
def test_what_is_not_held_is_left_out_on_both_sides(kind: str, native: Any, held: Any) -> None:
    assert SHAPE.normalise(kind, native) == held
