"""Calls to a running loop over a real socket."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest

from reconciler.edge.calls import AT_ONCE, NobodyAnswers, call, serve
from reconciler.edge.state import State
from reconciler.errors import PlanMissing, TrueupError, TryLater

pytestmark = pytest.mark.anyio

ID = "6f2b8d3e-5a41-4c6b-9f0e-2d7c1a9b8e10"


@pytest.fixture(params=["short", "a-folder-with-a-long-name-" * 8])
def state(tmp_path: Path, request: pytest.FixtureRequest) -> State:
    return State.open(ID, tmp_path / request.param)


async def asked(state: State, request: dict[str, Any], within: float = 60) -> list[dict[str, Any]]:
    async with call(state, request, within=within) as answers:
        return [answer async for answer in answers]


async def serving(state: State, group: anyio.abc.TaskGroup, answer: Any) -> None:
    group.start_soon(serve, state, answer)
    with anyio.fail_after(30):
        while not await _listens(state):  # noqa: ASYNC110 - another task makes it
            await anyio.sleep(0.01)


async def _listens(state: State) -> bool:
    """A socket is bound a moment before anybody listens to it."""
    try:
        async with await anyio.connect_unix(_short(state)):
            return True
    except OSError:
        return False


async def counting(request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    for number in range(request["to"]):
        yield {"number": number, "text": "ü\n" * 10}


async def test_a_request_gets_a_stream_of_answers(state: State) -> None:
    async with anyio.create_task_group() as group:
        await serving(state, group, counting)
        assert [answer["number"] for answer in await asked(state, {"to": 500})] == list(range(500))
        assert await asked(state, {"to": 0}) == []
        group.cancel_scope.cancel()
    assert not state.socket.exists()


async def test_several_callers_are_answered_side_by_side(state: State) -> None:
    met = anyio.Event()

    async def meeting(request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        if request["first"]:
            await met.wait()
        met.set()
        yield {"done": True}

    async with anyio.create_task_group() as group:
        await serving(state, group, meeting)
        with anyio.fail_after(30):
            async with anyio.create_task_group() as callers:
                callers.start_soon(asked, state, {"first": True})
                callers.start_soon(asked, state, {"first": False})
        group.cancel_scope.cancel()


async def test_a_refusal_arrives_as_the_error_it_was(state: State) -> None:
    async def refusing(_: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        yield {"begun": True}
        raise PlanMissing("no stored plan begins with abcd", hint="plan again")

    async with anyio.create_task_group() as group:
        await serving(state, group, refusing)
        with pytest.raises(TrueupError, match="no stored plan begins with abcd") as caught:
            await asked(state, {})
        assert (caught.value.hint, caught.value.exit_code) == ("plan again", 1)
        group.cancel_scope.cancel()


async def test_a_caller_who_hangs_up_cancels_the_answer(state: State) -> None:
    gone = anyio.Event()

    async def endless(_: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        try:
            yield {"begun": True}
            await anyio.sleep_forever()
        finally:
            gone.set()

    async with anyio.create_task_group() as group:
        await serving(state, group, endless)
        async with call(state, {}) as answers:
            assert await anext(answers) == {"begun": True}
        with anyio.fail_after(30):
            await gone.wait()
        group.cancel_scope.cancel()


async def test_a_caller_who_hangs_up_before_it_is_told_leaves_the_others_alone(state: State) -> None:
    """Nothing is awaited between its leaving and what is sent to it, so that this meets a broken pipe."""

    async def slow(request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        left.close()
        yield {"begun": True}

    async with anyio.create_task_group() as group:
        await serving(state, group, slow)
        left = socket.socket(socket.AF_UNIX)
        left.connect(_short(state))
        left.sendall(b"{}\n")
        assert await asked(state, {}) == [{"begun": True}]
        await anyio.sleep(0.1)
        assert await asked(state, {}) == [{"begun": True}]
        group.cancel_scope.cancel()


async def test_a_fault_of_an_answer_is_told_and_the_loop_goes_on(state: State) -> None:
    async def failing(request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        yield {"begun": True}
        if request["fail"]:
            raise KeyError("entries")

    async with anyio.create_task_group() as group:
        await serving(state, group, failing)
        with pytest.raises(TrueupError, match="the loop failed at it: KeyError: 'entries'"):
            await asked(state, {"fail": True})
        assert await asked(state, {"fail": False}) == [{"begun": True}]
        group.cancel_scope.cancel()


@pytest.mark.parametrize(
    "said",
    [b'{"do": "\xff"}', b"[" * 20_000, b'{"do": ' * 5_000, b"7"],
    ids=["no text", "lists", "nested", "number"],
)
async def test_what_is_no_request_is_refused_and_the_loop_goes_on(state: State, said: bytes) -> None:
    async with anyio.create_task_group() as group:
        await serving(state, group, counting)
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(_short(state))
            caller.sendall(said + b"\n")
            caller.setblocking(False)
            with anyio.fail_after(20):
                await anyio.wait_readable(caller)
            assert b"this is no request" in caller.recv(1000)
        assert await asked(state, {"to": 0}) == []
        group.cancel_scope.cancel()


async def test_callers_wait_at_the_door_while_no_file_can_be_opened(state: State) -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with anyio.create_task_group() as group:
        await serving(state, group, counting)
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(_short(state))
            free = os.dup(caller.fileno())
            os.close(free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, limit[1]))
            try:
                await anyio.sleep(0.1)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limit)
            assert [answer["number"] for answer in await asked(state, {"to": 2})] == [0, 1]
        group.cancel_scope.cancel()


async def test_callers_who_say_nothing_take_no_more_than_their_share_of_files(state: State) -> None:
    async with AsyncExitStack() as stack:
        group = await stack.enter_async_context(anyio.create_task_group())
        await serving(state, group, counting)
        path = _short(state)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(AT_ONCE + 20):
            stack.enter_context(socket.socket(socket.AF_UNIX)).connect(path)
        await anyio.sleep(0.2)
        assert len(os.listdir("/proc/self/fd")) <= before + AT_ONCE + 20 + AT_ONCE
        group.cancel_scope.cancel()


async def test_a_loop_that_is_silent_is_not_waited_for_for_ever(state: State) -> None:
    async def silent(request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        await anyio.sleep_forever()
        yield {}

    async with anyio.create_task_group() as group:
        await serving(state, group, silent)
        with pytest.raises(TryLater, match="the loop does not answer"):
            await asked(state, {}, within=0.2)
        await anyio.sleep(0.1)  # until its hanging up was met
        group.cancel_scope.cancel()


async def test_no_loop_is_told(state: State) -> None:
    with pytest.raises(NobodyAnswers, match="no loop is running"):
        await asked(state, {})


async def test_a_socket_left_by_a_killed_loop_is_no_loop_and_is_replaced(state: State) -> None:
    handle = socket.socket(socket.AF_UNIX)
    folder = os.open(state.folder, os.O_RDONLY)
    handle.bind(f"/proc/self/fd/{folder}/socket")
    handle.close()
    os.close(folder)
    with pytest.raises(NobodyAnswers):
        await asked(state, {})
    async with anyio.create_task_group() as group:
        await serving(state, group, counting)
        assert len(await asked(state, {"to": 2})) == 2
        group.cancel_scope.cancel()


async def test_a_loop_that_ends_in_the_middle_is_told(state: State) -> None:
    async def stuck(_: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        yield {"begun": True}
        await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        await serving(state, group, stuck)
        with pytest.raises(TryLater, match="ended before it had answered"):  # noqa: PT012
            async with call(state, {}) as answers:
                await anext(answers)
                group.cancel_scope.cancel()
                with anyio.CancelScope(shield=True):
                    await anext(answers)


async def test_rubbish_is_answered_and_the_loop_goes_on(state: State) -> None:
    async with anyio.create_task_group() as group:
        await serving(state, group, counting)
        async with await anyio.connect_unix(_short(state)) as stream:
            await stream.send(b"GET / HTTP/1.1\r\n\r\n")
            assert b"no request" in await stream.receive()
        assert len(await asked(state, {"to": 1})) == 1
        group.cancel_scope.cancel()


def _short(state: State) -> str:
    return f"/proc/self/fd/{os.open(state.folder, os.O_RDONLY)}/socket"
