"""In a restricted project a machine gets its marks once it has an identity: what lies in between is nothing yet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from reconciler.testing.scene import Scene
from tests.drivers.incus.harness import IncusHarness, ProjectHarness

pytestmark = [pytest.mark.anyio, pytest.mark.real]
MARKING = r"^PATCH /1.0/instances/"


@pytest.fixture
def harness(host: IncusHarness) -> Iterator[ProjectHarness]:
    made = ProjectHarness(host.daemons)
    yield made
    made.close()


async def test_machine_that_was_cut_short_before_its_marks_is_made_again(harness: ProjectHarness) -> None:
    async with Scene(harness) as scene:
        wanted = scene.fresh()
        change = scene.change(wanted, None)
        with harness.proxy.refusing(MARKING):
            assert (await scene.apply(change.steps[0])).status == "failed"
        name = f"conformance/{wanted.ref.rpartition('/')[2]}"
        assert [thing for thing in (await scene.look()).objects if thing.native_name == name] == []
        await scene.run(change)
        assert (await scene.there(change.uid)).native_name == name


async def test_what_somebody_started_meanwhile_is_theirs(harness: ProjectHarness) -> None:
    async with Scene(harness) as scene:
        wanted = scene.fresh()
        create = scene.change(wanted, None).steps[0]
        with harness.proxy.refusing(MARKING):
            assert (await scene.apply(create)).status == "failed"
        name = wanted.ref.rpartition("/")[2]
        harness.daemons.client("start", name, "--project", "conformance")
        (found,) = [thing for thing in (await scene.look()).objects if thing.native_name == f"conformance/{name}"]
        assert found.marks is None
        assert (await scene.apply(create)).status == "failed"
        harness.daemons.client("delete", "--force", name, "--project", "conformance")
