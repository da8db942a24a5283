"""The journal's file: rows in SQLite, each bound to the one before it by a hash.

Owns: the format on disk, durability, verification, and what damage looks like. Synchronous, one thread at a time.
Must not go here: sharing commits between tasks (journal), what entries mean (core.ledger).

A row is one durable commit: `count` entries as a JSON array, the first of which has the number `sequence`. (A row an
entry costs 4.3 us an entry here, a row a commit 1.) Its hash is BLAKE2b (16 bytes) over the previous row's hash, the
sequence, the time and the JSON, as stored. `head` repeats the last sequence and hash, so that rows missing from the
end are noticed, and a second writer is refused by the file itself. The chain shows accidents and careless edits;
whoever can rewrite the whole file can rewrite the chain as well. `SELECT * FROM readable` is for people.
"""

from __future__ import annotations

import os
import sqlite3
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union, get_args

import msgspec

from reconciler.core.hashes import blake2b
from reconciler.core.ledger import Entry, Ledger, Record, Sealed, Settled
from reconciler.edge.forked import possible
from reconciler.errors import JournalBroken, JournalUnwritable, StateUnusable, TrueupError

if TYPE_CHECKING:
    from reconciler.edge.checkpoint import Checkpoint  # who asks for the head alone does without

FORMAT = 1
_APPLICATION = 0x74727570  # "trup", so that file(1) and we know whose file it is
_ORIGIN = bytes(16)
_PLACE = struct.Struct(">qd")
_KEEPING = 2047
"""Bytes that are hashed without letting go of the interpreter's lock. A busy event loop would take it, and give it back
only once it had nothing more to do: then it would wait for the commit instead of working beside it."""
_OTHER_WRITER = "another process wrote to the journal"

encoded = msgspec.json.Encoder(order="deterministic").encode
"""Entries as a row stores them."""
_decode = msgspec.json.Decoder(tuple[Entry, ...]).decode
_KEPT: Any = Union[tuple(Sealed if kind is Settled else kind for kind in get_args(Entry))]  # noqa: UP007 - made here
_decode_sealed = msgspec.json.Decoder(tuple[_KEPT, ...]).decode

_SCHEMA = f"""
CREATE TABLE journal (
  sequence INTEGER PRIMARY KEY, count INTEGER NOT NULL, at REAL NOT NULL, entries BLOB NOT NULL,
  previous BLOB NOT NULL, hash BLOB NOT NULL
) STRICT;
CREATE TABLE head (one INTEGER PRIMARY KEY CHECK (one = 1), sequence INTEGER NOT NULL, hash BLOB NOT NULL) STRICT;
INSERT INTO head VALUES (1, 0, zeroblob(16));
CREATE VIEW readable AS
  SELECT journal.sequence + part.key AS sequence, datetime(at, 'unixepoch') AS at, part.value AS entry
  FROM journal, json_each(CAST(entries AS TEXT)) AS part;
CREATE TRIGGER one_writer BEFORE INSERT ON journal
  WHEN NEW.previous IS NOT (SELECT hash FROM head) OR NEW.sequence IS NOT (SELECT sequence + 1 FROM head)
  BEGIN SELECT RAISE(ABORT, '{_OTHER_WRITER}'); END;
CREATE TRIGGER advance AFTER INSERT ON journal
  BEGIN UPDATE head SET sequence = NEW.sequence + NEW.count - 1, hash = NEW.hash; END;
CREATE TRIGGER append_only_update BEFORE UPDATE ON journal BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER append_only_delete BEFORE DELETE ON journal BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {FORMAT};
"""

_REBUILD = "`trueup journal rebuild` keeps this one aside and makes a new one from git and the nodes"


def link(previous: bytes, sequence: int, at: float, entry: bytes) -> bytes:
    """The hash of one row: 16 bytes."""
    told = blake2b(previous + _PLACE.pack(sequence, at), digest_size=16)
    for start in range(0, len(entry), _KEEPING):
        told.update(entry[start : start + _KEEPING])
    return told.digest()


