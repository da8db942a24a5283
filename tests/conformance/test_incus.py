"""The incus driver passes the conformance kit whole, on real Incus and on real LXD."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from reconciler.testing.conformance import *  # noqa: F403
from tests.drivers.incus.daemons import missing, running
from tests.drivers.incus.harness import IncusHarness

pytestmark = [pytest.mark.anyio, pytest.mark.real]


@pytest.fixture(scope="module", params=["incus", "lxd"])
def harness(request: pytest.FixtureRequest) -> Iterator[IncusHarness]:
    kind = request.param
    if why := missing(kind):
        pytest.skip(f"NOT RUN on {kind}: {why}")
    with (
        running(kind, f"k{kind[0]}") as daemons,
        running(kind, f"s{kind[0]}", pool="dir") as spare,
    ):
        made = IncusHarness(daemons, spare)
        try:
            yield made
        finally:
            made.close()
