"""The campaign on real zones: each round kills a process in the middle of making, resizing and destroying machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.drivers.local.probe import needs
from tests.drivers.local.site import Site

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


def next_round(site: Site, deadly: int | None) -> bool:
    """Each round there is a new machine, a resized one, and one that is gone. Kill the process that carries it out,
    then let one live. True if one was killed."""
    number = len(site.history)
    resized = site.machine("kept", memory=(64 + number % 2 * 32) << 20)
    site.want(resized, site.machine(f"turn-{number}"))
    killed = not site.carry_out(deadly=deadly)
    assert site.carry_out()
    return killed


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    needs()
    site = Site(tmp_path_factory.mktemp("campaign"))
    yield site
    site.tear_down()


def kills(site: Site, points: range) -> None:
    next_round(site, None)
    for point in points:
        if next_round(site, point):
            as_if_nothing_had_been(site)


def as_if_nothing_had_been(site: Site) -> None:
    number = len(site.history) - 1
    found = site.objects()
    assert all(each.marks is not None for each in found), "something was made that is nobody's"
    machines = Counter((each.marks.ref, each.lifecycle) for each in found if each.marks and each.kind == "Machine")
    gone = {(f"Machine/conformance/turn-{old}", "quarantined"): 1 for old in range(number)}
    here = {("Machine/conformance/kept", "live"): 1, (f"Machine/conformance/turn-{number}", "live"): 1}
    assert machines == Counter({**gone, **here})
    states = {
        each.marks.ref: each.fields["state"]
        for each in found
        if each.marks and each.lifecycle == "live" and each.kind == "Machine"
    }
    assert set(states.values()) == {"running"}


def test_killed_while_zones_are_made_and_destroyed_it_ends_as_if_nothing_had_been(site: Site) -> None:
    kills(site, range(2, 26, 5))


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_killed_at_every_point_with_zones_it_ends_as_if_nothing_had_been(site: Site) -> None:
    kills(site, range(1, 36))
