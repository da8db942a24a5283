"""The ledger as it stood after one row of the journal, kept beside it, so that those who only look need not fold all
that came before.

Owns: a ledger as bytes, the file of them, when one is worth writing, and that it is void on any doubt. Must not go
here: reading the journal (chain), what entries do to a ledger (core).

It is a memory of work, never an authority: whoever cannot use it folds the whole journal. It names the row by its
number and its hash, which is of that journal and of all that came before. What it says hangs on how this program folds
as well, so the sources of the modules that do are the seed of its seals: another program's is as void as a torn one.
"""

from __future__ import annotations

import os
import stat
import struct
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from itertools import islice
from pathlib import Path
from typing import IO, Any

import msgspec

from reconciler.core.bindings import Bindings
from reconciler.core.desired import Demand
from reconciler.core.hashes import blake2b
from reconciler.core.ledger import Applied, Held, Intent, Ledger, Paused, Result, Run, Spent, Status
from reconciler.core.outages import Outages
from reconciler.core.refs import Ref, Target
from reconciler.core.rests import Rests
from reconciler.core.words import Words

FEW = 500
"""Entries that are folded as quickly as a checkpoint is taken up."""
_SHARE = 8
"""One is written once as many entries have come as an eighth of what it would hold: a few microseconds an entry."""
_MANY = 20_000
"""Rows that go together."""

FOLDING = ("binding", "bindings", "entries", "hashes", "ledger", "outages", "refs", "rests", "values", "words")
"""Modules of the core that say what a ledger is after an entry."""

_FRAME = struct.Struct(">Q16s")
"""Length and seal of what follows: 16 bytes over the seal before and the bytes."""

_encode = msgspec.msgpack.Encoder().encode


class Brief(msgspec.Struct):
    """A ledger but for its bindings. `runs`: generation and outcomes of each."""

    sequence: int
    last_at: float
    rests: Rests
    outages: Outages
    claims: dict[Target, str]
    covered: set[Target]
    written: dict[Target, int]
    in_flight: dict[tuple[str, str], Intent]
    flying: dict[Target, int]
    halfway: dict[tuple[Ref, Target | None], Result]
    runs: dict[str, tuple[int, dict[str, Status]]]
    applied: Applied | None
    witnessed: set[Ref]
    accepted: set[str]
    spent: list[tuple[float, Spent]]
    pauses: dict[str, Paused]
    lifted: dict[str, frozenset[float]]
    held: dict[Ref, Held]

    @classmethod
    def of(cls, ledger: Ledger) -> Brief:
        runs = {plan: (run.generation, run.outcomes) for plan, run in ledger.runs.items()}
        names = (name for name in cls.__struct_fields__ if name != "runs")
        return cls(**{name: getattr(ledger, name) for name in names}, runs=runs)

    def tell(self, ledger: Ledger) -> None:
        """Put it into a ledger, in place of what is there."""
        for name in self.__struct_fields__:
            if name != "runs":
                setattr(ledger, name, getattr(self, name))
        ledger.runs = {}
        for plan, (generation, outcomes) in self.runs.items():
            ledger.runs[plan] = Run(generation, outcomes)


class _Head(msgspec.Struct, array_like=True):
    """All but the rows of things that are in one place. `each`: rows of the others."""

    brief: Brief
    words: list[Any]
    each: list[tuple[Ref, bytes]]
    past: dict[Ref, int]


# -- a ledger as bytes -------------------------------------------------------------------------------------------------


def head_of(ledger: Ledger) -> bytes:
    """What `taken` wants first. The rows (`bindings.single`) follow as `rows` cuts them."""
    bindings = ledger.bindings
    each = [(ref, bindings.packed(binding)) for (ref, _), binding in bindings.each.items()]
    return _encode(_Head(Brief.of(ledger), bindings.words.values, each, bindings.past))


def rows(single: dict[Ref, bytes], *, drop: bool = False) -> Iterator[bytes]:
    """`drop`: what was given is taken out, so that nobody holds it twice."""
    left = iter(single.items())
    while part := dict(islice(left, _MANY)):
        yield _encode(part)
        if drop:
            for ref in part:
                del single[ref]
            left = iter(single.items())


def taken(parts: Iterator[bytes]) -> Ledger:
    """The ledger of which these are the head and the rows. Raises msgspec.DecodeError, and what `parts` raises."""
    head = _head_decoder().decode(next(parts))
    ledger = Ledger()
    head.brief.tell(ledger)
    bindings = ledger.bindings = Bindings.from_rows(Words.of(map(word_of, head.words)), head.each, head.past)
    decode = msgspec.msgpack.Decoder(dict[Ref, bytes]).decode
    for part in parts:
        bindings.single.update(decode(part))
    return ledger


