"""A controller that is killed in the middle, for real: another one goes on, and there is one machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import msgspec
import pytest
from anyio.abc import Process

from reconciler.core.plan import Change
from reconciler.testing.conformance.expect import at_rest
from reconciler.testing.scene import Scene
from tests.drivers.local.hand import Hand

pytestmark = [pytest.mark.anyio, pytest.mark.real]

_CHILD = """
import sys, anyio, msgspec
from pathlib import Path
from reconciler.core.plan import Step
from reconciler.driver import StepContext
from tests.drivers.local.hand import Hand

async def main():
    given = msgspec.json.decode(sys.stdin.buffer.read(), type=tuple[list[Step], int, int, float])
    steps, fence, generation, now = given
    driver = Hand(Path(sys.argv[1])).open()
    await driver.observe(began=1)
    print("begun", flush=True)
    for step in steps:
        await driver.apply(step, StepContext(fence, generation, now))
    print("done", flush=True)

anyio.run(main)
"""


async def _killed_after(scene: Scene, hand: Hand, change: Change, seconds: float) -> bool:
    """Whether the process had finished before it was killed."""
    argv = [sys.executable, "-c", _CHILD, str(hand.state)]
    async with await anyio.open_process(argv, cwd=Path(__file__).parents[3], stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        await process.stdin.send(msgspec.json.encode((change.steps, scene.fence, scene.generation, scene.now)))
        await process.stdin.aclose()
        assert b"begun" in await process.stdout.receive()
        await anyio.sleep(seconds)
        process.kill()
        try:
            return b"done" in await process.stdout.receive()
        except anyio.EndOfStream:
            return False


@pytest.mark.parametrize("seconds", [0.0, 0.005, 0.015, 0.025, 0.04, 0.06, 0.1])
async def test_killed_controller_leaves_a_change_that_another_finishes(
    scene: Scene, hand: Hand, seconds: float
) -> None:
    wanted = scene.fresh()
    change = scene.change(wanted, None)
    scene.made[change.uid] = change.ref
    await _killed_after(scene, hand, change, seconds)
    for _ in range(3):
        for step in change.steps:
            outcome = await scene.apply(step)
            assert outcome.status in ("applied", "unchanged", "deferred"), outcome
        found = await scene.find(change.uid)
        change = scene.change(wanted, found)
    await at_rest(scene, wanted, scene.change(wanted, await scene.there(change.uid)))
    assert len([each for each in (await scene.look()).objects if each.marks and each.marks.ref == wanted.ref]) == 1


@pytest.mark.parametrize("fresh", [pytest.param(False, marks=pytest.mark.long), True])
async def test_hang_and_a_killed_controller_at_once_do_not_stop_the_next_one(
    scene: Scene, hand: Hand, fresh: bool
) -> None:
    """The storage command that the killed one left waits for ever, and holds its locks."""
    wanted = scene.fresh()
    change = scene.change(wanted, None)
    scene.made[change.uid] = change.ref
    argv = [sys.executable, "-c", _CHILD, str(hand.state)]
    async with await anyio.open_process(argv, cwd=Path(__file__).parents[3], stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        given = msgspec.json.encode((change.steps, scene.fence, scene.generation, scene.now))
        await process.stdin.send(given)
        assert b"begun" in await _begun(process, hand)
        process.kill()
    if fresh:
        await scene.reopen()
    with anyio.fail_after(150):  # patience with locks and silence, one after the other, on a busy host
        for step in change.steps:
            await scene.proved(step)
    await at_rest(scene, wanted, scene.change(wanted, await scene.there(change.uid)))


async def _begun(process: Process, hand: Hand) -> bytes:
    """Stop the daemon at the moment when the child has looked and is about to act."""
    assert process.stdin is not None
    assert process.stdout is not None
    await process.stdin.aclose()
    said = await process.stdout.receive()
    os.kill(hand.daemon(), signal.SIGSTOP)
    await anyio.sleep(0.5)
    return said
