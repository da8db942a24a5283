"""Tables in a file, of which a process takes out only what it asks for.

Owns: the format of the file, and `Shelf`, a dict whose entries lie there until they are asked for. Must not go here:
what is kept in it (planning, documents), when it may be believed (memory).

The entries of a table lie in the order of their keys, a few in a block, and pages tell where a block begins: to look
one up costs some twenty microseconds, and hardly more in a large table. Blocks are compressed where that is worth
while; the sum of each and of each page is looked at when it is read. The file says at its end what is where.
"""

from __future__ import annotations

import mmap
import os
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Generic, NoReturn, TypeVar, cast

import msgspec

from reconciler.edge.state import beside

K = TypeVar("K")
V = TypeVar("V")

_BLOCK = 32
"""Entries in a block."""
_PAGE = 256
"""Blocks of which a page tells, or pages."""
_LITTLE = 5_000
"""Entries of a table that is not worth compressing."""
_HELD = 1 << 16
"""Bytes that are written at a time, at least."""
_TAIL, _SUM = 8, 4
_MAGIC = b"trueup index 6\n"

_pack = msgspec.msgpack.Encoder().encode
_block = msgspec.msgpack.Decoder(dict[Any, msgspec.Raw]).decode
_page = msgspec.msgpack.Decoder(tuple[dict[Any, int], int]).decode


class Doubt(Exception):
    """What is kept cannot answer: it is damaged, or the question is about all of it. Who asks does without it."""


class _Place(msgspec.Struct, frozen=True):
    count: int
    base: int
    """What is counted from: where in the file the part begins that another process wrote, else 0."""
    start: int
    """Of the topmost page, or of the only block; of an empty table this is its end."""
    end: int
    depth: int
    """How many pages lie above a block."""
    short: bool
    """Its blocks lie there as they are, behind their sums; else they are zlib's."""


class _Foot(msgspec.Struct, frozen=True):
    tables: dict[str, _Place]
    whole: bytes


class Part(msgspec.Struct, frozen=True):
    """Tables that another process wrote."""

    tables: dict[str, _Place]
    data: memoryview


class Tables:
    """Tables that are being written, one behind the other. Raises OSError."""

    def __init__(self) -> None:
        self._file: IO[bytes] = BytesIO()
        self._at = 0
        self._tables: dict[str, _Place] = {}

    def table(
        self,
        name: str,
        rows: Mapping[K, Any],
        value: Callable[[K], Any] | None = None,
        *,
        short: bool = False,
        block: int = _BLOCK,
    ) -> None:
        """Keys are of one kind, which has an order. `value`: what is laid down for a key, if that is not what `rows`
        has. `short`: rows of which zlib makes half in twenty times the time. `block`: entries in one."""
        short = short or len(rows) <= _LITTLE
        pack, closed, value = _pack, _summed if short else _compressed, value or rows.__getitem__
        keys = sorted(cast(Mapping[Any, Any], rows))
        runs = [keys[begin : begin + block] for begin in range(0, len(keys), block)]
        starts = [self._at, *[self._put(closed(pack({key: value(key) for key in run}))) for run in runs]]
        self._turn(name, len(keys), [run[0] for run in runs], starts, short=short)

    def long(self, name: str, rows: Mapping[K, bytes]) -> None:
        """The same of long values, each as it is in a block of its own: none is copied."""
        keys, starts = sorted(cast(Mapping[Any, Any], rows)), [self._at]
        for key in keys:
            value = rows[key]
            head = b"\x81" + _pack(key) + b"\xc6" + len(value).to_bytes(4, "big")  # a map of one, to bytes
            self._put(zlib.crc32(value, zlib.crc32(head)).to_bytes(_SUM, "big") + head)
            starts.append(self._put(value))
        self._turn(name, len(keys), keys, starts, short=True)

    def _turn(self, name: str, count: int, firsts: list[Any], starts: list[int], *, short: bool) -> None:
        """Pages above blocks that begin with these keys, and there; the last of these is where the last block ends."""
        depth = 0
        while len(firsts) > 1:
            cuts = range(0, len(firsts), _PAGE)
            lower = [dict(zip(firsts[at : at + _PAGE], starts[at:-1], strict=False)) for at in cuts]
            ends = [starts[min(at + _PAGE, len(firsts))] for at in cuts]
            starts = [self._at, *[self._put(_summed(_pack(page))) for page in zip(lower, ends, strict=True)]]
            firsts, depth = firsts[::_PAGE], depth + 1
        self._tables[name] = _Place(count, 0, starts[0], starts[-1], depth, short)

    def _put(self, data: bytes | memoryview) -> int:
        """Gives where it ends."""
        self._file.write(data)
        self._at += len(data)
        return self._at

    def has(self, name: str) -> bool:
        return name in self._tables

    def part(self) -> Part:
        """All of it, for `Writer.take`."""
        self._file.seek(0)
        return Part(self._tables, memoryview(self._file.read()))


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
        self._file = os.fdopen(handle, "wb", _HELD)
        self._put(_MAGIC)
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
        base = self._at
        self._put(part.data)
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
        self._pages: dict[int, tuple[list[Any], list[int]]] = {}
        self._blocks: dict[int, dict[Any, msgspec.Raw]] = {}

    def count(self, table: str) -> int:
        return self._tables[table].count

    def get(self, table: str, key: Any) -> msgspec.Raw | None:
        """The packed value. Raises Doubt."""
        place = self._tables[table]
        start, end = place.base + place.start, place.base + place.end
        if start == end:
            return None
        for _ in range(place.depth):
            firsts, starts = self._pages.get(start) or self._turned(place, start, end)
            number = bisect_right(firsts, key)
            if not number:
                return None
            start, end = starts[number - 1], starts[number]
        block = self._blocks.get(start)
        if block is None:
            block = self._blocks[start] = self._read(place, start, end)
        return block.get(key)

    def _turned(self, place: _Place, start: int, end: int) -> tuple[list[Any], list[int]]:
        """The first keys that a page tells of, and where each begins, and the last ends."""
        try:
            below, last = _page(_opened(self._data[start:end], short=True))
        except msgspec.DecodeError as error:
            raise Doubt(f"a page is damaged: {error}") from error
        found = self._pages[start] = [*below], [place.base + at for at in (*below.values(), last)]
        return found

    def _read(self, place: _Place, start: int, end: int) -> dict[Any, msgspec.Raw]:
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
        """A table whose values are of this kind."""
        decode = msgspec.msgpack.Decoder(kind).decode

        def fetch(key: K) -> V:
            found = reader.get(table, key)
            if found is None:
                raise KeyError(key)
            try:
                return cast(V, decode(found))
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
