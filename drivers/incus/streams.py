"""A server's websockets: events, consoles, commands.

Owns: opening one. Must not go here: what is said on it. Imported by who opens one: it takes longer than a plan does to
be made.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import httpx_ws
from httpx_ws import AsyncWebSocketSession

from drivers.incus.transport import TIMES, Way


@asynccontextmanager
async def opened(way: Way, where: str, **said: Any) -> AsyncIterator[AsyncWebSocketSession]:
    """`said`: as httpx_ws has it. Raises what httpx and httpx_ws raise."""
    transport = httpx.AsyncHTTPTransport(uds=way.path or None, verify=way.context or False)
    async with httpx.AsyncClient(transport=transport, timeout=httpx.Timeout(**TIMES)) as client:
        connected: Any = httpx_ws.aconnect_ws(f"{way.scheme}://{way.named}{where}", client, **said)
        async with connected as session:
            yield session
