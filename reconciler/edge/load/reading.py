"""From changed files to documents read: the fast tier, the round trip, defaults, reuse of what did not change.

Owns: which texts are read in an attempt. Must not go here: what depends on them (dependants.py), rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from reconciler.core.hashes import blake2b
from reconciler.edge.load import defaults, document, events, roundtrip, stream
from reconciler.edge.load.attempt import Attempt, Changes, Unit
from reconciler.edge.load.document import Reading
from reconciler.edge.load.findings import MANY, Finding, Refused, Warning_
from reconciler.edge.load.records import Document, Layer, filed
from reconciler.edge.shares import Sorted, is_defaults, is_document

NO_DOCUMENTS = (b"#cloud-config", b"#!")
"""How files begin that are YAML, or end in .yaml, and are somebody else's."""


def value_of(
    file: str, index: int, chunk: stream.Chunk, fast: Callable[[str], Any] = events.read
) -> tuple[Any, roundtrip.Read | None]:
    """The plain value: the fast tier's, or else the round trip's, which also writes the messages."""
    try:
        return fast(chunk.text), None
    except Refused:
        read = roundtrip.read(file, index, chunk)
        return read.value, read


class Reader:
    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.fast: Callable[[str], Any] = events.read
        """The fast tier: raises Refused."""
        self._resolved: dict[tuple[str, str], defaults.KindDefaults] = {}
        self._stamps: dict[str, bytes] = {}
        self._fresh: list[Unit] = []
        self._lacking: dict[str, set[tuple[str, str]]] = {}
        """Folder → (kind, part) of its defaults that could not be read, `*` for every one."""

    def read_changes(self, changes: Changes) -> None:
        """Every changed file, and, where defaults changed, every file beneath them."""
        self.read_files(self.wanted(changes))

    def found(self, tree: Sorted) -> None:
        """A whole tree, of which nothing was known: takes in what is no document, defaults at once."""
        self.attempt.blobs.update(tree.entries)
        self._read_defaults(tree.defaults)
        for path, blob in tree.others.items():
            self.attempt.others[path] = blob

    def wanted(self, changes: Changes) -> dict[str, str | None]:
        """The files to read as documents. Defaults are taken in at once, since everything stands on them."""
        attempt = self.attempt
        attempt.blobs.update({path: blob for path, blob in changes.items() if blob is not None})
        documents: dict[str, str | None] = {}
        defaults: dict[str, str | None] = {}
        others: dict[str, str | None] = {}
        for path, blob in changes.items():
            (documents if is_document(path) else defaults if is_defaults(path) else others)[path] = blob
        wanted: dict[str, str | None] = {}
        if folders := self._read_defaults(defaults):
            wanted.update((path, one.blob) for path, one in attempt.records.files.items() if _beneath(path, folders))
        wanted.update(documents)
        for path in documents if attempt.records.others else ():
            _put(attempt.others, path, None)
        for path, blob in others.items():
            _put(attempt.others, path, blob)
        return wanted

    def reread(self, documents: set[Document]) -> None:
        """Unchanged documents again, because something that they use changed."""
        by_file: dict[str, set[Document]] = {}
        for one in documents:
            by_file.setdefault(one.file, set()).add(one)
        files = [(path, found) for path in sorted(by_file) if (found := self.attempt.files.get(path)) is not None]
        contents = self.attempt.tree.read([found.blob for _, found in files])
        for one in documents:
            self.attempt.retire(one)
        for (path, found), data in zip(files, contents, strict=True):
            chunks, _ = stream.cut(path, data)
            fresh = list(found.documents)
            for index, one in enumerate(fresh):
                if one in by_file[path]:
                    fresh[index] = self._read_document(path, index, chunks[index], one.digest)
            self.attempt.files[path] = filed(found.blob, tuple(fresh))
        self._enter()

    def _enter(self) -> None:
        """Only now that all that goes is gone: a name may have moved from one file to another."""
        for unit in self._fresh:
            for declared in unit.reading.declared:
                self.attempt.enter(declared, unit.document)
        self._fresh.clear()

    def declare_again(self, one: Document) -> Reading:
        """What an unchanged document declares, for a message's sake."""
        found = self.attempt.files.get(one.file)
        if found is None or one not in found.documents:
            return Reading()
        index = found.documents.index(one)
        chunks, _ = stream.cut(one.file, next(iter(self.attempt.tree.read([found.blob]))))
        value, _ = value_of(one.file, index, chunks[index])  # of the last good tree: nothing is wrong with it
        return document.declare(one.file, index, value, self.defaults_for(one.file))

    # -- defaults ----------------------------------------------------------------------------------------------------

    def _read_defaults(self, changes: Changes) -> list[str]:
        """Takes in changed `_defaults.yaml` files; returns the folders whose defaults are not what they were."""
        present = [(path, blob) for path, blob in changes.items() if blob is not None]
        for path, blob in changes.items():
            _put(self.attempt.others, path, blob)
            if blob is None:
                del self.attempt.defaults[path.rpartition("/")[0]]
        for (path, _), data in zip(present, self.attempt.tree.read([blob for _, blob in present]), strict=True):
            folder = path.rpartition("/")[0]
            values, findings, lacking = defaults_in(path, data, self.fast)
            self.attempt.findings += findings
            self.attempt.defaults[folder] = values
            if lacking:
                self._lacking[folder] = lacking
        folders = [path.rpartition("/")[0] for path in changes]
        known = self.attempt.records.defaults
        return [folder for folder in folders if known.get(folder) != self.attempt.defaults.get(folder)]

    def defaults_for(self, file: str) -> document.DefaultsFor:
        folder = file.rpartition("/")[0]

        def resolve(kind: str) -> defaults.KindDefaults:
            memory = self._resolved if self.attempt.defaults.over else self.attempt.records.resolved
            found = memory.get((folder, kind))
            if found is None:
                chain = [given for one in defaults.folders_of(file) if (given := self.attempt.defaults.get(one))]
                found = defaults.resolve(chain, kind)
                if self._lacking:
                    found = msgspec.structs.replace(found, lacking=self._parts_lacking(file, kind))
                memory[folder, kind] = found
            return found

        return resolve

    def _parts_lacking(self, file: str, kind: str) -> frozenset[str]:
        pairs = [pair for one in defaults.folders_of(file) for pair in self._lacking.get(one, ())]
        parts = {part for name, part in pairs if name in (kind, defaults.EVERY)}
        return frozenset({"metadata", "spec"} if defaults.EVERY in parts else parts)

    def stamp(self, file: str) -> bytes:
        """Stands for the defaults that a file's documents have beneath them."""
        folder = file.rpartition("/")[0]
        found = self._stamps.get(folder)
        if found is None:
            chain = [(one, given) for one in defaults.folders_of(file) if (given := self.attempt.defaults.get(one))]
            found = blake2b(repr(chain).encode(), digest_size=16).digest() if chain else b""
            self._stamps[folder] = found
        return found

    # -- documents ---------------------------------------------------------------------------------------------------

    def read_files(self, wanted: Changes) -> None:
        present = [(path, blob) for path, blob in wanted.items() if blob is not None]
        for path, blob in wanted.items():
            if blob is None:
                self._drop_file(path)
        contents = self.attempt.tree.read([blob for _, blob in present])
        self.take((path, blob, data) for (path, blob), data in zip(present, contents, strict=True))

    def take(self, files: Iterable[tuple[str, str, bytes]]) -> None:
        """Reads files whose contents are here already: (path, blob id, contents)."""
        self.begin(files)
        self._enter()

    def begin(self, files: Iterable[tuple[str, str, bytes]]) -> None:
        """The same as far as it hangs on no other file; `end` does the rest for all of them."""
        for path, blob, data in files:
            self._read_file(path, blob, data)

    def end(self) -> None:
        """Whatever order the files came in, it is as if it had been that of their paths."""
        self.attempt.units = {unit.document: unit for unit in sorted(self.attempt.units.values(), key=_place)}
        self._fresh.sort(key=_place)
        self._enter()

    def _drop_file(self, path: str) -> None:
        old = self.attempt.records.files.get(path)
        for one in old.documents if old else ():
            self.attempt.retire(one)
        del self.attempt.files[path]

    def _read_file(self, path: str, blob: str, data: bytes) -> None:
        attempt = self.attempt
        if data.startswith(NO_DOCUMENTS):
            self._drop_file(path)
            attempt.others[path] = blob
            return
        chunks, findings = stream.cut(path, data)
        if findings:
            attempt.findings += findings
            attempt.broken.append(stream.lost(data, chunks))
        old = attempt.records.files.get(path)
        kept = {one.digest: one for one in old.documents if one.digest} if old else {}
        stamp = self.stamp(path) if len(chunks) > 1 else b""
        documents: list[Document] = []
        for index, chunk in enumerate(chunks):
            digest = digest_of(chunk, stamp) if len(chunks) > 1 else b""
            same = kept.pop(digest, None)
            documents.append(same if same is not None else self._read_document(path, index, chunk, digest))
        still = set(documents)
        for one in old.documents if old else ():
            if one not in still:
                attempt.retire(one)
        attempt.files[path] = filed(blob, tuple(documents))

    def _read_document(self, path: str, index: int, chunk: stream.Chunk, digest: bytes) -> Document:
        attempt = self.attempt
        made = Document(path, digest)
        value, slow = value_of(path, index, chunk, self.fast)
        if slow is None or not slow.findings:
            reading = document.declare(path, index, value, self.defaults_for(path))
        else:
            attempt.findings += slow.findings
            attempt.broken += [slow.lost] if slow.lost else []
            reading = document.declare(path, index, value, self.defaults_for(path), slow.doubt)
        unit = attempt.units[made] = Unit(made, index, reading)
        self._fresh.append(unit)
        if not reading.unenveloped:
            attempt.findings += reading.findings
        attempt.poisoned |= reading.poisoned
        attempt.broken += reading.lost
        if len(reading.declared) > MANY:
            summary = f"one document declares {len(reading.declared)} things: an edit of one reads all of them again"
            attempt.warnings.append(Warning_(path, summary, "split it into documents of some hundred"))
        return made


