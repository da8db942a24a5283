"""Who changed what last, as the server's lifecycle events tell.

Owns: what an event says, and the culprit of each change that was not ours. Must not go here: listening (events).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import msgspec

from drivers.incus.acl import name_of_acl

REMEMBERED = 4096
_KINDS = {"instances": "Machine", "networks": "Network", "images": "Image", "projects": "Tenant"}


class Requestor(msgspec.Struct):
    username: str = ""
    protocol: str = ""
    address: str = ""


class Lifecycle(msgspec.Struct):
    action: str = ""
    source: str = ""
    requestor: Requestor | None = None
    context: dict[str, Any] | None = None


class Event(msgspec.Struct):
    type: str = ""
    location: str = ""
    project: str = "default"
    metadata: Lifecycle = msgspec.field(default_factory=Lifecycle)


class Culprits:
    """Who changed each object last, of those whose change was not ours. `(kind, native name)` to words for people."""

    def __init__(self) -> None:
        self._said: OrderedDict[tuple[str, str], str] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._said)

    def of(self, kind: str, name: str) -> str | None:
        return self._said.get((kind, name))

    def note(self, event: Event, is_ours: Callable[[str], bool], base: str) -> None:
        """`base`: the project whose instances go by their names alone."""
        path = event.metadata.source.partition("?")[0].split("/")
        if len(path) > 3 and path[2] == "network-acls":  # ours is a part of its network
            path[2:4] = ["networks", path[3].removeprefix(name_of_acl(""))]
        if len(path) < 4 or path[2] not in _KINDS:
            return
        name = path[3] if path[2] != "instances" or event.project in (base, "") else f"{event.project}/{path[3]}"
        key = (_KINDS[path[2]], name)
        who = event.metadata.requestor
        if is_ours(name):
            return
        self._said.pop(key, None)
        self._said[key] = words(who, event.metadata.action)
        if len(self._said) > REMEMBERED:
            self._said.popitem(last=False)

    def clear(self, kind: str, name: str) -> None:
        """We wrote it last."""
        self._said.pop((kind, name), None)


def words(who: Requestor | None, action: str) -> str:
    """LXD 5.0 names nobody where the change was an operation."""
    if who is None:
        return f"somebody whom the server does not name ({action})"
    if who.protocol == "unix":
        place = "at the server's socket"
    elif who.protocol == "tls":
        place = f"by certificate, from {who.address.rpartition(':')[0] or who.address}"
    else:
        place = f"by {who.protocol}" if who.protocol else "by means unknown"
    name = who.username[:12] if who.protocol == "tls" else who.username
    return f"{name or 'somebody'} {place} ({action})"
