"""Getting into a machine, for people: commands, the console, what it wrote there.

Owns: carrying this process's own streams over the server's websockets.
Must not go here: anything that a plan stands on.
"""

from __future__ import annotations

import asyncio
import os
import sys
import termios
import tty
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import anyio
import anyio.to_thread
import httpx
import httpx_ws
import msgspec
from httpx_ws import AsyncWebSocketSession
from wsproto.utilities import ProtocolError

from drivers.incus.api import Api, ApiError, Lost, Operation, Refused
from drivers.incus.marks import SEAL
from drivers.incus.node import Node, Twins
from drivers.incus.records import Instance, View
from drivers.incus.streams import opened
from reconciler.core.refs import Uid
from reconciler.driver import NodeUnreachable
from reconciler.driver.console import ConsoleUnavailable

TRIES = 3
_NEVER_BEGUN = "waiting for websockets to connect"
"""LXD 5.0 may overlook one of several streams that connect at once, and then does not begin the command. It is asked
for once more, unless some of our input is gone."""
CHUNK = 16384
LARGEST = 2**22
"""Bytes of one message of the server's."""
DETACH = b"\x01q"
"""Ctrl-A q, as the engine's own client has it."""


_BROKEN = (
    httpx_ws.HTTPXWSException, ProtocolError, httpx.HTTPError, OSError,
    anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream,
)  # fmt: skip
"""How a websocket tells that its other end is no more."""


@asynccontextmanager
async def _told() -> AsyncIterator[None]:
    try:
        yield
    except Exception as error:
        cause = _first(error)
        if isinstance(cause, (ApiError, Lost, Refused, NodeUnreachable, Twins)):
            raise ConsoleUnavailable(str(cause)) from error
        if isinstance(cause, _BROKEN):
            raise ConsoleUnavailable(f"the connection broke: {str(cause) or type(cause).__name__}") from error
        raise


def _first(error: BaseException) -> BaseException:
    """What went wrong first: tasks wrap it in groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _machine(node: Node, uid: Uid) -> Instance:
    server = await node.server()
    found = await node.bearer(uid, View(seal=server.said(SEAL), base=node.project), fence=node.fence_of_names)
    if found is None:
        raise ConsoleUnavailable(f"no machine on {node.name} bears the uid {uid}")
    return found.instance


async def run(node: Node, uid: Uid, argv: Sequence[str]) -> int:
    async with _told():
        instance = await _machine(node, uid)
        if instance.status not in ("Running", "Ready"):
            raise ConsoleUnavailable(f"{instance.name} is {instance.status.lower()}, so nothing can be run in it")
        api = await node.api()
        terminal = sys.stdin.isatty() and sys.stdout.isatty()
        body = {
            "command": list(argv),
            "wait-for-websocket": True,
            "interactive": terminal,
            "environment": {"TERM": os.environ.get("TERM", "dumb")} if terminal else {},
            **_size(terminal),
        }
        asyncio.get_running_loop().set_exception_handler(_unless_cancelled)
        for attempt in range(1, TRIES + 1):
            begun = await api.begin(f"/1.0/instances/{instance.name}/exec", body, project=instance.project)
            streams, typed = _streams(begun), Typed()
            async with _open(api, begun, "control", streams):
                await _carry(api, begun, streams, typed, terminal=terminal)
            try:
                done = await api.wait(f"/1.0/operations/{begun.id}")
                return int((done.metadata or {}).get("return", 1))
            except ApiError as error:
                if _NEVER_BEGUN not in str(error) or typed.bytes or attempt == TRIES:
                    raise
        raise AssertionError("unreachable")


def _unless_cancelled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """anyio may set the result of a read that was cancelled in the same turn of the loop; nothing is lost by that, and
    people need not be told."""
    if not isinstance(context.get("exception"), asyncio.InvalidStateError):
        loop.default_exception_handler(context)


def _size(terminal: bool) -> dict[str, int]:
    if not terminal:
        return {}
    size = os.get_terminal_size()
    return {"width": size.columns, "height": size.lines}


def _streams(begun: Operation) -> dict[str, str]:
    """The secret of each stream's websocket."""
    return msgspec.convert((begun.metadata or {}).get("fds") or {}, dict[str, str])


