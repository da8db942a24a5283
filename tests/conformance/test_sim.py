"""The simulated driver passes the conformance kit whole, as a node, as a member of a cluster, and with projects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.testing.conformance import *  # noqa: F403
from tests.conformance.sim_harness import SimHarness

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[((), False), (("a", "b", "c"), False), (("a", "b"), True)], ids=["node", "cluster", "projects"])
def harness(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SimHarness]:
    members, projects = request.param
    harness = SimHarness(tmp_path / "fleet.db", members, projects=projects)
    yield harness
    harness.world.close()
