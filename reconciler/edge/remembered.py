"""Trees that were read before: what each came to, kept by the tree's id so that it is not read again.

Owns: the files of that cache, what makes them void, and what resources have in common. Must not go here: reading trees
(load), deciding.

A tree's id says all of its contents, so what it came to depends on nothing else but this program: its version and its
own files are part of the key. Losing the cache costs time alone; who cannot write it does without.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache, cached_property
from pathlib import Path

import msgspec

from reconciler.core.desired import Desired, Resource
from reconciler.core.refs import Ref
from reconciler.core.values import digest
from reconciler.edge.state import unsealed, write_sealed

KEPT = 16
"""Trees beyond this many are dropped, the oldest first."""

LARGEST = 50_000
"""Resources of a tree that is kept."""

_LARGE = 1 << 20
"""Bytes whose sealing and writing, which both let the interpreter go on, are worth a thread."""


class Remembered(msgspec.Struct, frozen=True):
    """What a tree came to. `requires`: the version bounds that its datacenter names."""

    desired: Desired
    requires: str | None = None


class _Packed(msgspec.Struct, array_like=True):
    """The same as it is written: what things alike have in common stands once."""

    desired: Desired
    """Without resources."""
    requires: str | None
    kinds: list[Resource]
    """Without ref and digest."""
    refs: list[Ref]
    digests: list[str]
    of: list[int]
    """The number of each one's kind."""


def packed(remembered: Remembered) -> bytes:
    desired, resources = remembered.desired, remembered.desired.resources
    kinds, of = kinds_of(resources.values())
    digests = [one.digest for one in resources.values()]
    bare = msgspec.structs.replace(desired, resources={})
    return msgspec.msgpack.encode(_Packed(bare, remembered.requires, kinds, list(resources), digests, of))


def unpacked(data: bytes) -> Remembered:
    """Raises msgspec.DecodeError."""
    found, replace = msgspec.msgpack.decode(data, type=_Packed), msgspec.structs.replace
    kinds, rows = found.kinds, zip(found.refs, found.digests, found.of, strict=True)
    resources = {ref: replace(kinds[kind], ref=ref, digest=digest) for ref, digest, kind in rows}
    return Remembered(replace(found.desired, resources=resources), found.requires)


class Told(msgspec.Struct, frozen=True):
    """Which file told the id of a datacenter, and what was in it."""

    path: str
    blob: str
    datacenter_id: str


class TreeMemory:
    """The cache of one user. `drivers`: the names of those installed; documents were judged by what these can take."""

    def __init__(self, folder: Path, drivers: Iterable[str] = ()) -> None:
        self._folder = folder
        self._drivers = sorted(drivers)
        self._writing: threading.Thread | None = None

    @cached_property
    def _reader(self) -> str:
        """What a tree's reading depends on beside the tree. Once a process: one that runs on goes on reading as it
        began, whatever is installed meanwhile."""
        return digest([program(), self._drivers])[:16]

    @classmethod
    def of_user(cls, drivers: Iterable[str], environment: Mapping[str, str] = os.environ) -> TreeMemory:
        """$XDG_CACHE_HOME/trueup, else ~/.cache/trueup."""
        return cls(cache_folder(environment) / "trees", drivers)

    def recall(self, tree: str) -> Remembered | None:
        """What the tree came to, if that is known. Files of other people are not believed."""
        try:
            return unpacked(own(self._path(tree)))
        except (OSError, msgspec.DecodeError):
            return None

    def recall_id(self, tree: str) -> str | None:
        """The id of the tree's datacenter, if that is known: asked for before anything else."""
        try:
            return own(self._path(tree).with_suffix(".id")).decode()
        except (OSError, UnicodeDecodeError):
            return None

    def keep(self, tree: str, remembered: Remembered) -> None:
        """Best effort: a full disk or a closed folder is no reason to fail. Of a large tree the id alone is kept:
        reading all of it back takes as long as reading the tree. What is kept may be there only after `settle`."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_sealed(self._path(tree).with_suffix(".id"), remembered.desired.datacenter_id.encode())
            if len(remembered.desired.resources) <= LARGEST:
                self._write(self._path(tree), packed(remembered))
            self._prune()
        except OSError:
            return

    def settle(self) -> None:
        """Waits for what is still being written."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.join()

    def _write(self, path: Path, data: bytes) -> None:
        """Raises OSError, but of what is written beside the rest."""
        if len(data) < _LARGE:
            write_sealed(path, data)
            return
        self.settle()
        self._writing = threading.Thread(target=_attempt, args=(path, data), name="remembered")
        self._writing.start()

    def keep_place(self, place: str, told: Told) -> None:
        """What told the id of the datacenter of a repository and folder. Best effort."""
        try:
            write_sealed(self._place(place), msgspec.msgpack.encode(told))
        except OSError:
            return

    def recall_place(self, place: str) -> Told | None:
        try:
            return msgspec.msgpack.decode(own(self._place(place)), type=Told)
        except (OSError, msgspec.DecodeError):
            return None

    def _place(self, place: str) -> Path:
        return self._folder / f"{digest([place, program()])[:32]}.place"

    def _path(self, tree: str) -> Path:
        return self._folder / f"{tree}-{self._reader}.msgpack"

    def _prune(self) -> None:
        files = sorted(self._folder.glob("*.*"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for old in files[2 * KEPT :]:
            old.unlink(missing_ok=True)


def kinds_of(resources: Iterable[Resource]) -> tuple[list[Resource], list[int]]:
    """What resources are but for ref and digest, each kind once; and the number of each one's kind."""
    numbers: dict[tuple[object, ...], int] = {}
    kinds: list[Resource] = []
    found: list[int] = []
    for one in resources:
        # who reads documents shares what is the same, so that identity says enough; `kinds` keeps the parts, so that
        # nothing else comes to be what a number was given for
        parts = (
            id(one.body), id(one.references), id(one.demand), id(one.nics), id(one.constraints), one.protected,
            id(one.behaviour), id(one.network), id(one.parties),
        )  # fmt: skip
        number = numbers.setdefault(parts, len(kinds))
        if number == len(kinds):
            kinds.append(msgspec.structs.replace(one, ref=Ref(""), digest=""))
        found.append(number)
    return kinds, found


def _attempt(path: Path, data: bytes) -> None:
    with suppress(OSError):
        write_sealed(path, data)


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """$XDG_CACHE_HOME/trueup, else ~/.cache/trueup: what may be lost."""
    return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trueup"


def own(path: Path) -> bytes:
    """What was sealed in a file that nobody else can have written. Raises OSError."""
    found = path.stat()
    if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"{path} may have been written by others")
    return unsealed(path.read_bytes())


@cache
def program() -> list[object]:
    """What of this program a tree's reading and a plan depend on: the files that define and read documents and decide,
    those of the drivers that come with it, as they lay there when this process first asked: it runs what was there."""
    here = Path(__file__).parent
    top = here.parents[1]
    folders = [here, here / "load", top / "specs", here.parent / "core", here.parent / "driver"]
    if (top / "drivers").is_dir():
        folders += [Path(entry.path) for entry in os.scandir(top / "drivers") if entry.is_dir()]
    newest = max(
        entry.stat().st_mtime_ns for folder in folders for entry in os.scandir(folder) if entry.name.endswith(".py")
    )
    return [str(here), newest]