@asynccontextmanager
async def _open(api: Api, begun: Operation, name: str, streams: dict[str, str]) -> AsyncIterator[AsyncWebSocketSession]:
    where = f"/1.0/operations/{begun.id}/websocket?secret={streams[name]}"
    begins = True
    try:
        async with opened(api.client.way, where, max_message_size_bytes=LARGEST) as session:
            begins = False
            yield session
    except ExceptionGroup as group:
        # The server closes a stream as soon as the command has ended, in whatever we are doing with it: what came of
        # the command is told by its operation.
        if begins or group.split(_BROKEN)[1] is not None:
            raise


class Typed(msgspec.Struct):
    """What was read of our input."""

    bytes: int = 0


async def _carry(api: Api, begun: Operation, streams: dict[str, str], typed: Typed, *, terminal: bool) -> None:
    """Ends when the command has said all it had to say."""
    async with _open(api, begun, "0", streams) as stdin:
        if terminal:
            with _raw():
                await _both(stdin, stdin, typed)
            return
        async with (
            _open(api, begun, "1", streams) as stdout,
            _open(api, begun, "2", streams) as stderr,
            anyio.create_task_group() as group,
        ):
            group.start_soon(_feed, stdin, typed)
            async with anyio.create_task_group() as said:
                said.start_soon(_drain, stdout, 1)
                said.start_soon(_drain, stderr, 2)
            group.cancel_scope.cancel()


async def _both(stdin: AsyncWebSocketSession, stdout: AsyncWebSocketSession, typed: Typed, detach: bytes = b"") -> None:
    async with anyio.create_task_group() as group:

        async def typing() -> None:
            await _feed(stdin, typed, detach)
            if detach:
                group.cancel_scope.cancel()

        group.start_soon(typing)
        await _drain(stdout, 1)
        group.cancel_scope.cancel()


async def _feed(stdin: AsyncWebSocketSession, typed: Typed, detach: bytes = b"") -> None:
    with suppress(*_BROKEN):  # it has ended, and closed its input, before
        while data := await anyio.to_thread.run_sync(os.read, 0, CHUNK, abandon_on_cancel=True):
            if detach and detach in data:
                return
            typed.bytes += len(data)
            await stdin.send_bytes(data)
        await stdin.send_text("")


async def _drain(session: AsyncWebSocketSession, descriptor: int) -> None:
    while True:
        try:
            event: Any = await session.receive()
        except (httpx_ws.WebSocketDisconnect, httpx_ws.WebSocketNetworkError):
            return
        data = event.data
        if not data:
            return
        await anyio.to_thread.run_sync(_write_all, descriptor, data.encode() if isinstance(data, str) else bytes(data))


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


@contextmanager
def _raw() -> Iterator[None]:
    kept = termios.tcgetattr(0)
    try:
        tty.setraw(0)
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, kept)


async def attach(node: Node, uid: Uid) -> None:
    """Until Ctrl-A q."""
    if not sys.stdin.isatty():
        raise ConsoleUnavailable("a console needs a terminal; to run a command, say which")
    async with _told():
        instance = await _machine(node, uid)
        api = await node.api()
        body = {**_size(terminal=True), "type": "console"}
        begun = await api.begin(f"/1.0/instances/{instance.name}/console", body, project=instance.project)
        streams = _streams(begun)
        async with _open(api, begun, "control", streams), _open(api, begun, "0", streams) as session:
            with _raw():
                await _both(session, session, Typed(), DETACH)


async def logs(node: Node, uid: Uid, lines: int) -> str:
    async with _told():
        instance = await _machine(node, uid)
        text = await (await node.api()).text(f"/1.0/instances/{instance.name}/console", project=instance.project)
        return "\n".join(text.splitlines()[-lines:]) if lines > 0 else ""
