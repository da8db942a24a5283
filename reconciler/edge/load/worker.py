"""A bulk worker: reads and lowers its share of the machines, in a forked process or in this one.

Owns: the work, phase by phase, and between two pipes. Must not go here: telling mistakes (it only says that there are
some), anything that needs documents of the other worker.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, BinaryIO, NamedTuple

from reconciler.core.desired import Resource
from reconciler.core.refs import Ref
from reconciler.driver import Capability
from reconciler.edge.forked import framed, receive
from reconciler.edge.load import checks, document, roundtrip, stream
from reconciler.edge.load.alike import Alike, Likenesses, Place, place_of
from reconciler.edge.load.attempt import Attempt
from reconciler.edge.load.findings import MANY, Refused
from reconciler.edge.load.judging import Judge, shared_uses
from reconciler.edge.load.kindred import Kindred
from reconciler.edge.load.lower import Lowered
from reconciler.edge.load.machine import beside, member_refs
from reconciler.edge.load.packing import Done, Foreign, Irregular, Message, PackedDocument, Packer, pack
from reconciler.edge.load.reading import NO_DOCUMENTS, Reader, digest_of
from reconciler.edge.load.records import Records
from reconciler.edge.load.skeleton import Skeletons
from reconciler.edge.load.tree import Tree

_KIND = re.compile(rb"^kind:[ ]*(\S+)", re.MULTILINE)
_MACHINES = {b"Machine", b"Machines"}
_USUAL = b"apiVersion: trueup/v1\nkind: Machine\n"
_BATCH = 200
"""Files that go through the stages together, and in one message."""
_SEND = 256 * 1024
"""Bytes of foreign contents in one message."""
_SOON = 64
"""Files of the share after which what was foreign among them is handed over: it is read elsewhere meanwhile."""


class Setup:
    """What the loader tells every worker once it has read all that is no machine. Pickled for another process."""

    def __init__(self, layers: Mapping[str, dict[Any, Any]]) -> None:
        self.layers = layers


_Entry = tuple[int, str, str]
"""(index, path, blob id)."""
_File = tuple[int, str, bytes]
"""(index, path, contents)."""


class _Texts(NamedTuple):
    """Files that go through the stages together."""

    like: dict[tuple[str, int, bytes], tuple[list[_Entry], list[bytes]]]
    """(folder, where the name stands, the text without it) → the files, and their names."""
    others: list[_File]
    """In which there seems to be no name."""


class _Defer(Exception):
    pass


class _Mistaken(Exception):
    pass


def only_machines(data: bytes) -> bool:
    """Whether the file seems to hold machines and nothing else. A hint: what turns out otherwise is read again."""
    if data.startswith(_USUAL) and data.find(b"\nkind:", len(_USUAL)) < 0:
        return True
    if data.startswith(NO_DOCUMENTS):
        return False  # the loader knows
    kinds = _KIND.findall(data)
    return bool(kinds) and all(kind in _MACHINES for kind in kinds)


def _say(sink: BinaryIO, phase: Iterator[Message]) -> None:
    for message in chain(phase, [Done()]):
        sink.write(framed(pack(message)))
        sink.flush()


class Worker:
    def __init__(self, tree: Tree, share: Sequence[_Entry], capabilities: Mapping[str, Capability]) -> None:
        self.tree = tree
        self.share = share
        self.attempt = Attempt(Records(), tree, capabilities)
        self.packer = Packer()
        self.skeletons = Skeletons()
        self.likenesses = Likenesses()
        self.kept: list[bytes | None] = []
        """What the files of its share hold, if it is machines. Those at the end are let go of first."""
        self.texts: list[_Texts] = []

    def run(self, source: BinaryIO, sink: BinaryIO) -> None:
        """Both phases, over pipes."""
        import pickle

        gc.disable()
        _say(sink, self.sort_out())
        self.compare()  # while the loader reads what machines name
        setup: Setup = pickle.loads(receive(source))
        _say(sink, self.lower(setup))

    def sort_out(self) -> Iterator[Message]:
        """The first phase: hand over what is foreign."""
        foreign: list[tuple[int, bytes]] = []
        size = 0
        for (index, _, _), data in zip(self.share, self.tree.read([blob for _, _, blob in self.share]), strict=True):
            if only_machines(data):
                self.kept.append(data)
            else:
                self.kept.append(None)
                foreign.append((index, data))
                size += len(data)
            if size > _SEND or (foreign and len(self.kept) % _SOON == 0):
                yield Foreign(foreign)
                foreign, size = [], 0
        yield Foreign(foreign)
        self.kept.reverse()

    def compare(self) -> None:
        """What can be done before it is known what there is: tell which say the same but for their names. What they
        say is kept once."""
        texts, many = _Texts({}, []), 0
        kept, self.kept = self.kept, []
        for entry in self.share if kept else ():
            data = kept.pop()
            if data is None:
                continue
            if many >= _BATCH:
                self.texts.append(texts)
                texts, many = _Texts({}, []), 0
            many += 1
            index, path, _ = entry
            place = place_of(data)
            if place is None:
                texts.others.append((index, path, data))
                continue
            key = (path[: path.rfind("/") + 1], place.at, place.text)
            alike = texts.like.get(key)
            if alike is None:
                texts.like[key] = ([entry], [place.name])
            else:
                alike[0].append(entry)
                alike[1].append(place.name)
        if many:
            self.texts.append(texts)

    def lower(self, setup: Setup) -> Iterator[Message]:
        """The second phase: learn what there is, and lower the machines."""
        for name, values in setup.layers.items():
            getattr(self.attempt, name).over.update(values)
        reader = Reader(self.attempt)
        self.judge = Judge(self.attempt, reader)
        self.kindred = Kindred(
            self.packer, self.skeletons, lambda path: reader.defaults_for(path)("Machine"), self._surely
        )
        self.judge.settle_datacenter()
        self.compare()
        deferred: list[_File] = []
        try:
            self.texts.reverse()  # each is let go of once it is lowered, for that is when the loader grows
            while self.texts:
                self._read(reader, self._unlike(reader, self.texts.pop()), deferred)
                yield self.packer.batch()
        except _Mistaken as wrong:
            yield Irregular(str(wrong))
            return
        yield Foreign([(index, data) for index, _, data in deferred])

    def _unlike(self, reader: Reader, texts: _Texts) -> list[_File]:
        """Those of which it is not known from others what they come to; the others are done. Most of a fleet's say the
        same as others, or nearly so: these are not read."""
        unlike = texts.others
        known, stamp = self.likenesses.known, reader.stamp
        for (_, at, text), (files, names) in texts.like.items():
            scope = stamp(files[0][1])
            found, begin = known.get((scope, text)), 0
            while found is None and begin < len(files):
                index, path, _ = files[begin]
                place = Place(names[begin], at, text)
                found = self._kin(scope, place, path)
                if found is None:
                    unlike.append((index, path, place.whole()))
                    begin += 1
            if found is not None:
                self.packer.like([file[0] for file in files[begin:]], found.kind, *found.named(names[begin:]))
        return unlike

    def _kin(self, scope: bytes, place: Place, path: str) -> Alike | None:
        found = self.kindred.find(scope, place, path)
        if found is not None:
            self.likenesses.learn(scope, place, found)
        return found

    def _read(self, reader: Reader, files: list[_File], deferred: list[_File]) -> None:
        """The files read, then declared, then lowered: each stage over all of them, which keeps the processor's caches
        warm (a quarter faster than file by file)."""
        chunks = [self._cut(path, data) for _, path, data in files]
        values = [[self._value(path, chunk) for chunk in own] for (_, path, _), own in zip(files, chunks, strict=True)]
        readings = [self._declared(reader, path, own) for (_, path, _), own in zip(files, values, strict=True)]
        for file, own, texts in zip(files, readings, chunks, strict=True):
            index, path, _ = file
            try:
                if len(texts) == 1:
                    made = [self._document(b"", own[0])]
                else:
                    stamp = reader.stamp(path)
                    pairs = zip(texts, own, strict=True)
                    made = [self._document(digest_of(chunk, stamp), reading) for chunk, reading in pairs]
                self.packer.document(index, made)
            except _Defer:
                deferred.append(file)

    def _cut(self, path: str, data: bytes) -> list[stream.Chunk]:
        chunks, findings = stream.cut(path, data)
        if findings:
            raise _Mistaken(path)
        return chunks

    def _value(self, path: str, chunk: stream.Chunk) -> Any:
        try:
            return self.skeletons.read(chunk.text)
        except Refused:
            read = roundtrip.read(path, 0, chunk)
        if read.findings:
            raise _Mistaken(path)
        return read.value

    def _declared(self, reader: Reader, path: str, values: list[Any]) -> list[document.Reading]:
        defaults = reader.defaults_for(path)
        readings = [document.declare(path, index, value, defaults) for index, value in enumerate(values)]
        if any([reading.findings for reading in readings]):
            raise _Mistaken(path)
        return readings

    def _document(self, digest: bytes, reading: document.Reading) -> PackedDocument:
        if len(reading.declared) > MANY:
            raise _Defer
        uses: set[str] = set()
        claims: list[str] = []
        resources: list[Resource] = []
        refs: list[Ref] = []
        groups: dict[Ref, tuple[Ref, ...]] = {}
        for declared in reading.declared:
            made = self._lowered(declared)
            if declared.spec.replicas is not None:
                groups[declared.ref] = member_refs(declared)
                refs += (declared.ref, *groups[declared.ref])
            else:
                refs.append(declared.ref)
            uses |= made.uses
            claims += [key for key, _ in made.claims]
            resources += made.resources
        number = self.packer.used(shared_uses(tuple(sorted(uses))))
        own = tuple(dict.fromkeys(refs)) if groups else ()
        packed = [self.packer.resource(one) for one in resources]
        return PackedDocument(digest, number, packed, own, groups, tuple(claims))

    def _lowered(self, declared: document.Declared) -> Lowered:
        """Raises _Defer, _Mistaken."""
        if declared.kind != "Machine":
            raise _Mistaken(declared.file)
        if declared.renamed_from or declared.spec.near or declared.spec.avoid or self._reads_yaml(declared):
            raise _Defer
        made = self.judge.lowered(declared)
        if made.findings or checks.check_tenant(declared, self.judge.catalog):
            raise _Mistaken(declared.file)
        return made

    def _surely(self, declared: document.Declared) -> Lowered | None:
        """What the machine comes to, if nobody else has to see it."""
        try:
            return self._lowered(declared)
        except (_Defer, _Mistaken):
            return None

    def _reads_yaml(self, declared: document.Declared) -> bool:
        """A YAML file that a machine names is read by the loader: only it can tell whether it is a document."""
        data = declared.spec.user_data
        if data is None or data.file is None:
            return False
        path = beside(declared.file, data.file)
        return path is None or self.attempt.others.get(path) is None
