"""Reading the kernel's network interfaces over one rtnetlink socket: no process, no text to take apart.

Owns: asking for links and addresses, of the host and of a zone's namespace through the host's number for it.
Must not go here: changing anything, what a link is for.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import msgspec

_GETLINK, _GETADDR = 18, 22
_REQUEST_DUMP = 0x301
_DONE, _ERROR = 3, 2
_SOL_NETLINK, _STRICT = 270, 12
_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_ADDR = struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_IFLA_ADDRESS, _IFLA_NAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER = 1, 3, 4, 5, 10
_IFLA_ALIAS, _IFLA_NSID, _IFLA_TARGET = 20, 37, 46
_IFLA_EXT_MASK, _SKIP_STATS = 29, 8
_WANTED = frozenset({1, 2, 3, 4, 5, 10, 20, 37})
"""Of links and addresses both; the rest of what the kernel tells is passed over."""
_IFA_ADDRESS, _IFA_LOCAL, _IFA_TARGET = 1, 2, 10
_UP = 1
_UNIVERSE = 0


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


class Netlink:
    """One socket, for one thread."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._socket.setsockopt(_SOL_NETLINK, _STRICT, 1)  # without it a namespace named in a request is ignored
        self._socket.settimeout(5)
        self._sequence = 0

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def links(self, namespace: int | None = None) -> dict[str, Link]:
        """By name. Raises OSError, for a namespace that is gone too."""
        extra = struct.pack("=HHI", 8, _IFLA_EXT_MASK, _SKIP_STATS)
        if namespace is not None:
            extra += struct.pack("=HHi", 8, _IFLA_TARGET, namespace)
        found: dict[str, Link] = {}
        for body in self._dump(_GETLINK, _LINK.pack(0, 0, 0, 0, 0) + extra):
            _, _, index, flags, _ = _LINK.unpack_from(body)
            found_link = _link(index, flags, body)
            found[found_link.name] = found_link
        return found

    def addresses(self, namespace: int | None = None) -> dict[int, list[str]]:
        """Global addresses with prefix length, by the index of their link."""
        extra = b"" if namespace is None else struct.pack("=HHi", 8, _IFA_TARGET, namespace)
        found: dict[int, list[str]] = {}
        for body in self._dump(_GETADDR, _ADDR.pack(0, 0, 0, 0, 0) + extra):
            family, prefix, _, scope, index = _ADDR.unpack_from(body)
            if scope != _UNIVERSE:
                continue
            attributes = dict(_attributes(body, _ADDR.size))
            raw = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
            if raw:
                found.setdefault(index, []).append(f"{socket.inet_ntop(family, raw)}/{prefix}")
        return found

    def _dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        self._sequence += 1
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), kind, _REQUEST_DUMP, self._sequence, 0) + body)
        while True:
            data = self._socket.recv(1 << 17)
            offset = 0
            while offset < len(data):
                length, found, _, sequence, _ = _HEADER.unpack_from(data, offset)
                if sequence == self._sequence:
                    if found == _DONE:
                        return
                    if found == _ERROR:
                        raise OSError(-struct.unpack_from("=i", data, offset + _HEADER.size)[0], "netlink")
                    yield data[offset + _HEADER.size : offset + length]
                offset += (length + 3) & ~3


def _attributes(body: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    while offset + 4 <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, offset)
        if length < 4:
            return
        if kind in _WANTED:
            yield kind, body[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def _link(index: int, flags: int, body: bytes) -> Link:
    found = dict(_attributes(body, _LINK.size))
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