class Chain:
    """An open journal file. `sequence` is that of the last row (0: empty)."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._db = connection
        with _told(path):
            row = connection.execute("SELECT sequence, hash FROM head").fetchone()
        if row is None:
            raise JournalBroken(f"{path}: the journal's head is missing", hint=_REBUILD)
        self._head: tuple[int, bytes] = (row[0], row[1])

    @property
    def head(self) -> tuple[int, bytes]:
        """Sequence and hash of the last row: two journals with one head are the same."""
        return self._head

    @property
    def sequence(self) -> int:
        return self._head[0]

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False) -> Chain:
        """Opens, making a new one where there is none (unless `read_only`).

        Raises JournalBroken for a file that is no journal, JournalUnwritable, StateUnusable for permissions and for
        a format that this version does not know.
        """
        if not present(path) and read_only:
            raise StateUnusable(f"{path}: there is no journal yet", hint="`trueup apply` begins one")
        with _told(path):
            connection = _connect(path, read_only=read_only)
        try:
            with _told(path):
                if not read_only and _is_empty(connection):
                    _lay_out(connection)
                    _begun(path).touch(mode=0o600)
                _check_format(path, connection)
            return cls(path, connection)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self._db.close()

    def append(self, entries: Sequence[Entry], at: float) -> int:
        """Adds all of the entries or none; durable on return. The sequence of the first. Raises JournalUnwritable."""
        return self.add(encoded(entries), len(entries), at)

    def add(self, text: bytes, count: int, at: float) -> int:
        """The same of so many entries as they are stored (`encoded`)."""
        last, previous = self._head
        current = link(previous, last + 1, at, text)
        with _told(self.path):
            # one statement, so one commit, and the interpreter's lock is let go of once
            self._db.execute(
                "INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?)", (last + 1, count, at, text, previous, current)
            )
        self._head = (last + count, current)
        return last + 1

    def records(self) -> Iterator[Record]:
        """Every entry, each row verified. Raises JournalBroken, naming the first row at fault."""
        return self._records(_decode)

    def records_after(self, sequence: int, head: bytes) -> list[Record]:
        """Every entry after the row of which this was the sequence and the hash, each row verified. Raises
        JournalBroken, also where there is no such row."""
        return list(self._records(_decode, (sequence, head or _ORIGIN)))

    def ledger(self, pace: Callable[[Iterator[Record]], Iterator[Record]] = iter) -> Ledger:
        """All of them folded. `pace`: gives the records on, and may wait. Raises as `records`."""
        return Ledger(pace(self._records(_decode_sealed)))

    def ended(self, sequence: int, current: bytes) -> bool:
        """Whether a row of it ended with this entry, and had this hash. Raises JournalBroken."""
        if (sequence, current) == self._head:
            return True
        with _told(self.path):
            row = self._db.execute("SELECT previous FROM journal WHERE sequence = ?", (sequence + 1,)).fetchone()
        return row is not None and row[0] == current

    def onward(self, kept: Checkpoint) -> Ledger | None:
        """A checkpoint's ledger, with each row after it verified and folded; None where it is none of this journal's,
        or is not whole."""
        with suppress(JournalBroken):
            ledger = kept.ledger() if self.ended(*kept.row) else None
            if ledger is not None:
                for record in self._records(_decode_sealed, kept.row):
                    ledger.fold(record)
            return ledger
        return None

    def _records(
        self, decode: Callable[[bytes], tuple[Any, ...]], start: tuple[int, bytes] = (0, _ORIGIN)
    ) -> Iterator[Record]:
        known, previous = start
        with _told(self.path):
            rows = self._db.execute(
                "SELECT sequence, count, at, entries, previous, hash FROM journal WHERE sequence > ? ORDER BY sequence",
                (known,),
            )
            for sequence, count, at, text, before, current in rows:
                if sequence != known + 1:
                    raise self._broken(known + 1, "is missing")
                if not (type(count) is int and type(at) is float and type(text) is type(before) is bytes):
                    raise self._broken(sequence, "is damaged")
                if before != previous or link(before, sequence, at, text) != current:
                    raise self._broken(sequence, "was changed: its hash does not fit")
                entries = self._entries(sequence, count, decode, text)
                for place, entry in enumerate(entries, sequence):
                    yield Record(place, at, entry)
                known, previous = sequence + count - 1, current
        if (known, previous) != self._head:
            raise self._broken(known + 1, "and those after it are missing")

    def _entries(
        self, sequence: int, count: int, decode: Callable[[bytes], tuple[Any, ...]], text: bytes
    ) -> tuple[Any, ...]:
        try:
            entries = decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._broken(sequence, f"cannot be read: {error}") from error
        if len(entries) != count:
            raise self._broken(sequence, f"holds {len(entries)} entries, not {count}")
        return entries

    def _broken(self, sequence: int, what: str) -> JournalBroken:
        return JournalBroken(f"{self.path}: row {sequence} of the journal {what}", hint=_REBUILD)


def present(path: Path) -> bool:
    """Whether there is a journal. Raises JournalBroken if there was one once: a memory that is gone is not an empty one
    (spent budgets and approvals would be forgotten with it)."""
    if path.exists() and path.stat().st_size > 0:
        return True
    if _begun(path).exists():
        raise JournalBroken(f"{path}: the journal is gone", hint=f"put it back, or: {_REBUILD}")
    return False


def read(path: Path) -> Ledger:
    """The ledger as it stands, for those who only look (`status`, `plan`): verified from its checkpoint on, nothing
    kept open. What lies before that is proved whenever the journal is opened to be written, and by `records`.

    Raises as Chain.open and `records`; an empty ledger where there is no journal yet.
    """
    if not present(path):
        return Ledger()
    # the checkpoint first: whoever writes both writes the journal before it
    with _opened(path) as (kept, chain):
        return (kept and chain.onward(kept)) or whole(chain)


def kept(path: Path) -> bool:
    """Whether `read` finds a checkpoint that fits, so that it is quick. False on any doubt."""
    try:
        with _opened(path) as (found, chain):
            return found is not None and chain.ended(*found.row)
    except TrueupError:
        return False


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Checkpoint | None, Chain]]:
    from reconciler.edge.checkpoint import Checkpoint

    with ExitStack() as stack:
        found = Checkpoint.open(path)
        if found is not None:
            stack.callback(found.close)
        chain = Chain.open(path, read_only=True)
        stack.callback(chain.close)
        yield found, chain


def whole(chain: Chain) -> Ledger:
    """Every row, verified and folded: of a large journal by another process, then what is read and thrown away leaves
    no gaps in this one's memory. Raises as `records`."""
    if large(chain.path):
        from reconciler.edge.folded import Folding

        found = Folding(chain.path).ledger(chain.head)
        if found is not None:
            return found
    return chain.ledger()


