"""The simulated driver passes the conformance kit whole, as a node and as a member of a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.testing.conformance import *  # noqa: F403
from tests.conformance.sim_harness import SimHarness

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[(), ("a", "b", "c")], ids=["node", "cluster"])
def harness(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SimHarness]:
    harness = SimHarness(tmp_path / "fleet.db", request.param)
    yield harness
    harness.world.close()