def defaults_in(
    path: str, data: bytes, fast: Callable[[str], Any] = events.read
) -> tuple[defaults.Values, list[Finding], set[tuple[str, str]]]:
    """What a `_defaults.yaml` says, what is wrong with it, and which (kind, part) it may lack therefore."""
    chunks, findings = stream.cut(path, data)
    value: Any = {}
    if len(chunks) > 1:
        summary = "there is a second document, and the defaults of a folder are one"
        findings.append(Finding(path, 1, (), summary, "merge them", line=chunks[1].line, column=1))
    elif chunks:
        value, slow = value_of(path, 0, chunks[0], fast)
        findings += slow.findings if slow is not None else []
    lacking = {(defaults.EVERY, defaults.EVERY)} if findings else set()
    values = value if isinstance(value, dict) else {}
    for found in document.check_defaults(path, value):
        findings.append(found)
        lacking.add(document.part_of(found.path))
        values = defaults.without(values, found.path)
    return values, findings, lacking


def digest_of(chunk: stream.Chunk, stamp: bytes) -> bytes:
    """Of a document's text and the defaults beneath it: equal digests need no reading."""
    return blake2b(chunk.text.encode(), digest_size=16, key=stamp).digest()


def _place(unit: Unit) -> tuple[str, int]:
    return unit.document.file, unit.index


def _put(layer: Layer[str, str], path: str, blob: str | None) -> None:
    if blob is not None:
        layer[path] = blob
    elif layer.get(path) is not None:
        del layer[path]


def _beneath(path: str, folders: list[str]) -> bool:
    return any(not folder or path.startswith(folder + "/") for folder in folders)
