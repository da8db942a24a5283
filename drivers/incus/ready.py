"""Waiting until a machine does what it is for.

Owns: the checks http, tcp and exec, and the time they are given. Must not go here: what waits for it.

A check is made inside the guest, for its network may well not be reachable from here, and something else might answer
at its address. Where the guest has not the command for it, it is made from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anyio

from drivers.incus.act import Act, Denied, keep
from drivers.incus.api import ApiError

PAUSE = 0.2
PATIENCE = 2.0
_LISTENING = "0A"
_ANSWERED = (0, 1)
"""What grep ends with when it could look; with tcp6 missing it says 2 even so, and then it is tried from here."""
_NO_SUCH_COMMAND = (126, 127)


async def ready(act: Act) -> None:
    check = act.arg("ready")
    within = float(check.get("within", 60))
    with anyio.move_on_after(within):
        while True:
            if await _is_up(act, check):
                await keep(act)
                return
            await anyio.sleep(PAUSE)
    raise Denied(f"it did not become ready within {within:g} s")


async def _is_up(act: Act, check: Mapping[str, Any]) -> bool:
    try:
        if check.get("exec"):
            return await _inside(act, list(check["exec"])) == 0
        if check.get("tcp"):
            return await _tcp(act, int(check["tcp"]))
        return await _http(act, str(check.get("http")))
    except ApiError:
        return False


def _address(act: Act) -> str | None:
    nics = sorted(act.fields.get("nics", {}).values(), key=lambda nic: not nic.get("primary"))
    return next((str(nic["ip"]).partition("/")[0] for nic in nics if nic.get("ip")), None)


async def _tcp(act: Act, port: int) -> bool:
    """The guest's own table of sockets says whether it listens."""
    pattern = f":{port:04X} [0-9A-F:]* {_LISTENING} "
    code = await _inside(act, ["grep", "-q", pattern, "/proc/net/tcp", "/proc/net/tcp6"])
    if code in _ANSWERED:
        return code == 0
    address = _address(act)
    if address is None:
        return False
    try:
        with anyio.move_on_after(PATIENCE):
            stream = await anyio.connect_tcp(address, port)
            await stream.aclose()
            return True
    except OSError:
        return False
    return False


async def _http(act: Act, where: str) -> bool:
    """`:8080/healthz`; an answer below 400 counts."""
    port, _, path = where.removeprefix(":").partition("/") if where.startswith(":") else ("80", "", where.lstrip("/"))
    code = await _inside(act, ["wget", "-q", "-O", "/dev/null", f"http://127.0.0.1:{port}/{path}"])
    if code not in _NO_SUCH_COMMAND:
        return code == 0
    address = _address(act)
    if address is None:
        return False
    host = f"[{address}]" if ":" in address else address
    import httpx  # as long to import as all else of the driver, and rarely needed

    try:
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            return (await client.get(f"http://{host}:{port}/{path}")).status_code < 400
    except httpx.HTTPError:
        return False


async def _inside(act: Act, command: Sequence[str]) -> int:
    """Run a command in the guest and give its exit code."""
    body = {
        "command": list(command), "wait-for-websocket": False, "interactive": False, "record-output": False,
        "environment": {},
    }  # fmt: skip
    path = f"/1.0/instances/{act.here.instance.name}/exec"
    done = await act.api.change("POST", path, body, project=act.project)
    return int((done.metadata or {}).get("return", 1))
