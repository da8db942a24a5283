"""One private Incus and one private LXD host for all tests here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.drivers.incus.daemons import missing, running
from tests.drivers.incus.harness import IncusHarness, ProjectHarness


@pytest.fixture(scope="session", params=["incus", "lxd"])
def host(request: pytest.FixtureRequest) -> Iterator[IncusHarness]:
    kind = request.param
    if why := missing(kind):
        pytest.skip(f"NOT RUN on {kind}: {why}")
    with running(kind, f"h{kind[0]}") as daemons:
        harness = IncusHarness(daemons)
        try:
            yield harness
        finally:
            harness.close()


@pytest.fixture(params=["shared", "project"])
def anywhere(host: IncusHarness, request: pytest.FixtureRequest) -> Iterator[IncusHarness]:
    """Machines in what all share, and in a tenant's project."""
    if request.param == "shared":
        yield host
        return
    made = ProjectHarness(host.daemons)
    yield made
    made.close()
