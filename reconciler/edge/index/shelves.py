"""Tables in a file, of which a process takes out only what it asks for.

Owns: the format of the file, and `Shelf`, a dict whose entries lie there until they are asked for. Must not go here:
what is kept in it (planning, documents), when it may be believed (memory).

An entry lies in one of many small blocks, which its key tells: to look one up costs a tenth of a millisecond, however
large the table. Blocks are compressed where that is worth while, and their sums are looked at when they are read.
Writing goes through a table once for every half million entries, so that no copy of it is ever held. The file says at
its end what is where.
"""

from __future__ import annotations

import mmap
import os
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Generic, NoReturn, TypeVar, cast

import msgspec

from reconciler.edge.state import beside

K = TypeVar("K")
V = TypeVar("V")

_BLOCK = 32
"""Entries in a block, about."""
_PASS = 500_000
"""Entries that are held while a table is written."""
_TAIL, _SUM = 8, 4
_MAGIC = b"trueup index 5\n"

_pack = msgspec.msgpack.Encoder().encode
_block = msgspec.msgpack.Decoder(dict[bytes, bytes]).decode


class Doubt(Exception):
    """What is kept cannot answer: it is damaged, or the question is about all of it. Who asks does without it."""


class _Place(msgspec.Struct, frozen=True):
    count: int
    base: int
    """What is counted from: where in the file the part begins that another process wrote, else 0."""
    offset: int
    """Of the blocks' offsets, one more than there are blocks; they are 8 bytes each."""
    blocks: int
    sum: int
    """Of the offsets."""
    short: bool
    """Its blocks lie there as they are, behind their sums; else they are zlib's."""


class _Foot(msgspec.Struct, frozen=True):
    tables: dict[str, _Place]
    whole: bytes


class Part(msgspec.Struct, frozen=True):
    """Tables that another process wrote."""

    tables: dict[str, _Place]
    data: bytes