@cache
def _head_decoder() -> msgspec.msgpack.Decoder[_Head]:
    return msgspec.msgpack.Decoder(_Head)


def word_of(told: Any) -> Any:
    """A word as it was, of what msgpack made of it. A planner numbers demands and tuples of refs among the others."""
    if type(told) is dict:
        return msgspec.convert(told, Demand)
    return tuple(told) if type(told) is list else told


# -- the file ----------------------------------------------------------------------------------------------------------


def place(journal: Path) -> Path:
    return journal.with_name(f"{journal.name}-ledger")


class Checkpoint:
    """An open one, to be read once. `row`: sequence and hash of the last row of the journal that is in it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._parts = _unsealed(file)
        self.row = msgspec.msgpack.decode(next(self._parts), type=tuple[int, bytes])

    @classmethod
    def open(cls, journal: Path) -> Checkpoint | None:
        """That of a journal; None where there is none, or none of this program's. Files of others are not believed."""
        with suppress(OSError, msgspec.DecodeError):
            file = place(journal).open("rb")
            try:
                found = os.fstat(file.fileno())
                if found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                    return cls(file)
            except BaseException:
                file.close()
                raise
            file.close()
        return None

    def ledger(self) -> Ledger | None:
        """None where it is not whole."""
        try:
            return taken(self._parts)
        except (OSError, msgspec.DecodeError):
            return None

    def whole(self) -> bool:
        try:
            return all(self._parts)
        except OSError:
            return False

    def close(self) -> None:
        self._file.close()


def write(journal: Path, row: tuple[int, bytes], parts: Iterable[bytes]) -> None:
    """In place of the one before, without waiting for the disk: the seals tell whether it came there. Raises OSError.

    One writes at a time, so the new file has one name: what a kill leaves of it is written over the next time.
    """
    path = place(journal)
    new = path.with_name(f"{path.name}-new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(new, flags, 0o600), "wb") as file:
        seal = _seed()
        for part in (_encode(row), *parts, b""):
            seal = _seal(seal, part)
            file.write(_FRAME.pack(len(part), seal))
            file.write(part)
    os.replace(new, path)


def remove(journal: Path) -> None:
    """Raises OSError."""
    place(journal).unlink(missing_ok=True)


def _unsealed(file: IO[bytes]) -> Iterator[bytes]:
    """The parts, until an empty one. Raises OSError at the first that is not what was written."""
    seal, size = _seed(), os.fstat(file.fileno()).st_size
    while True:
        head = file.read(_FRAME.size)
        length, told = _FRAME.unpack(head) if len(head) == _FRAME.size else (size + 1, b"")
        part = file.read(length) if length <= size else b""
        seal = _seal(seal, part)
        if seal != told:
            raise OSError("this is not what was written")
        if not part:
            return
        yield part


def _seal(before: bytes, part: bytes) -> bytes:
    told = blake2b(before, digest_size=16)
    told.update(part)
    return told.digest()


@cache
def _seed() -> bytes:
    """One token for how this program folds, and for this file. Raises OSError where its sources cannot be read."""
    here = Path(__file__)
    core = here.parents[1] / "core"
    told = blake2b(digest_size=16)
    for source in (here, *(core / f"{name}.py" for name in FOLDING)):
        told.update(source.read_bytes())
    return told.digest()


# -- when --------------------------------------------------------------------------------------------------------------


class Checkpoints:
    """The checkpoints of one journal that is being written. `last`: the entry up to which there is one."""

    def __init__(self, journal: Path, last: int) -> None:
        self._journal = journal
        self._last = last
        self.thread: threading.Thread | None = None
        """What writes the one that was begun last."""

    def offer(self, ledger: Ledger, row: tuple[int, bytes]) -> None:
        """Begins to write one, best effort, if so much has come since the last that it is worth it, and if the ledger
        stands at this row: what is not folded yet comes with the next."""
        since = ledger.sequence - self._last
        if since < FEW or row[0] != ledger.sequence or since * _SHARE < _size(ledger):
            return
        if self.thread is not None and self.thread.is_alive():
            return
        self._last = ledger.sequence
        head, single = head_of(ledger), ledger.bindings.single.copy()  # the ledger goes on meanwhile

        def work() -> None:
            with suppress(OSError):
                write(self._journal, row, _joined(head, single))

        self.thread = threading.Thread(target=work, name="checkpoint", daemon=True)
        self.thread.start()


def _joined(head: bytes, single: dict[Ref, bytes]) -> Iterator[bytes]:
    yield head
    yield from rows(single)


def _size(ledger: Ledger) -> int:
    """How much there is to write, in things."""
    return len(ledger.bindings) + len(ledger.spent) + sum(map(len, ledger.runs.values()))
