"""A command does without an event loop until something has to wait, and is one coroutine all the way."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest

from reconciler.waiting import blocking, loop, run


def in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def test_what_never_waits_has_no_loop() -> None:
    async def command() -> list[bool]:
        return [
            in_loop(),
            await blocking(in_loop),
            threading.current_thread() is await blocking(threading.current_thread),
        ]

    assert run(command()) == [False, False, True]


def test_the_loop_begins_where_it_is_asked_for_and_stays() -> None:
    told: list[str] = []

    @asynccontextmanager
    async def opened() -> AsyncIterator[str]:
        told.append(f"opened {in_loop()}")
        try:
            yield "here"
        finally:
            told.append(f"closed {in_loop()}")

    async def side(word: str) -> None:
        await anyio.lowlevel.checkpoint()
        told.append(word)

    async def command() -> str:
        async with opened() as here:
            await loop()
            await loop()
            assert await blocking(threading.current_thread) is not threading.current_thread()
            with anyio.move_on_after(0.001):
                await anyio.sleep_forever()
            async with anyio.create_task_group() as group:
                group.start_soon(side, "beside")
            return here

    assert run(command()) == "here"
    assert told == ["opened False", "beside", "closed True"]


@pytest.mark.parametrize("waits", [False, True])
def test_what_a_command_raises_is_raised_and_what_it_opened_is_closed(waits: bool) -> None:
    closed: list[bool] = []

    async def command() -> None:
        try:
            if waits:
                await loop()
            raise KeyError("gone")
        finally:
            await blocking(closed.append, True)

    with pytest.raises(KeyError, match="gone"):
        run(command())
    assert closed == [True]


def test_in_a_loop_that_runs_already_nothing_is_begun() -> None:
    async def command() -> bool:
        await loop()
        return threading.current_thread() is await blocking(threading.current_thread)

    assert anyio.run(command) is False


def test_a_thread_beside_a_command_may_have_a_loop_of_its_own() -> None:
    async def inner() -> bool:
        await loop()
        return in_loop()

    async def command() -> list[bool]:
        found: list[bool] = []
        thread = threading.Thread(target=lambda: found.append(anyio.run(inner)))
        thread.start()
        thread.join()
        return [*found, in_loop()]

    assert run(command()) == [True, False]


def test_who_waits_without_asking_for_the_loop_is_told() -> None:
    async def command() -> None:
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="without an event loop"):
        run(command())
