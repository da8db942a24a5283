"""What is made in several calls and cut short in between: machines in a restricted project, and the project itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from reconciler.core.plan import Action
from reconciler.core.refs import Ref
from reconciler.testing.harness import resource
from reconciler.testing.scene import Scene, fresh_name
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


async def test_project_that_was_cut_short_is_brought_to_its_end_and_goes_when_empty(harness: ProjectHarness) -> None:
    name = fresh_name("t")
    async with Scene(harness) as scene:
        wanted = resource(Ref(f"Tenant/{name}"), {"limits": {"machines": 2}, "certificates": {}, "networks": []})
        with harness.proxy.refusing(r"^PUT /1.0/projects/"):
            assert (await scene.apply(scene.change(wanted, None).steps[0])).status == "failed"
        begun = await scene.there(scene.uid(wanted.ref))
        assert begun.marks is not None
        assert begun.marks.applied == "", "nobody takes it for finished"
        await scene.converge(wanted)
        there = await scene.there(begun.marks.uid)
        assert there.fields == {"limits": {"machines": 2}}
        harness.daemons.client("profile", "create", "theirs", "--project", name)
        (step,) = scene.removal(there, Action.DESTROY).steps
        outcome = await scene.apply(step)
        assert (outcome.status, "profiles/theirs is in it" in outcome.reason) == ("failed", True)
        assert (await scene.there(begun.marks.uid)).holds == ("profiles/theirs",)
        harness.daemons.client("profile", "delete", "theirs", "--project", name)
        assert (await scene.apply(step)).status == "applied"
        assert await scene.find(begun.marks.uid) is None
