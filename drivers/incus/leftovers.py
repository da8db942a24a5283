"""What a making that failed half-way left on the server, and how a machine gets its name all the same.

Owns: knowing such a refusal by its words, putting aside what is in the way, saying what nobody but people can. Must not
go here: making (machines), what an earlier move left (carry, volumes).

A member that is cut off from its cluster while it makes an instance loses its database in the middle. It takes back
what it can, and may keep the record of a root volume whose instance it has forgotten. No call takes such a record away,
and no instance of that name is made there any more.
"""

from __future__ import annotations

import re
import secrets
from contextlib import suppress
from typing import Any

from drivers.incus.act import Act, Denied
from drivers.incus.api import ApiError

_RECORD = re.compile(r"UNIQUE constraint failed.*storage_volumes")
_FOLDER = re.compile(r'Volume path "(?P<path>[^"]+)" already exists')
_LONGEST = 63
"""Characters in the name of an instance."""


def is_record(error: ApiError) -> bool:
    """Whether the record of a volume without an instance was in the way."""
    return _RECORD.search(str(error)) is not None


def explained(error: str, place: str) -> str:
    """With what to do, where a server refuses a name for what lies on its disk, of which nothing but the disk knows."""
    found = _FOLDER.search(error)
    if found is None:
        return error
    return f"{error}: {place} knows of nothing there, and no call takes it away. Look at {found['path']} and remove it"


async def make(act: Act, body: dict[str, Any], query: dict[str, str]) -> None:
    """The call that makes an instance; where such a record is in the way, once that is put aside. Incus, which was not
    seen to leave any, is not asked to: a name that something is to be sent to it keeps from all others for 30 s."""
    try:
        await act.api.change("POST", "/1.0/instances", body, **query)
        return
    except ApiError as error:
        if act.server.environment.server != "lxd" or not is_record(error):
            raise
    await _put_aside(act, body, query)
    await act.api.change("POST", "/1.0/instances", body, **query)


async def _put_aside(act: Act, body: dict[str, Any], query: dict[str, str]) -> None:
    """Give what is left of an earlier instance an instance, under another name. Nothing of it is lost, nothing taken
    away: it may hold what somebody misses. `body`, `query`: of the call that was refused.

    An instance that is to be sent to a server has a record there before anything else. To that the server counts the
    volume of its name, and a rename takes it along. The server waits 10 s for what is never sent; it would take away
    the record of whatever bears the name by then, so nothing may before."""
    name = str(body["name"])
    aside = f"{name[: _LONGEST - 12]}-left-{secrets.token_hex(3)}"
    act.context.progress(f"{name} is refused for what an earlier try left: that becomes {aside}")
    bare = {
        **body,
        "architecture": act.server.environment.kernel_architecture,
        "description": f"What a failed try to make {name} left. Nothing of trueup's: look at it, and delete it.",
        "config": {},
        "devices": {key: device for key, device in body["devices"].items() if device.get("path") == "/"},
        "source": {"type": "migration", "mode": "push"},
    }
    begun = await act.api.begin("/1.0/instances", bare, **query)
    try:
        await act.api.change("POST", f"/1.0/instances/{name}", {"name": aside}, project=act.project)
    except ApiError as error:
        raise Denied(f"what an earlier try left of {name} cannot be put aside: {error}") from error
    finally:
        with suppress(ApiError):  # it says that nobody came
            await act.api.wait(f"/1.0/operations/{begun.id}")
