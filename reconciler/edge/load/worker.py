"""A bulk worker: a forked process that reads and lowers its share of the machines.

Owns: the work between two pipes. Must not go here: telling mistakes (it only says that there are some), anything that
needs documents of the other worker.
"""

from __future__ import annotations

import gc
import pickle
import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from reconciler.core.refs import Ref
from reconciler.driver import Capability
from reconciler.edge.load import checks, document, events, stream
from reconciler.edge.load.attempt import Attempt
from reconciler.edge.load.judging import Judge, shared_uses
from reconciler.edge.load.machine import beside, member_refs
from reconciler.edge.load.packing import Done, Foreign, Irregular, Message, PackedDocument, Packer, pack
from reconciler.edge.load.reading import BROKEN, Reader, digest_of, value_of
from reconciler.edge.load.records import Records
from reconciler.edge.load.tree import Tree

_KIND = re.compile(rb"^kind:[ ]*(\S+)", re.MULTILINE)
_MACHINES = {b"Machine", b"Machines"}
LENGTH = struct.Struct("<Q")
_BATCH = 400
"""Files in one message."""
_SEND = 256 * 1024
"""Bytes of foreign contents in one message."""


class Setup:
    """What the loader tells every worker once it has read all that is no machine. Pickled."""

    def __init__(self, layers: Mapping[str, dict[Any, Any]]) -> None:
        self.layers = layers


def framed(data: bytes) -> bytes:
    """A message as it goes over a pipe: its length, then itself."""
    return LENGTH.pack(len(data)) + data


def receive(pipe: BinaryIO) -> bytes:
    """One message. Raises EOFError if the other side has gone."""
    head = pipe.read(LENGTH.size)
    data = pipe.read(LENGTH.unpack(head)[0]) if len(head) == LENGTH.size else b""
    if not data:
        raise EOFError
    return data


class _Defer(Exception):
    pass


class _Mistaken(Exception):
    pass


def only_machines(data: bytes) -> bool:
    """Whether the file seems to hold machines and nothing else. A hint: what turns out otherwise is read again."""
    kinds = _KIND.findall(data)
    return bool(kinds) and all(kind in _MACHINES for kind in kinds)


class Worker:
    def __init__(
        self, tree: Tree, share: Sequence[tuple[int, str, str]], capabilities: Mapping[str, Capability]
    ) -> None:
        self.tree = tree
        self.share = share
        """(index, path, blob id)."""
        self.attempt = Attempt(Records(), tree, capabilities)
        self.packer = Packer()
        self._texts: dict[str, str] = {}

    def run(self, source: BinaryIO, sink: BinaryIO) -> None:
        """Both phases: hand over what is foreign, learn what there is, lower the machines."""
        gc.disable()
        events.lean()
        kept = self._sort_out(sink)
        setup: Setup = pickle.loads(receive(source))
        for name, values in setup.layers.items():
            getattr(self.attempt, name).over.update(values)
        reader = Reader(self.attempt)
        self.judge = Judge(self.attempt, reader)
        self.judge.settle_datacenter()
        self._lower(reader, kept, sink)

    def _say(self, sink: BinaryIO, message: Message) -> None:
        sink.write(framed(pack(message)))
        sink.flush()

    def _sort_out(self, sink: BinaryIO) -> list[bytes | None]:
        kept: list[bytes | None] = []
        foreign: list[tuple[int, bytes]] = []
        size = 0
        for (index, _, _), data in zip(self.share, self.tree.read([blob for _, _, blob in self.share]), strict=True):
            if only_machines(data):
                kept.append(data)
                continue
            kept.append(None)
            foreign.append((index, data))
            size += len(data)
            if size > _SEND:
                self._say(sink, Foreign(foreign))
                foreign, size = [], 0
        self._say(sink, Foreign(foreign))
        self._say(sink, Done())
        return kept

    def _lower(self, reader: Reader, kept: list[bytes | None], sink: BinaryIO) -> None:
        files: list[tuple[int, list[PackedDocument]]] = []
        deferred: list[tuple[int, bytes]] = []
        for position, (index, path, _) in enumerate(self.share):
            data, kept[position] = kept[position], None
            if data is None:
                continue
            try:
                files.append((index, self._file(reader, path, data)))
            except _Defer:
                deferred.append((index, data))
            except _Mistaken:
                self._say(sink, Irregular(path))
                return
            if len(files) >= _BATCH:
                self._say(sink, self.packer.batch(files))
                files = []
        self._say(sink, self.packer.batch(files))
        self._say(sink, Foreign(deferred))
        self._say(sink, Done())

    def _file(self, reader: Reader, path: str, data: bytes) -> list[PackedDocument]:
        chunks, findings = stream.cut(path, data)
        if findings:
            raise _Mistaken
        stamp = reader.stamp(path)
        defaults = reader.defaults_for(path)
        documents = []
        for index, chunk in enumerate(chunks):
            value, findings = value_of(path, index, chunk)
            if value is BROKEN:
                raise _Mistaken
            reading = document.declare(path, index, value, defaults)
            if reading.findings:
                raise _Mistaken
            documents.append(self._document(digest_of(chunk, stamp), reading))
        return documents

    def _document(self, digest: bytes, reading: document.Reading) -> PackedDocument:
        uses: set[str] = set()
        claims: list[str] = []
        resources = []
        refs: list[Ref] = []
        groups: dict[Ref, tuple[Ref, ...]] = {}
        for declared in reading.declared:
            if declared.kind != "Machine":
                raise _Mistaken
            if declared.renamed_from or declared.spec.near or declared.spec.avoid or self._reads_yaml(declared):
                raise _Defer
            made = self.judge.lowered(declared)
            if made.findings or checks.check_tenant(declared, self.judge.catalog):
                raise _Mistaken
            if declared.spec.replicas is not None:
                groups[declared.ref] = member_refs(declared)
                refs += (declared.ref, *groups[declared.ref])
            else:
                refs.append(declared.ref)
            uses |= made.uses
            claims += [key for key, _ in made.claims]
            resources += [self.packer.resource(one) for one in made.resources]
        number = self.packer.used(shared_uses(tuple(sorted(uses))))
        own = tuple(dict.fromkeys(refs)) if groups else ()
        return PackedDocument(digest, number, resources, own, groups, tuple(claims))

    def _reads_yaml(self, declared: document.Declared) -> bool:
        """A YAML file that a machine names is read by the loader: only it can tell whether it is a document."""
        data = declared.spec.user_data
        if data is None or data.file is None:
            return False
        path = beside(declared.file, data.file)
        return path is None or self.attempt.others.get(path) is None
