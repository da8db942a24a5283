"""The incus driver passes the conformance kit whole where each tenant has a project of its own, and moves within it.

All of it takes minutes: test_incus_in_projects and tests/drivers/incus (test_tenants, test_unborn) try in CI what is
different there.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from reconciler.testing.conformance import *  # noqa: F403
from tests.drivers.incus.daemons import missing, running
from tests.drivers.incus.harness import ProjectHarness

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture(scope="module", params=[("incus", 0), ("lxd", 0), ("incus", 3)], ids=["incus", "lxd", "incus-cluster"])
def harness(request: pytest.FixtureRequest) -> Iterator[ProjectHarness]:
    kind, members = request.param
    if why := missing(kind):
        pytest.skip(f"NOT RUN on {kind}: {why}")
    with (
        running(kind, f"q{kind[0]}", members=members) as daemons,
        running(kind, f"r{kind[0]}", pool="dir") as spare,
    ):
        made = ProjectHarness(daemons, spare, members=members)
        try:
            yield made
        finally:
            made.close()
