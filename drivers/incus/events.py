"""The server's lifecycle events: that something changed.

Owns: listening over a websocket. Must not go here: who did it (culprits), what follows from a hint. Nothing is replayed
after a broken connection, so whoever listens anew has to look anew. Imported by who listens: websockets take longer to
import than a plan does to be made.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator

import anyio
import httpx
import httpx_ws
import msgspec

from drivers.incus.culprits import Culprits, Event
from drivers.incus.node import Node
from drivers.incus.streams import opened
from reconciler.core.refs import Target
from reconciler.driver import NodeUnreachable

GATHER = 0.05
"""Seconds in which further events join the hint of the first."""
_event = msgspec.json.Decoder(Event)


async def watch(node: Node, culprits: Culprits) -> AsyncIterator[Target]:
    """See reconciler.driver.watch. Raises NodeUnreachable."""
    api = await node.api()
    targets = node.targets()
    try:
        async with opened(api.client.way, "/1.0/events?type=lifecycle&all-projects=true") as session:
            yield targets[0]
            while True:
                pending = {_noted(node, culprits, await session.receive_text())}
                with anyio.move_on_after(GATHER):
                    while True:
                        pending.add(_noted(node, culprits, await session.receive_text()))
                for target in sorted(pending):
                    yield target
    except (httpx_ws.HTTPXWSException, httpx.HTTPError, ssl.SSLError, OSError) as error:
        raise NodeUnreachable(f"it no longer tells of changes: {error or type(error).__name__}") from error


def _noted(node: Node, culprits: Culprits, text: str) -> Target:
    targets = node.targets()
    try:
        event = _event.decode(text)
    except msgspec.DecodeError:
        return targets[0]
    culprits.note(event, node.is_ours, node.project)
    place = Target(f"{node.name}/{event.location}")
    return place if place in targets else targets[0]
