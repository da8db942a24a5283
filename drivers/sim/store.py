"""The fleet's file: one SQLite database that holds targets, objects, faults and the log of what was done.

Owns: the schema, transactions, and that digests always fit what is stored.
Must not go here: rules of a node (engine), when to fail (faults), the driver contract.

A target keeps the sum of its objects' digests (modulo 2**128), mended with every write, so that its report's digest
costs one row however many objects it has. A sum is enough where nobody forges objects.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from reconciler.core.observed import Capacity, Claim, Marks, Object
from reconciler.core.values import digest

SCHEMA = """
CREATE TABLE IF NOT EXISTS target (
  name TEXT PRIMARY KEY, node TEXT NOT NULL, identity TEXT, capacity BLOB NOT NULL, carries BLOB, claim BLOB,
  minted INTEGER NOT NULL DEFAULT 0, sum TEXT NOT NULL DEFAULT '0',
  latency BLOB NOT NULL DEFAULT '{}', broken BLOB NOT NULL DEFAULT '{}'
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS target_node ON target (node);
CREATE TABLE IF NOT EXISTS object (
  target TEXT NOT NULL, kind TEXT NOT NULL, native TEXT NOT NULL, uid TEXT, data BLOB NOT NULL,
  hidden BLOB, used INTEGER NOT NULL DEFAULT 0, ready INTEGER NOT NULL DEFAULT 1,
  PRIMARY KEY (target, kind, native)
);
CREATE INDEX IF NOT EXISTS object_uid ON object (target, uid) WHERE uid IS NOT NULL;
CREATE TABLE IF NOT EXISTS fault (
  id INTEGER PRIMARY KEY, target TEXT NOT NULL, verb TEXT NOT NULL, ref TEXT NOT NULL, how TEXT NOT NULL,
  nth INTEGER NOT NULL, times INTEGER NOT NULL, seconds REAL NOT NULL, reason TEXT NOT NULL, seen INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS fleet (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL, version INTEGER NOT NULL);
INSERT OR IGNORE INTO fleet VALUES (1, hex(randomblob(8)), 0);
CREATE TRIGGER IF NOT EXISTS target_new AFTER INSERT ON target BEGIN UPDATE fleet SET version = version + 1; END;
CREATE TRIGGER IF NOT EXISTS target_other AFTER UPDATE ON target BEGIN UPDATE fleet SET version = version + 1; END;
CREATE TRIGGER IF NOT EXISTS target_gone AFTER DELETE ON target BEGIN UPDATE fleet SET version = version + 1; END;
CREATE TABLE IF NOT EXISTS act (
  id INTEGER PRIMARY KEY, target TEXT NOT NULL, step TEXT NOT NULL, verb TEXT NOT NULL, ref TEXT NOT NULL,
  uid TEXT NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL, fence INTEGER NOT NULL
);
"""

object_of = msgspec.json.Decoder(Object).decode
"""An object as it is kept."""
_objects = msgspec.json.Decoder(list[Object])
_encode = msgspec.json.Encoder(order="sorted").encode


class Broken(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is wrong with a target beyond its objects, as long as it is not repaired."""

    unreachable: str | None = None
    partial: str | None = None
    hide: tuple[str, ...] = ()
    """Native names that a partial listing leaves out."""
    hang: bool = False
    identity: str | None = None
    """The identity it had before it became another node."""
    claim: Claim | None = None
    """The claim it bore before it was removed."""


class TargetRow(msgspec.Struct, frozen=True):
    """A target without its objects. `latency`: seconds by verb, `observe`, or `*`."""

    name: str
    node: str
    identity: str | None
    capacity: Capacity
    carries: tuple[str, ...] | None = None
    claim: Claim | None = None
    minted: int = 0
    sum: str = "0"
    latency: dict[str, float] = {}
    broken: Broken = Broken()


class Found(msgspec.Struct, frozen=True):
    """An object with what its report does not say."""

    target: str
    object: Object
    used: int = 0
    """Bytes of its disk that are in use: a gauge."""
    ready: bool = True
    hidden: Marks | None = None
    """Marks that it bears and that do not count: they name another object's identity."""


class Store:
    """One connection to a fleet's file. Not for use from several threads at once."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.db = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=NORMAL")
        if not _is_laid_out(self.db):
            self.db.executescript(SCHEMA)

    def close(self) -> None:
        self.db.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """The fleet's lock: nothing else writes inside. All or nothing. Never awaits, so nothing can cut it short
        but the end of the process, which rolls it back."""
        if self.db.in_transaction:
            yield
            return
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")

    # -- targets

    def targets(self, node: str | None = None) -> list[TargetRow]:
        """Every target, or those of one node, in order of their names."""
        where, values = ("WHERE node = ?", (node,)) if node is not None else ("", ())
        rows = self.db.execute(f"SELECT * FROM target {where} ORDER BY name", values)
        return [_target(row) for row in rows]

    def target(self, name: str) -> TargetRow | None:
        row = self.db.execute("SELECT * FROM target WHERE name = ?", (name,)).fetchone()
        return _target(row) if row else None

    def slow(self, node: str) -> bool:
        """Whether a look at one of the node's targets may take its time: told coarsely, without reading them."""
        row = self.db.execute(
            "SELECT 1 FROM target WHERE node = ? AND (latency <> ? OR instr(broken, CAST('hang' AS BLOB)) > 0) LIMIT 1",
            (node, b"{}"),
        ).fetchone()
        return row is not None

    def put_target(self, target: TargetRow) -> None:
        self.db.execute(
            "INSERT OR REPLACE INTO target VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                target.name,
                target.node,
                target.identity,
                _encode(target.capacity),
                None if target.carries is None else _encode(target.carries),
                None if target.claim is None else _encode(target.claim),
                target.minted,
                target.sum,
                _encode(target.latency),
                _encode(target.broken),
            ),
        )

    def drop_target(self, name: str) -> None:
        self.db.execute("DELETE FROM object WHERE target = ?", (name,))
        self.db.execute("DELETE FROM target WHERE name = ?", (name,))

    def native_id(self, target: str) -> str:
        """A fresh native identity, never given twice on the target (16 hex digits)."""
        row = self.db.execute(
            "UPDATE target SET minted = minted + 1 WHERE name = ? RETURNING minted", (target,)
        ).fetchone()
        return digest([target, row[0]])[:16]

    # -- objects

    def objects(self, target: str) -> list[Object]:
        return _objects.decode(b"[%s]" % b",".join(self.written(target)))

    def written(self, target: str) -> tuple[bytes, ...]:
        """The same in canonical JSON, as they are kept."""
        rows = self.db.execute("SELECT data FROM object WHERE target = ? ORDER BY kind, native", (target,))
        return tuple([row[0] for row in rows])

    def found(self, target: str, kind: str | None = None) -> list[Found]:
        where, values = (" AND kind = ?", (target, kind)) if kind else ("", (target,))
        rows = self.db.execute(f"SELECT {_FOUND} FROM object WHERE target = ?{where} ORDER BY kind, native", values)
        return [_found(row) for row in rows]

    def by_uid(self, target: str, uid: str) -> list[Found]:
        rows = self.db.execute(f"SELECT {_FOUND} FROM object WHERE target = ? AND uid = ?", (target, uid))
        return [_found(row) for row in rows]

    def by_native(self, target: str, kind: str, native: str) -> Found | None:
        row = self.db.execute(
            f"SELECT {_FOUND} FROM object WHERE target = ? AND kind = ? AND native = ?", (target, kind, native)
        ).fetchone()
        return _found(row) if row else None

    def mentioning(self, node: str, kind: str, text: str) -> list[Found]:
        """Objects of one node whose fields may hold the text: a coarse sieve, to be looked at more closely."""
        rows = self.db.execute(
            f"SELECT {_FOUND} FROM object WHERE target IN (SELECT name FROM target WHERE node = ?)"
            " AND kind = ? AND instr(data, CAST(? AS BLOB)) > 0",
            (node, kind, text),
        )
        return [_found(row) for row in rows]

    def bearing(self, ref: str) -> list[Found]:
        """Objects anywhere whose marks name the Ref. Looks at the whole fleet."""
        rows = self.db.execute(
            f"SELECT {_FOUND} FROM object WHERE uid IS NOT NULL AND instr(data, CAST(? AS BLOB)) > 0",
            (f'"ref":"{ref}"',),
        )
        return [found for row in rows if (found := _found(row)).object.marks and found.object.marks.ref == ref]

    def put(self, found: Found) -> Found:
        """Write an object; its digest is made here. Gives it back with its digest."""
        fresh = msgspec.structs.replace(found, object=sealed(found.object))
        thing = fresh.object
        self._count(found.target, thing.kind, thing.native_name, thing.digest)
        self.db.execute("INSERT OR REPLACE INTO object VALUES (?, ?, ?, ?, ?, ?, ?, ?)", _row(fresh))
        return fresh

    def put_all(self, fresh: Iterable[Found]) -> str:
        """Write objects that are not there yet, in bulk. Gives the sum of their digests, for their target's row."""
        rows, total = [], 0
        for found in fresh:
            thing = sealed(found.object)
            total += int(thing.digest, 16)
            rows.append(_row(msgspec.structs.replace(found, object=thing)))
        self.db.executemany("INSERT INTO object VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        return f"{total % 2**128:x}"

    def drop(self, found: Found) -> None:
        thing = found.object
        self._count(found.target, thing.kind, thing.native_name, None)
        self.db.execute(
            "DELETE FROM object WHERE target = ? AND kind = ? AND native = ?",
            (found.target, thing.kind, thing.native_name),
        )

    def _count(self, target: str, kind: str, native: str, fresh: str | None) -> None:
        old = self.by_native(target, kind, native)
        total = int(self.db.execute("SELECT sum FROM target WHERE name = ?", (target,)).fetchone()[0], 16)
        total += (int(fresh, 16) if fresh else 0) - (int(old.object.digest, 16) if old else 0)
        self.db.execute("UPDATE target SET sum = ? WHERE name = ?", (f"{total % 2**128:x}", target))

    def log(self, values: tuple[Any, ...]) -> None:
        """One line of what was asked of the node: target, step, verb, ref, uid, status, reason, fence."""
        self.db.execute(
            "INSERT INTO act (target, step, verb, ref, uid, status, reason, fence) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            values,
        )

    def told(self, uid: str, last: int) -> list[tuple[str, str, str]]:
        """Verb, status and reason of the last steps of one uid, oldest first."""
        rows = self.db.execute(
            "SELECT verb, status, reason FROM act WHERE uid = ? ORDER BY id DESC LIMIT ?", (uid, last)
        ).fetchall()
        return rows[::-1]


def _is_laid_out(db: sqlite3.Connection) -> bool:
    """Laying out takes the fleet's lock, so it is done once."""
    named = "SELECT COUNT(*) FROM sqlite_master WHERE name IN ('act', 'fleet', 'target_gone')"
    return bool(db.execute(named).fetchone()[0] == 3)


def overview(path: Path) -> str | None:
    """A token that changes with every target's row, so with every object; None where there is no fleet."""
    if not path.is_file():
        return None
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)
    try:
        row = db.execute("SELECT id, version FROM fleet").fetchone()
    except sqlite3.Error:
        return None
    finally:
        db.close()
    place = path.stat()
    return f"{row[0]}-{row[1]}-{place.st_dev}-{place.st_ino}" if row else None


_FOUND = "target, data, used, ready, hidden"


def sealed(thing: Object) -> Object:
    """The object with the digest of everything else that it says."""
    bare = msgspec.structs.replace(thing, digest="")
    return msgspec.structs.replace(thing, digest=digest(_encode(bare)))


def _row(found: Found) -> tuple[Any, ...]:
    thing = found.object
    return (
        found.target,
        thing.kind,
        thing.native_name,
        thing.marks.uid if thing.marks else None,
        _encode(thing),
        None if found.hidden is None else _encode(found.hidden),
        found.used,
        found.ready,
    )


def _found(row: tuple[Any, ...]) -> Found:
    target, data, used, ready, hidden = row
    thing = object_of(data)
    marks = msgspec.json.decode(hidden, type=Marks) if hidden is not None else None
    return Found(target, thing, used, bool(ready), marks)


def _target(row: tuple[Any, ...]) -> TargetRow:
    name, node, identity, capacity, carries, claim, minted, total, latency, broken = row
    return TargetRow(
        name,
        node,
        identity,
        msgspec.json.decode(capacity, type=Capacity),
        None if carries is None else msgspec.json.decode(carries, type=tuple[str, ...]),
        None if claim is None else msgspec.json.decode(claim, type=Claim),
        minted,
        total,
        msgspec.json.decode(latency, type=dict[str, float]),
        msgspec.json.decode(broken, type=Broken),
    )


_shared: dict[tuple[str, int, int], tuple[Store, int]] = {}
_guard = threading.Lock()


def acquire(path: str) -> Store:
    """The store of a file, shared by every node opened in this process and thread; give it back with `release`."""
    key = (os.path.realpath(path), os.getpid(), threading.get_ident())
    with _guard:
        store, users = _shared.get(key) or (Store(path), 0)
        _shared[key] = (store, users + 1)
        return store


def release(store: Store) -> None:
    """Closes the connection with its last user."""
    with _guard:
        for key, (held, users) in list(_shared.items()):
            if held is store and users > 1:
                _shared[key] = (store, users - 1)
            elif held is store:
                del _shared[key]
                store.close()
