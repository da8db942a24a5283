"""Reading the kernel's network interfaces over one rtnetlink socket: no process, no text to take apart.

Owns: asking for links and addresses, of the host and of a zone's namespace through the host's number for it: for those
that are meant, one by one. A dump grows with all else that the host has, and each of many nodes on it would read that.
Must not go here: changing anything, what a link is for.
"""

from __future__ import annotations

import errno
import socket
import struct

import msgspec

from drivers.local.channel import Channel, attribute, attributes

_GETLINK, _GETADDR = 18, 22
_SOL_NETLINK, _STRICT = 270, 12
_LINK = struct.Struct("=BxHiII")
_ADDR = struct.Struct("=BBBBI")
_IFLA_ADDRESS, _IFLA_NAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER = 1, 3, 4, 5, 10
_IFLA_ALIAS, _IFLA_NSID, _IFLA_TARGET = 20, 37, 46
_IFLA_EXT_MASK, _SKIP_STATS = 29, 8
_WANTED = frozenset({1, 3, 4, 5, 10, 20, 37})
_IFA_ADDRESS, _IFA_LOCAL, _IFA_TARGET = 1, 2, 10
_TOLD = frozenset({_IFA_ADDRESS, _IFA_LOCAL})
_UP = 1
_NAME = 16
"""Bytes that a link's name may have, the zero at its end included."""
_UNIVERSE = 0
_LIGHT = attribute(_IFLA_EXT_MASK, struct.pack("=I", _SKIP_STATS))
_ANY = _LINK.pack(0, 0, 0, 0, 0) + _LIGHT


class Link(msgspec.Struct, frozen=True):
    """`peer` and `namespace` (the host's number of it): of a veth whose other end lives elsewhere."""

    index: int
    name: str
    mac: str = ""
    mtu: int = 0
    up: bool = False
    master: int = 0
    peer: int = 0
    namespace: int | None = None
    alias: str = ""


class Netlink(Channel):
    """One socket, for one thread."""

    def __init__(self) -> None:
        super().__init__(socket.NETLINK_ROUTE)
        self.socket.setsockopt(_SOL_NETLINK, _STRICT, 1)  # without it a namespace named in a request is ignored

    def links(self) -> list[str]:
        """The names of all links of the host."""
        return [_link(body).name for body in self.dump(_GETLINK, _ANY)]

    def named(self, name: str) -> Link | None:
        """One link of the host, if it is there. Raises OSError."""
        raw = name.encode() + b"\0"
        if len(raw) > _NAME:
            return None
        found = self._link(_ANY + attribute(_IFLA_NAME, raw))
        return found if found is not None and found.name == name else None  # it may be another name of that link

    def inside(self, namespace: int, index: int) -> Link | None:
        """One link of another namespace, by the host's number for that. Raises OSError, where it is gone too."""
        target = attribute(_IFLA_TARGET, struct.pack("=i", namespace))
        return self._link(_LINK.pack(0, 0, index, 0, 0) + _LIGHT + target)

    def addresses(self, index: int, namespace: int | None = None) -> list[str]:
        """Global addresses of a link, with prefix length; none of one that is gone. Raises OSError."""
        extra = b"" if namespace is None else attribute(_IFA_TARGET, struct.pack("=i", namespace))
        found: list[str] = []
        try:
            for body in self.dump(_GETADDR, _ADDR.pack(0, 0, 0, 0, index) + extra):
                family, prefix, _, scope, link = _ADDR.unpack_from(body)
                if scope != _UNIVERSE or link != index:
                    continue
                told = attributes(body, _ADDR.size, _TOLD)
                raw = told.get(_IFA_LOCAL) or told.get(_IFA_ADDRESS)
                if raw:
                    found.append(f"{socket.inet_ntop(family, raw)}/{prefix}")
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
        return found

    def _link(self, body: bytes) -> Link | None:
        try:
            return _link(self.one(_GETLINK, body))
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            return None


def _link(body: bytes) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(body)
    found = attributes(body, _LINK.size, _WANTED)
    namespace = found.get(_IFLA_NSID)
    return Link(
        index,
        found[_IFLA_NAME].rstrip(b"\0").decode(),
        found.get(_IFLA_ADDRESS, b"").hex(":"),
        _int(found.get(_IFLA_MTU)),
        bool(flags & _UP),
        _int(found.get(_IFLA_MASTER)),
        _int(found.get(_IFLA_LINK)),
        None if namespace is None else struct.unpack("=i", namespace)[0],
        found.get(_IFLA_ALIAS, b"").rstrip(b"\0").decode(errors="replace"),
    )


def _int(raw: bytes | None) -> int:
    return int.from_bytes(raw, "little") if raw else 0
