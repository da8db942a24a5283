"""Ctrl-C and SIGTERM while a plan is carried out.

Owns: what a signal means to an execution. Must not go here: what stopping means to its steps (runtime).
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

import anyio

from reconciler.cli.terminal import say
from reconciler.runtime.execute import Execution
from reconciler.runtime.summary import Summary


async def interruptible(execution: Execution) -> Summary:
    """Run it. The first signal ends the handing out of steps; those in hand come to their end. A second one does not
    wait: the process ends at once, as if it were killed, which the journal is made for."""
    async with anyio.create_task_group() as group:
        group.start_soon(_listen, execution)
        summary = await execution.run()
        group.cancel_scope.cancel()
    return summary


async def _listen(execution: Execution) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            if number == signal.SIGINT:
                say("Interrupted: the steps in hand are finished first. Ctrl-C once more leaves them.")
            execution.stop("interrupted")
            break
        async for number in signals:
            _leave(number)


def _leave(number: int) -> NoReturn:
    say("Left at once: what was in hand may have happened or not; the next apply looks, and goes on from there.")
    sys.stdout.flush()
    os._exit(128 + number)
