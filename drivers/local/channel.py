"""A netlink socket: questions to the kernel, and its answers as bytes.

Owns: sending, matching answers to questions, errors, attributes.
Must not go here: what is asked (netlink.py, ruled.py).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Self

_DONE, _ERROR = 3, 2
_REQUEST, _REQUEST_DUMP = 0x1, 0x301
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_ROOM = 1 << 16
"""Bytes: twice what the kernel tells at once."""
_AT_ONCE = 64
"""Questions: their answers have to fit into what the kernel keeps for a socket."""
_KIND = 0x3FFF
"""Of an attribute's type; the other bits say how it is written."""


class Channel:
    """One socket, for one thread."""

    def __init__(self, protocol: int) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self.socket.settimeout(5)
        self._sequence = 0
        self._room = memoryview(bytearray(_ROOM))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def one(self, kind: int, body: bytes) -> bytes:
        """The answer to a question that has one. Raises OSError."""
        (found,) = self.several([(kind, body)])
        if isinstance(found, OSError):
            raise found
        return found

    def several(self, questions: Sequence[tuple[int, bytes]]) -> list[bytes | OSError]:
        """The answers to questions that have one each. Raises OSError where they cannot be asked."""
        found: list[bytes | OSError] = []
        for start in range(0, len(questions), _AT_ONCE):
            found += self._several(questions[start : start + _AT_ONCE])
        return found

    def _several(self, questions: Sequence[tuple[int, bytes]]) -> list[bytes | OSError]:
        first = self._sequence + 1
        text = b"".join(_question(kind, number, body) for number, (kind, body) in enumerate(questions, first))
        self._sequence += len(questions)
        self.socket.send(text)
        found: dict[int, bytes | OSError] = {}
        while len(found) < len(questions):
            for kind, sequence, body in self._heard():
                if sequence >= first:
                    found[sequence] = _error(body) if kind == _ERROR else body
        return [found[number] for number in range(first, first + len(questions))]

    def dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        """What the kernel lists, whole, so that nothing is left for the next question. Raises OSError."""
        self._sequence += 1
        self.socket.send(_HEADER.pack(_HEADER.size + len(body), kind, _REQUEST_DUMP, self._sequence, 0) + body)
        while True:
            for found, sequence, answer in self._heard():
                if sequence != self._sequence:
                    continue
                if found == _DONE:
                    return
                if found == _ERROR:
                    raise _error(answer)
                yield answer

    def _heard(self) -> Iterator[tuple[int, int, bytes]]:
        """Kind, sequence and body of what has come."""
        size = self.socket.recv_into(self._room, _ROOM, socket.MSG_TRUNC)
        if size > _ROOM:
            raise OSError("netlink: a longer answer than there is room for")
        data, offset = bytes(self._room[:size]), 0
        while offset < size:
            length, kind, _, sequence, _ = _HEADER.unpack_from(data, offset)
            yield kind, sequence, data[offset + _HEADER.size : offset + length]
            offset += (length + 3) & ~3


def _question(kind: int, sequence: int, body: bytes) -> bytes:
    raw = _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST, sequence, 0) + body
    return raw.ljust((len(raw) + 3) & ~3, b"\0")


def _error(body: bytes) -> OSError:
    return OSError(-int.from_bytes(body[:4], "little", signed=True), "netlink")


def attributes(body: bytes, offset: int, wanted: frozenset[int]) -> dict[int, bytes]:
    """Attributes of these types by type; the rest of what the kernel tells is passed over."""
    found: dict[int, bytes] = {}
    end = len(body)
    while offset + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(body, offset)
        if length < 4:
            break
        if kind & _KIND in wanted:
            found[kind & _KIND] = body[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def nested(body: bytes) -> Iterator[bytes]:
    """What a list holds, one after the other."""
    offset, end = 0, len(body)
    while offset + 4 <= end:
        length, _ = _ATTRIBUTE.unpack_from(body, offset)
        if length < 4:
            return
        yield body[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def attribute(kind: int, value: bytes) -> bytes:
    """One, as it is written into a question."""
    raw = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value
    return raw.ljust((len(raw) + 3) & ~3, b"\0")
