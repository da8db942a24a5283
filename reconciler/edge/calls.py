"""Calls to a running loop: one request, a stream of answers, over a unix socket in the state folder.

Owns: the framing (each message is one line of JSON), limits, who may call. Must not go here: what is asked and answered
(runtime and cli agree on that).
"""

from __future__ import annotations

import os
import socket as sockets
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import msgspec
from anyio.abc import SocketAttribute, SocketListener, SocketStream, TaskStatus
from anyio.streams.buffered import BufferedByteReceiveStream

from reconciler.edge.state import State
from reconciler.errors import TrueupError, TryLater

Message = dict[str, Any]
Answer = Callable[[Message], AsyncIterator[Message]]
"""Takes the request, yields the answers. Cancelled when the caller hangs up. What it raises is told to the caller."""

LARGEST = 16 << 20
"""Bytes of one message. Plans are named by digest, not sent."""

AT_ONCE = 64
"""Calls that are answered side by side; the others wait at the door, and take no file of ours meanwhile."""

WITHIN = 15.0
"""Seconds that a loop has for an answer which waits for nothing."""

_TRIES = 5

_FULL = 0.2
"""Seconds until the door is tried again, where no file could be opened for who stands before it."""

_GONE = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)
"""How it shows that the other side has hung up."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class NobodyAnswers(TryLater):
    """No loop listens there: take the lock and act yourself."""


async def serve(state: State, answer: Answer, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
    """Answers calls until cancelled, from when it has started. Only for the holder of the datacenter's lock: a socket
    left over is replaced."""
    with _short_path(state) as path:
        listener = await anyio.create_unix_listener(path, mode=0o600)
        task_status.started()
        places = anyio.Semaphore(AT_ONCE)

        async def handle(stream: SocketStream) -> None:
            try:
                async with stream:
                    if _is_ours(stream):
                        await _answer(stream, answer)
            finally:
                places.release()

        try:
            async with listener, anyio.create_task_group() as group:
                while True:
                    await places.acquire()
                    group.start_soon(handle, await _accepted(listener))
        finally:
            with suppress(OSError):
                os.unlink(path)


async def _accepted(listener: SocketListener) -> SocketStream:
    while True:
        try:
            return await listener.accept()
        except anyio.BrokenResourceError:  # too many files are open, here or on the host
            await anyio.sleep(_FULL)


@asynccontextmanager
async def call(
    state: State, request: Message, *, within: float | None = WITHIN
) -> AsyncIterator[AsyncIterator[Message]]:
    """`async with call(state, {...}) as answers: async for answer in answers: …`. Leaving early hangs up. `within`:
    seconds that each answer may take, None where it waits for something.

    Raises NobodyAnswers, TryLater if the loop ends in the middle of its answer or is silent, TrueupError with what it
    refused.
    """
    with _short_path(state) as path:
        stream = await _connected(state, path)
    async with stream:
        try:
            await stream.send(_encode(request) + b"\n")
        except anyio.BrokenResourceError as error:
            raise NobodyAnswers(f"{state.socket}: no loop is running") from error
        yield _answers(stream, within)


async def _connected(state: State, path: str) -> SocketStream:
    for left in range(_TRIES - 1, -1, -1):
        try:
            return await anyio.connect_unix(path)
        except ConnectionRefusedError as error:
            # a loop that only just begins has bound the socket and does not listen yet; one that was killed left it
            if not left:
                raise NobodyAnswers(f"{state.socket}: no loop is running") from error
            await anyio.sleep(0.05)
        except OSError as error:
            raise NobodyAnswers(f"{state.socket}: no loop is running") from error
    raise AssertionError("unreachable")


async def _answers(stream: SocketStream, within: float | None) -> AsyncIterator[Message]:
    lines = BufferedByteReceiveStream(stream)
    while True:
        try:
            with anyio.fail_after(within):
                message = _decode(await lines.receive_until(b"\n", LARGEST))
        except TimeoutError as error:
            raise TryLater(
                f"the loop does not answer within {within:g} s",
                hint="a handler may hold it up; its process can be killed if it stays so: the next one goes on",
            ) from error
        except (anyio.IncompleteRead, anyio.EndOfStream, anyio.BrokenResourceError) as error:
            raise TryLater(
                "the loop ended before it had answered", hint="`trueup status` tells how far it came"
            ) from error
        if "end" in message:
            return
        if "error" in message:
            refusal = TrueupError(str(message["error"]), hint=str(message.get("hint", "")))
            refusal.exit_code = int(message.get("exit", 1))
            raise refusal
        yield message


async def _answer(stream: SocketStream, answer: Answer) -> None:
    """One call, whatever becomes of it: who calls must never be able to end the loop."""
    lines = BufferedByteReceiveStream(stream)
    with suppress(*_GONE):
        try:
            with anyio.fail_after(10):
                request = _decode(await lines.receive_until(b"\n", LARGEST))
        except _GONE:
            raise
        except Exception as error:  # too late, too long, no JSON, no text at all, nested too deep
            await _send(stream, {"error": f"this is no request: {type(error).__name__}"})
            return
        async with anyio.create_task_group() as group:
            group.start_soon(_watch_for_hangup, stream, group)
            # in here: out of the group it would come wrapped
            with suppress(*_GONE):
                await _tell(stream, answer(request))
            group.cancel_scope.cancel()


async def _tell(stream: SocketStream, answers: AsyncIterator[Message]) -> None:
    """Every answer, and how they end. Raises what tells that the caller has gone."""
    try:
        async for message in answers:
            await _send(stream, message)
    except _GONE:
        raise
    except TrueupError as error:
        await _send(stream, {"error": error.message, "hint": error.hint, "exit": error.exit_code})
    except Exception as error:
        # a fault of ours, or a caller of another version: whoever asked is told, and the loop goes on
        await _send(stream, {"error": f"the loop failed at it: {type(error).__name__}: {error}"})
    else:
        await _send(stream, {"end": True})


async def _watch_for_hangup(stream: SocketStream, group: anyio.abc.TaskGroup) -> None:
    """A caller has nothing more to say: what comes next from it is its leaving."""
    with suppress(*_GONE):
        while True:
            await stream.receive()
    group.cancel_scope.cancel()


async def _send(stream: SocketStream, message: Message) -> None:
    await stream.send(_encode(message) + b"\n")


def _is_ours(stream: SocketStream) -> bool:
    """The folder is closed to others already; the kernel's word on who calls costs nothing."""
    raw = stream.extra(SocketAttribute.raw_socket)
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", raw.getsockopt(sockets.SOL_SOCKET, sockets.SO_PEERCRED, size))
    return uid in (0, os.geteuid())


class _short_path:
    """The socket by way of its open folder: a path of any length fits the 107 bytes that a socket's address has."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._handle = -1

    def __enter__(self) -> str:
        self._handle = os.open(self._state.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._handle}/{self._state.socket.name}"

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)
