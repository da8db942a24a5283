"""The kit: the ways in which a step is cut short.

Owns: what happens in the midst of one step. Must not go here: what is demanded afterwards (steps, moves).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from reconciler.core.plan import Step
from reconciler.testing.harness import Harness
from reconciler.testing.scene import Scene

Interruption = Callable[[Scene, Step], Awaitable[None]]
"""Begins the step on the scene, or does not, and leaves a controller that was started anew."""


async def _before(scene: Scene, step: Step) -> None:
    await scene.reopen()


async def _after(scene: Scene, step: Step) -> None:
    await scene.apply(step)
    await scene.reopen()


KILLS: tuple[Interruption, ...] = (_before, _after)
"""The process dies before the call, or after the node acted and before anybody heard of it."""


def cancellations(harness: Harness) -> tuple[Interruption, ...]:
    """The call is given up after each of the times (s) that the harness names."""

    def cancelled(seconds: float) -> Interruption:
        async def cut_short(scene: Scene, step: Step) -> None:
            with anyio.move_on_after(seconds):
                await scene.apply(step)
            await scene.reopen()

        return cut_short

    return tuple(map(cancelled, harness.interrupt_after))
