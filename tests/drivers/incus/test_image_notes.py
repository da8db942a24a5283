"""What people change of the notes that we keep with an image, on real hosts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.drivers.incus.desk import one_host
from tests.drivers.incus.harness import IncusHarness

pytestmark = pytest.mark.real


@pytest.mark.timeout(180)
def test_os_of_an_image_that_somebody_edits_is_drift_and_healed(host: IncusHarness, tmp_path: Path) -> None:
    desk = one_host(tmp_path, host.daemons.socket())
    desk.trueup("apply", "--yes")
    image = host.daemons.query("/1.0/instances/web")["config"]["volatile.base_image"]
    host.daemons.client("image", "set-property", image, "trueup.os", "plan9")
    assert re.search(r"~ os\s+plan9 → linux", desk.trueup("drift"))
    desk.trueup("heal", "--all", "--yes")
    assert _properties(host, image)["trueup.os"] == "linux"
    desk.trueup("plan", "--detailed-exitcode")

    desk.edit("images.yaml", "os: linux", "os: other")
    desk.commit("it is something else")
    assert re.search(r"~ os\s+linux → other", desk.trueup("plan"))
    desk.trueup("apply", "--yes")
    assert _properties(host, image)["trueup.os"] == "other"
    desk.trueup("plan", "--detailed-exitcode")


def _properties(host: IncusHarness, image: str) -> dict[str, str]:
    found: dict[str, str] = host.daemons.query(f"/1.0/images/{image}")["properties"]
    return found