class Tables:
    """Tables that are being written, one behind the other. Raises OSError."""

    def __init__(self) -> None:
        self._file: IO[bytes] = BytesIO()
        self._tables: dict[str, _Place] = {}

    def table(
        self, name: str, entries: Callable[[], Iterable[tuple[Any, Any]]], count: int, *, short: bool = False
    ) -> None:
        """`entries` is asked for once for each half million of the `count` entries, and gives the same each time.
        `short`: rows of which zlib makes half in twenty times the time."""
        blocks = max(1, count // _BLOCK)
        share = max(1, -(-blocks * _PASS // max(count, 1)))
        closed = _summed if short else _compressed
        offsets = array("Q", [self._file.tell()])
        for first in range(0, blocks, share):
            for block in _blocks(entries(), blocks, first, min(share, blocks - first)):
                self._file.write(closed(_pack(block)))
                offsets.append(self._file.tell())
        data = offsets.tobytes()
        self._tables[name] = _Place(count, 0, self._file.tell(), blocks, zlib.crc32(data), short)
        self._file.write(data)

    def part(self) -> Part:
        """All of it, for `Writer.take`."""
        self._file.seek(0)
        return Part(self._tables, self._file.read())


def _blocks(entries: Iterable[tuple[Any, Any]], of: int, first: int, count: int) -> list[dict[bytes, bytes]]:
    """So many of a table's blocks, from the first on."""
    pack, sum_of = _pack, zlib.crc32
    held: list[dict[bytes, bytes]] = [{} for _ in range(count)]
    if count == of:
        for key, value in entries:
            named = pack(key)
            held[sum_of(named) % of][named] = value if type(value) is bytes else pack(value)
        return held
    for key, value in entries:
        named = pack(key)
        number = sum_of(named) % of - first
        if 0 <= number < count:
            held[number][named] = value if type(value) is bytes else pack(value)
    return held


def _compressed(data: bytes) -> bytes:
    return zlib.compress(data, 1)


def _summed(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(_SUM, "big") + data


def _opened(data: bytes, *, short: bool) -> bytes:
    """What a block holds. Raises Doubt."""
    if short:
        if len(data) < _SUM or zlib.crc32(data[_SUM:]) != int.from_bytes(data[:_SUM], "big"):
            raise Doubt("a block is damaged")
        return data[_SUM:]
    try:
        return zlib.decompress(data)
    except zlib.error as error:
        raise Doubt(f"a block is damaged: {error}") from error


class Writer(Tables):
    """A file that is being written: it takes the place of the old one when all went well. Raises OSError."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self.whole: Any = None
        """What is read back at once, when the file is opened."""

    def __enter__(self) -> Writer:
        handle, self._name = beside(self._path)
        self._file = os.fdopen(handle, "wb")
        self._file.write(_MAGIC)
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        try:
            if kind is None:
                foot = _pack(_Foot(self._tables, _pack(self.whole)))
                self._file.write(foot + len(foot).to_bytes(4, "big") + zlib.crc32(foot).to_bytes(4, "big"))
                self._file.close()
                os.replace(self._name, self._path)
        finally:
            self._file.close()
            Path(self._name).unlink(missing_ok=True)

    def take(self, part: Part) -> None:
        """Tables that were written elsewhere."""
        base = self._file.tell()
        self._file.write(part.data)
        self._tables |= {name: msgspec.structs.replace(each, base=base) for name, each in part.tables.items()}


class Reader:
    """An open file of tables. Raises OSError where there is none, Doubt where it is damaged."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""
        data = self._data
        size, known = int.from_bytes(data[-8:-4], "big"), int.from_bytes(data[-4:], "big")
        foot = data[-_TAIL - size : -_TAIL] if len(data) > _TAIL + size else b""
        if data[: len(_MAGIC)] != _MAGIC or zlib.crc32(foot) != known:
            raise Doubt(f"{path} is damaged")
        found = msgspec.msgpack.decode(foot, type=_Foot)
        self._tables, self.whole = found.tables, found.whole
        self._last: dict[tuple[str, int], dict[bytes, bytes]] = {}

    def count(self, table: str) -> int:
        return self._tables[table].count

    def get(self, table: str, key: Any) -> bytes | None:
        """The packed value. Raises Doubt."""
        place, named = self._tables[table], _pack(key)
        number = zlib.crc32(named) % place.blocks
        block = self._last.get((table, number))
        if block is None:
            block = self._last[table, number] = self._read(place, number)
        return block.get(named)

    def _read(self, place: _Place, number: int) -> dict[bytes, bytes]:
        at = place.base + place.offset + 8 * number
        start, end = (place.base + offset for offset in array("Q", self._data[at : at + 16]))
        try:
            return _block(_opened(self._data[start:end], short=place.short))
        except msgspec.DecodeError as error:
            raise Doubt(f"a block is damaged: {error}") from error


Fetch = Callable[[Any], Any]
"""From a key to its value. Raises KeyError where there is none, Doubt."""


class Shelf(dict[K, V], Generic[K, V]):
    """A dict of `count` entries that are fetched one by one. Whoever walks through it meets Doubt."""

    __slots__ = ("_absent", "_count", "_fetch")

    def __init__(self, fetch: Callable[[K], V], count: int) -> None:
        super().__init__()
        self._fetch = fetch
        self._count = count
        self._absent: set[K] = set()

    @classmethod
    def of(cls, reader: Reader, table: str, kind: Any) -> Shelf[K, V]:
        """A table whose values are of this kind; `bytes` are taken as they are."""
        decode = None if kind is bytes else msgspec.msgpack.Decoder(kind).decode

        def fetch(key: K) -> V:
            found = reader.get(table, key)
            if found is None:
                raise KeyError(key)
            try:
                return cast(V, decode(found) if decode is not None else found)
            except msgspec.DecodeError as error:
                raise Doubt(f"{table} holds what is none of its: {error}") from error

        return cls(fetch, reader.count(table))

    def __missing__(self, key: K) -> V:
        if key in self._absent:
            raise KeyError(key)
        try:
            found = self._fetch(key)
        except KeyError:
            self._absent.add(key)
            raise
        super().__setitem__(key, found)
        return found

    def __contains__(self, key: object) -> bool:
        try:
            self[cast(K, key)]
        except KeyError:
            return False
        return True

    def get(self, key: K, default: Any = None) -> Any:
        try:
            return self[key]
        except KeyError:
            return default

    def setdefault(self, key: K, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def __setitem__(self, key: K, value: V) -> None:
        if key not in self:
            self._absent.discard(key)
            self._count += 1
        super().__setitem__(key, value)

    def __delitem__(self, key: K) -> None:
        self.pop(key)

    def pop(self, key: K, *default: Any) -> Any:
        if key not in self:
            if default:
                return default[0]
            raise KeyError(key)
        self._absent.add(key)
        self._count -= 1
        return super().pop(key)

    def update(self, *others: Any, **more: Any) -> None:
        for key, value in dict(*others, **more).items():
            self[key] = value

    def __len__(self) -> int:
        return self._count

    def __bool__(self) -> bool:
        return self._count > 0

    def __eq__(self, other: object) -> bool:
        return self is other or self._walk()

    def __ne__(self, other: object) -> bool:
        return self is not other and self._walk()

    __hash__ = None

    def __iter__(self) -> Iterator[K]:
        return self._walk()

    def _walk(self, *_: object) -> NoReturn:
        raise Doubt("all of a table is asked for")

    keys = values = items = copy = clear = popitem = __or__ = __ror__ = __ior__ = __reversed__ = _walk


def walked(table: Mapping[K, V]) -> tuple[Callable[[], Iterable[tuple[K, V]]], int]:
    """A mapping as `Writer.table` takes it."""
    return table.items, len(table)
