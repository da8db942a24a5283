"""Reading the kernel's network interfaces over one rtnetlink socket: no process, no text to take apart.

Owns: asking for links and addresses, of the host and of a zone's namespace through the host's number for it: for those
that are meant, one by one. A dump grows with all else that the host has, and each of many nodes on it would read that.
Must not go here: changing anything, what a link is for.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator

import msgspec

_GETLINK, _GETADDR = 18, 22
_REQUEST, _REQUEST_DUMP = 0x1, 0x301
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
_NAME = 16
"""Bytes that a link's name may have, the zero at its end included."""
_UNIVERSE = 0
_LIGHT = struct.pack("=HHI", 8, _IFLA_EXT_MASK, _SKIP_STATS)


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

    def links(self) -> list[str]:
        """The names of all links of the host."""
        return [_link(body).name for body in self._ask(_GETLINK, _LINK.pack(0, 0, 0, 0, 0) + _LIGHT, _REQUEST_DUMP)]

    def named(self, name: str) -> Link | None:
        """One link of the host, if it is there. Raises OSError."""
        raw = name.encode() + b"\0"
        if len(raw) > _NAME:
            return None
        attribute = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(raw), _IFLA_NAME) + raw
        found = self._one(_LINK.pack(0, 0, 0, 0, 0) + _LIGHT + attribute.ljust((len(attribute) + 3) & ~3, b"\0"))
        return found if found is not None and found.name == name else None  # it may be another name of that link

    def inside(self, namespace: int, index: int) -> Link | None:
        """One link of another namespace, by the host's number for that. Raises OSError, where it is gone too."""
        return self._one(_LINK.pack(0, 0, index, 0, 0) + _LIGHT + struct.pack("=HHi", 8, _IFLA_TARGET, namespace))

    def addresses(self, index: int, namespace: int | None = None) -> list[str]:
        """Global addresses of a link, with prefix length; none of one that is gone. Raises OSError."""
        extra = b"" if namespace is None else struct.pack("=HHi", 8, _IFA_TARGET, namespace)
        found: list[str] = []
        try:
            for body in self._ask(_GETADDR, _ADDR.pack(0, 0, 0, 0, index) + extra, _REQUEST_DUMP):
                family, prefix, _, scope, link = _ADDR.unpack_from(body)
                if scope != _UNIVERSE or link != index:
                    continue
                attributes = dict(_attributes(body, _ADDR.size))
                raw = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
                if raw:
                    found.append(f"{socket.inet_ntop(family, raw)}/{prefix}")
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
        return found

    def _one(self, body: bytes) -> Link | None:
        try:
            return next((_link(found) for found in self._ask(_GETLINK, body, _REQUEST)), None)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            return None

    def _ask(self, kind: int, body: bytes, flags: int) -> Iterator[bytes]:
        """What the kernel answers, whole, so that nothing is left for the next question. Raises OSError."""
        self._sequence += 1
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, self._sequence, 0) + body)
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
                    if flags == _REQUEST:
                        return
                offset += (length + 3) & ~3


def _attributes(body: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    while offset + 4 <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, offset)
        if length < 4:
            return
        if kind in _WANTED:
            yield kind, body[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def _link(body: bytes) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(body)
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