def _begun(path: Path) -> Path:
    """Says beside the journal that there is one."""
    return path.with_name(f"{path.name}-begun")


def set_aside(path: Path, now: float) -> Path | None:
    """Moves a journal away, whatever its state, with all that SQLite keeps beside it. None if there was none.

    Nobody may have it open: the caller holds the datacenter's lock.
    """
    from reconciler.edge.checkpoint import remove

    _begun(path).unlink(missing_ok=True)
    remove(path)
    if not path.exists():
        return None
    aside = path.with_name(f"{path.stem}-aside-{int(now)}{path.suffix}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.stem}-aside-{int(now)}-{number}{path.suffix}")
    try:
        for suffix in ("-wal", "-shm"):
            beside = path.with_name(path.name + suffix)
            if beside.exists():
                os.replace(beside, aside.with_name(aside.name + suffix))
        os.replace(path, aside)
    except OSError as error:
        raise StateUnusable(f"{path}: cannot be set aside: {error.strerror}") from error
    return aside


def _connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    mode = "ro" if read_only else "rwc"
    target = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(target, uri=True, isolation_level=None, check_same_thread=False, timeout=5)
    try:
        if not read_only:
            os.chmod(path, 0o600)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
        # asks the file for the first time, so that one which is no database is told here
        connection.execute("PRAGMA user_version")
        if read_only:
            connection.execute("BEGIN")  # the head and the rows of one moment, while somebody writes
    except BaseException:
        connection.close()
        raise
    return connection


LARGE = 4 << 20
"""Bytes of a journal from which a process of its own is paid back: some 3,000 machines."""


def large(path: Path) -> bool:
    """Whether it is worth while to have it folded by another process (folded)."""
    try:
        return path.stat().st_size >= LARGE and possible()
    except OSError:
        return False


def _is_empty(connection: sqlite3.Connection) -> bool:
    with closing(connection.execute("SELECT count(*) FROM sqlite_schema")) as cursor:
        return bool(cursor.fetchone()[0] == 0)


def _lay_out(connection: sqlite3.Connection) -> None:
    connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")


def _check_format(path: Path, connection: sqlite3.Connection) -> None:
    found = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if found != _APPLICATION:
        raise JournalBroken(f"{path}: this is a database, but no journal of trueup", hint=_REBUILD)
    if version != FORMAT:
        raise StateUnusable(
            f"{path}: the journal has format {version}, this trueup knows {FORMAT}",
            hint="use the version of trueup that wrote it" if version > FORMAT else _REBUILD,
        )


class _told:
    """Translates what SQLite says of the file; in lower case, as it reads as a statement."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, sqlite3.Error):
            raise _translate(self._path, error) from error
        if isinstance(error, PermissionError):
            raise StateUnusable(f"{self._path}: the journal cannot be opened: {error.strerror}") from error


def _translate(path: Path, error: sqlite3.Error) -> JournalBroken | JournalUnwritable | StateUnusable:
    told = getattr(error, "sqlite_errorcode", None)
    if told is None:  # Python's own complaint about what it found in a column; it quotes the bytes
        return JournalBroken(f"{path}: the journal is damaged: it holds what was never written to it", hint=_REBUILD)
    code = told & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT):
        return JournalBroken(f"{path}: the journal is damaged: {error}", hint=_REBUILD)
    if code == sqlite3.SQLITE_CONSTRAINT:
        return JournalUnwritable(f"{path}: {error}", hint="end it, or use its socket")
    if code == sqlite3.SQLITE_FULL:
        return JournalUnwritable(
            f"{path}: the disk is full", hint="make room, then try again: it goes on from what is there"
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return JournalUnwritable(f"{path}: another process holds the journal", hint="end it, or use its socket")
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_AUTH):
        return StateUnusable(f"{path}: the journal cannot be opened or written: {error}", hint="whose folder is it?")
    if code == sqlite3.SQLITE_ERROR:  # a table that is not there, columns that are others
        return JournalBroken(f"{path}: the journal is not laid out as it should be: {error}", hint=_REBUILD)
    return JournalUnwritable(f"{path}: the journal cannot be used: {error}")
