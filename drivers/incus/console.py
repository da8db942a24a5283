"""Getting into a machine, for people: commands, the console, what it wrote there.

Owns: carrying this process's own streams over the server's websockets.
Must not go here: anything that a plan stands on.
"""

from __future__ import annotations

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
from wsproto.utilities import LocalProtocolError

from drivers.incus.api import Api, ApiError, Lost, Operation, Refused
from drivers.incus.marks import SEAL
from drivers.incus.node import Node, Twins
from drivers.incus.records import Instance, View
from reconciler.core.refs import Uid
from reconciler.driver import NodeUnreachable
from reconciler.driver.console import ConsoleUnavailable

CHUNK = 16384
LARGEST = 2**22
"""Bytes of one message of the server's."""
DETACH = b"\x01q"
"""Ctrl-A q, as the engine's own client has it."""


@asynccontextmanager
async def _told() -> AsyncIterator[None]:
    try:
        yield
    except (ApiError, Lost, Refused, NodeUnreachable, Twins) as error:
        raise ConsoleUnavailable(str(error)) from error
    except (httpx_ws.HTTPXWSException, LocalProtocolError, httpx.HTTPError, OSError) as error:
        raise ConsoleUnavailable(f"the connection broke: {error or type(error).__name__}") from error


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
        begun = await api.begin(f"/1.0/instances/{instance.name}/exec", body, project=instance.project)
        streams = _streams(begun)
        async with _open(api, begun, "control", streams):
            await _carry(api, begun, streams, terminal=terminal)
        done = await api.wait(f"/1.0/operations/{begun.id}")
        return int((done.metadata or {}).get("return", 1))


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
    base = str(api.client.base_url).rstrip("/")
    url = f"{base}/1.0/operations/{begun.id}/websocket?secret={streams[name]}"
    connected: Any = httpx_ws.aconnect_ws(url, api.client, max_message_size_bytes=LARGEST)
    async with connected as session:
        yield session


async def _carry(api: Api, begun: Operation, streams: dict[str, str], *, terminal: bool) -> None:
    """Ends when the command has said all it had to say."""
    async with _open(api, begun, "0", streams) as stdin:
        if terminal:
            with _raw():
                await _both(stdin, stdin)
            return
        async with (
            _open(api, begun, "1", streams) as stdout,
            _open(api, begun, "2", streams) as stderr,
            anyio.create_task_group() as group,
        ):
            group.start_soon(_feed, stdin)
            async with anyio.create_task_group() as said:
                said.start_soon(_drain, stdout, 1)
                said.start_soon(_drain, stderr, 2)
            group.cancel_scope.cancel()


async def _both(stdin: AsyncWebSocketSession, stdout: AsyncWebSocketSession, detach: bytes = b"") -> None:
    async with anyio.create_task_group() as group:

        async def typed() -> None:
            await _feed(stdin, detach)
            if detach:
                group.cancel_scope.cancel()

        group.start_soon(typed)
        await _drain(stdout, 1)
        group.cancel_scope.cancel()


async def _feed(stdin: AsyncWebSocketSession, detach: bytes = b"") -> None:
    with suppress(LocalProtocolError, httpx_ws.HTTPXWSException):  # it has ended, and closed its input, before
        while data := await anyio.to_thread.run_sync(os.read, 0, CHUNK, abandon_on_cancel=True):
            if detach and detach in data:
                return
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
                await _both(session, session, DETACH)


async def logs(node: Node, uid: Uid, lines: int) -> str:
    async with _told():
        instance = await _machine(node, uid)
        text = await (await node.api()).text(f"/1.0/instances/{instance.name}/console", project=instance.project)
        return "\n".join(text.splitlines()[-lines:]) if lines > 0 else ""
