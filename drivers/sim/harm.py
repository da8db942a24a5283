"""Doing the harm that faults ask for: waiting, losing the answer, dying.

Owns: all that a simulated node waits for. Must not go here: when to fail (faults), the driver contract (driver).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import NoReturn

import anyio

from drivers.sim.faults import Fault, How
from drivers.sim.store import TargetRow
from reconciler.driver import Outcome


def within(seconds: float) -> AbstractContextManager[object]:
    """Raises TimeoutError where what is done inside takes longer."""
    return anyio.fail_after(seconds)


async def pause(seconds: float) -> None:
    """Others run meanwhile, also where there is nothing to wait for."""
    await anyio.sleep(seconds)


async def before_look(rows: Iterable[TargetRow]) -> None:
    """What a look at these targets of one node takes before its answer."""
    for seconds in {row.latency.get("observe", row.latency.get("*", 0.0)) for row in rows} - {0.0}:
        await anyio.sleep(seconds)
    if any(row.broken.hang for row in rows):
        await anyio.sleep_forever()


async def before(fault: Fault) -> Outcome | None:
    """What befalls a step before it is done, and the answer where it is not done at all."""
    if fault.how is How.FAIL:
        return Outcome("failed", fault.reason)
    if fault.how is How.UNCONFIRMED_BEFORE:
        return Outcome("unconfirmed", fault.reason)
    if fault.how is How.CRASH_BEFORE:
        _die()
    if fault.how is How.HANG_BEFORE:
        await anyio.sleep_forever()
    if fault.how is How.SLOW:
        await anyio.sleep(fault.seconds)
    return None


async def after(fault: Fault) -> Outcome | None:
    """What befalls a step that was done, and the answer where it is lost."""
    if fault.how is How.UNCONFIRMED_AFTER:
        return Outcome("unconfirmed", fault.reason)
    if fault.how is How.CRASH_AFTER:
        _die()
    if fault.how is How.HANG_AFTER:
        await anyio.sleep_forever()
    return None


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")
