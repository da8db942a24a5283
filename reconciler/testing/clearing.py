"""How a test leaves a node that others go on with.

Owns: when what was made is cleared. Must not go here: what there is to clear (scene, rehearsal).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from unittest import SkipTest

import anyio

_PATIENCE = 60
"""Seconds for clearing after a failure."""


async def clear_after(failure: type[BaseException] | None, clear: Callable[[], Awaitable[None]]) -> None:
    """Whole, and raising what goes wrong, after a test that went well or was skipped. After one that failed as well as
    it can, since what it left would fail those that come after it; not at all where the run is being ended."""
    if failure in (None, SkipTest):
        await clear()
    elif issubclass(failure, Exception):
        with suppress(Exception), anyio.move_on_after(_PATIENCE):
            await clear()
