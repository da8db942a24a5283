"""trueup is killed at the n-th thing that it does to the host, and the next run goes on as if nothing had been.

Each run here is a process of its own that plans and carries out what git says, and the kill is a real one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.core.desired import NodeWant
from reconciler.core.observed import Object
from reconciler.driver import Driver
from tests.drivers.local.deadly import Death, Points
from tests.drivers.local.hand import Hand, mounted
from tests.drivers.local.probe import needs
from tests.drivers.local.site import Site

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


@contextmanager
def on_this_host(folder: Path) -> Iterator[Site]:
    """A site that wants one machine. At its end nothing of it is left."""
    site = Site(folder)
    site.want(site.machine("one"))
    yield site
    site.tear_down()
    assert site.hand.leftovers() == []


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    needs()
    with on_this_host(tmp_path) as site:
        yield site


def killed(site: Site, point: int, death: Death) -> bool:
    """Whether the process came that far."""
    points = Points(site.hand.place, point, death)
    armed: list[bool] = []

    def opening(node: NodeWant) -> Driver:
        if not armed:
            armed.append(True)
            points.arm()
        return site.opening(node)

    return not site.carry_out(opening)


def it_goes_on(site: Site) -> None:
    assert site.carry_out()
    found = site.objects()
    assert all(each.marks is not None for each in found), "something was made that is nobody's"
    assert sorted(each.kind for each in found) == ["Image", "Machine", "Network"]
    nothing_is_doubled(site.hand, next(each for each in found if each.kind == "Machine"))


def nothing_is_doubled(hand: Hand, machine: Object) -> None:
    assert machine.fields["state"] == "running"
    assert len(hand.daemons()) == 1
    links = os.listdir("/sys/class/net")
    assert len([link for link in links if link.startswith(hand.place.bridges)]) == 1
    assert len([link for link in links if link.startswith(hand.place.veths)]) == 1
    for path in (hand.place.pin, hand.place.mounts):
        assert mounted("/proc/self/mountinfo").count(str(path)) == 1
    inside = mounted(f"/proc/{hand.daemon()}/mountinfo")
    for path in ("/run/zfs", "/run/lock/zfs", "/etc/zfs", "/var/lib/zfs", str(hand.place.seen)):
        assert inside.count(path) == 1
    assert hand.run("zfs", "get", "-H", "-o", "value", "mountpoint", hand.pool) == f"{hand.place.pool}\n"
    datasets = hand.run("zfs", "list", "-H", "-o", "name", "-t", "filesystem").split()
    assert len([name for name in datasets if name.count("/") == 2]) == 3, datasets
    assert "net0" in hand.lxc("attach", machine.native_name, "--", "ip", "-o", "-4", "addr", "show", "dev", "net0")


# What is under way when the kill comes. Each gives False if the process ended before the point.


def coming_up(site: Site, point: int, death: Death) -> bool:
    """A node, a network, an image, a machine: all of it from nothing."""
    if not killed(site, point, death):
        return False
    it_goes_on(site)
    return True


def booting(site: Site, point: int, death: Death) -> bool:
    """The host has booted, and the first process brings back what ran."""
    assert site.carry_out()
    site.hand.power_off()
    if not killed(site, point, death):
        return False
    it_goes_on(site)
    return True


def cut_short(site: Site, point: int, death: Death) -> bool:
    """All from nothing, and the host goes down together with the process."""
    if not killed(site, point, death):
        return False
    site.hand.power_off()
    it_goes_on(site)
    return True


def turning_over(site: Site, point: int, death: Death) -> bool:
    """A machine is destroyed, and comes back."""
    assert site.carry_out()
    site.want()
    ended = not killed(site, point, death)
    assert site.carry_out()
    assert [each.lifecycle for each in site.objects() if each.kind == "Machine"] == ["quarantined"]
    site.want(site.machine("one"))
    ended = not killed(site, point, death) and ended
    it_goes_on(site)
    snapshots = site.hand.run("zfs", "list", "-H", "-o", "name", "-t", "snapshot").split()
    assert [name.rpartition("@")[2] for name in snapshots] == ["final"]
    return not ended


def going_away(site: Site, point: int, death: Death) -> bool:
    """Everything of the node is removed; the fixture does it once more, and looks."""
    assert site.carry_out()
    child = os.fork()
    if not child:
        status = 70
        try:
            Points(site.hand.place, point, death).arm()
            site.tear_down()
            status = 0
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    assert os.WIFSIGNALED(ended) or os.WEXITSTATUS(ended) == 0
    return os.WIFSIGNALED(ended)


SCENES = (coming_up, booting, cut_short, turning_over, going_away)
Scene = Callable[[Site, int, Death], bool]
QUICK = [
    (coming_up, 7, Death.TOGETHER),
    (coming_up, 12, Death.WHILE),
    (coming_up, 40, Death.BEFORE),
    (booting, 9, Death.BEFORE),
    (booting, 5, Death.WHILE),
    (cut_short, 12, Death.TOGETHER),
    (turning_over, 5, Death.BEFORE),
    (going_away, 6, Death.WHILE),
]


@pytest.mark.parametrize(("scene", "point", "death"), QUICK)
def test_killed_at_some_points_it_goes_on(site: Site, scene: Scene, point: int, death: Death) -> None:
    assert scene(site, point, death), "it ended before it came to that point"


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("death", Death)
@pytest.mark.parametrize("scene", SCENES)
def test_killed_at_every_point_it_goes_on(tmp_path: Path, scene: Scene, death: Death) -> None:
    point = 1
    while True:
        with on_this_host(tmp_path / f"{point}") as site:
            if not scene(site, point, death):
                break
        point += 1
    assert point > 5
