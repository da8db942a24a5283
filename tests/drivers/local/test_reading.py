"""What a step asks of the storage: once is enough, and a hint of what to ask for never becomes an answer."""

from __future__ import annotations

from typing import Any

import pytest

from drivers.local.storage.zfs import Zfs
from reconciler.core.plan import Step
from reconciler.testing.conformance.expect import made
from reconciler.testing.scene import Scene, edited
from tests.drivers.local.hand import MI, Hand

pytestmark = [pytest.mark.anyio, pytest.mark.real]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The verbs of the zfs commands that are run."""
    verbs: list[str] = []
    run = Zfs.zfs

    def recorded(self: Zfs, *args: str, **how: Any) -> Any:
        verbs.append(args[0])
        return run(self, *args, **how)

    monkeypatch.setattr(Zfs, "zfs", recorded)
    return verbs


async def _resize(scene: Scene) -> tuple[Step, str]:
    wanted, found = await made(scene)
    (step,) = scene.change(edited(scene.harness, wanted, memory=96 * MI), found).steps
    return step, found.native_name


async def _asked_by_a_new_controller(scene: Scene, hand: Hand, asked: list[str], step: Step) -> list[str]:
    """The storage's commands while it applies the step under a fence of its own."""
    controller = hand.open()
    try:
        scene.fence += 1
        asked.clear()
        outcome = await controller.apply(step, scene.step_context())
    finally:
        await controller.close()
    assert outcome.status == "applied", outcome
    return list(asked)


async def test_the_first_step_of_a_new_controller_looks_once(scene: Scene, hand: Hand, asked: list[str]) -> None:
    step, zone = await _resize(scene)
    assert await _asked_by_a_new_controller(scene, hand, asked, step) == [
        "get",
        "set",
        "set",
    ]  # a look, the node's fence, the zone's mark
    assert (await scene.there(zone)).fields["memory"] == 96 * MI
    claim = (await scene.look()).claim
    assert claim is not None
    assert claim.fence == scene.fence


async def test_a_configuration_that_names_another_image_is_not_believed(
    scene: Scene, hand: Hand, asked: list[str]
) -> None:
    step, zone = await _resize(scene)
    image = (await scene.there(zone)).fields["image"]
    file = hand.place.zone(zone) / "config"
    file.write_text(file.read_text().replace("# trueup.image = images/", "# trueup.image = images/no-such-"))
    assert await _asked_by_a_new_controller(scene, hand, asked, step) == ["get", "get", "set", "set"]
    assert (await scene.there(zone)).fields["image"] == image
