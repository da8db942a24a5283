"""What people change of the notes that we keep with an image, on real hosts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drivers.incus.daemons import Daemons, missing, running
from tests.drivers.incus.desk import one_host

pytestmark = pytest.mark.real


@pytest.fixture(params=["incus", "lxd"])
def daemons(request: pytest.FixtureRequest) -> Iterator[Daemons]:
    if why := missing(request.param):
        pytest.skip(f"NOT RUN on {request.param}: {why}")
    with running(request.param, f"o{request.param[0]}") as made:
        yield made


@pytest.mark.timeout(180)
def test_os_of_an_image_that_somebody_edits_is_drift_and_healed(daemons: Daemons, tmp_path: Path) -> None:
    desk = one_host(tmp_path, daemons.socket())
    desk.trueup("apply", "--yes")
    image = daemons.query("/1.0/instances/web")["config"]["volatile.base_image"]
    daemons.client("image", "set-property", image, "trueup.os", "plan9")
    assert re.search(r"~ os\s+plan9 → linux", desk.trueup("drift"))
    desk.trueup("heal", "--all", "--yes")
    assert _properties(daemons, image)["trueup.os"] == "linux"
    desk.trueup("plan", "--detailed-exitcode")

    desk.edit("images.yaml", "os: linux", "os: other")
    desk.commit("it is something else")
    assert re.search(r"~ os\s+linux → other", desk.trueup("plan"))
    desk.trueup("apply", "--yes")
    assert _properties(daemons, image)["trueup.os"] == "other"
    desk.trueup("plan", "--detailed-exitcode")


def _properties(daemons: Daemons, image: str) -> dict[str, str]:
    found: dict[str, str] = daemons.query(f"/1.0/images/{image}")["properties"]
    return found
