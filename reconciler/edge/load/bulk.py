"""The first load of a tree: workers read and lower the machines, bytes come back. Of a large tree two forked ones do,
of a smaller one where there is something else to do meanwhile one; else one in this process.

Owns: the workers, and folding what they send into an attempt. Must not go here: telling mistakes. At the first sign of
one the bulk way is left (Leave), and the ordinary way reads the tree again and tells all of them.

The collector is off meanwhile and what was made is frozen: nothing here makes cycles, and walking a million records
again and again costs more than making them.
"""

from __future__ import annotations

import selectors
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby, repeat
from operator import attrgetter
from typing import BinaryIO

from reconciler.core.desired import Resource
from reconciler.core.refs import Ref
from reconciler.edge.forked import Forked, Work, possible
from reconciler.edge.load.attempt import Attempt, names_of
from reconciler.edge.load.packing import (
    Batch,
    Done,
    Foreign,
    Irregular,
    Likes,
    Message,
    PackedDocument,
    Unpacker,
    pack,
    unpack,
)
from reconciler.edge.load.reading import Reader
from reconciler.edge.load.records import Document, filed, filed_alone
from reconciler.edge.load.skeleton import Skeletons
from reconciler.edge.load.worker import Setup, Worker
from reconciler.edge.shares import Sorted

BESIDE = 400
"""Files from which one forked worker is worth while, if there is something else to do here meanwhile."""

Progress = Callable[[int, int], None]
"""(files done, files in all)."""
Meanwhile = Callable[[], object]
"""What there is to do while processes of their own begin to read."""


class Leave(Exception):
    """The bulk way cannot go on; the reason is for logs only."""


class _Process(Forked):
    """A worker in a process of its own."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self.unpacker = Unpacker()


class _Processes:
    """Workers in processes of their own."""

    def __init__(self, works: Iterable[Work]) -> None:
        import pickle  # noqa: F401  # so that those who are forked have it, and one worker here does without

        self._processes = [_Process(work) for work in works]

    def messages(self) -> Iterator[tuple[Unpacker, Message]]:
        """What they say, until all of them have come to the end of the phase. Raises EOFError if one has gone."""
        with selectors.DefaultSelector() as selector:
            for process in self._processes:
                selector.register(process.source, selectors.EVENT_READ, process)
            while selector.get_map():
                for key, _ in selector.select():
                    speaker: _Process = key.data
                    for data in speaker.hear():
                        message = unpack(data)
                        if isinstance(message, Done):
                            selector.unregister(speaker.source)
                        else:
                            yield speaker.unpacker, message

    def tell(self, setup: Setup) -> None:
        """Begins the second phase. Raises BrokenPipeError if one has gone."""
        import pickle

        data = pickle.dumps(setup, protocol=pickle.HIGHEST_PROTOCOL)
        for process in self._processes:
            process.tell(data)

    def end(self) -> None:
        for process in self._processes:
            process.end()


class _Here:
    """One worker in this process; its messages too are bytes, and what comes of them is made anew."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._unpacker = Unpacker()
        self._phase = worker.sort_out()

    def messages(self) -> Iterator[tuple[Unpacker, Message]]:
        return ((self._unpacker, unpack(pack(message))) for message in self._phase)

    def tell(self, setup: Setup) -> None:
        self._phase = self._worker.lower(setup)

    def end(self) -> None:
        pass


class Bulk:
    """`fork_from`: files from which processes of their own read them."""

    def __init__(
        self,
        attempt: Attempt,
        reader: Reader,
        fork_from: int,
        progress: Progress | None = None,
        meanwhile: Meanwhile | None = None,
    ) -> None:
        self.attempt = attempt
        self.meanwhile = meanwhile
        self.fork_from = fork_from
        self.reader = reader
        reader.fast = Skeletons().read  # a tenant's documents are much like another's
        self.progress = progress
        self.files: Sequence[tuple[str, str]] = []
        self.done = 0
        self._users: dict[tuple[str, ...], list[Document]] = {}

    def read(self, tree: Sorted) -> None:
        """Reads a whole tree into the attempt. Raises Leave."""
        self.files = tree.documents
        workers = self._workers(tree)
        try:
            self.reader.found(tree)  # defaults are read while workers begin
            self._sorted_out(workers.messages())
            workers.tell(Setup(_known(self.attempt)))
            if isinstance(workers, _Processes):
                self._go_on()  # now that nobody waits for us
            self._folded(workers.messages())
        except (EOFError, BrokenPipeError) as gone:
            raise Leave("a worker has gone") from gone
        finally:
            workers.end()

    def _go_on(self) -> None:
        if self.meanwhile is not None:
            self.meanwhile()

    def _workers(self, tree: Sorted) -> _Processes | _Here:
        attempt, count = self.attempt, len(self.files)
        shares = [tree.numbered] if self.meanwhile is not None and BESIDE <= count < self.fork_from else []
        if count >= self.fork_from:
            shares = tree.shares
        if not shares or not possible():
            return _Here(Worker(attempt.tree, tree.numbered, attempt.capabilities))

        def work(share: list[tuple[int, str, str]], source: BinaryIO, sink: BinaryIO) -> None:
            Worker(attempt.tree.reopened(), share, attempt.capabilities).run(source, sink)

        return _Processes(partial(work, share) for share in shares)

    def _sorted_out(self, messages: Iterable[tuple[Unpacker, Message]]) -> None:
        """What is no machine is read here, and first: all else names it."""
        for _, message in messages:
            assert isinstance(message, Foreign)
            self.reader.begin(self._named(message.files))  # while they go on
            self._advance(len(message.files))
        self.reader.end()
        self._sure()

    def _named(self, foreign: list[tuple[int, bytes]]) -> Iterator[tuple[str, str, bytes]]:
        return ((*self.files[index], data) for index, data in sorted(foreign))

    def _read_here(self, foreign: list[tuple[int, bytes]]) -> None:
        self.reader.take(self._named(foreign))
        self._advance(len(foreign))
        self._sure()

    def _sure(self) -> None:
        if self.attempt.findings:
            raise Leave("there is a mistake")

    def _folded(self, messages: Iterable[tuple[Unpacker, Message]]) -> None:
        deferred: list[tuple[int, bytes]] = []
        for unpacker, message in messages:
            if isinstance(message, Irregular):
                raise Leave(f"there is a mistake in {message.why}")
            if isinstance(message, Foreign):
                deferred += message.files
            elif isinstance(message, Batch):
                unpacker.learn(message)
                for index, documents in message.files:
                    self._file(unpacker, index, documents)
                self._likes(unpacker, message.likes)
                self._advance(len(message.files) + len(message.likes.files))
        for uses, using in self._users.items():
            self.attempt.users.added.setdefault(uses, set()).update(using)
        self._read_here(deferred)

    def _advance(self, files: int) -> None:
        self.done += files
        if self.progress is not None and files:
            self.progress(self.done, len(self.files))

    def _file(self, unpacker: Unpacker, index: int, packed: list[PackedDocument]) -> None:
        path, blob = self.files[index]
        documents = tuple([self._document(unpacker, path, one) for one in packed])
        self.attempt.files.over[path] = filed(blob, documents)

    def _likes(self, unpacker: Unpacker, likes: Likes) -> None:
        """Machines of which only the name is news. Many: so column by column, without a call for each."""
        if not likes.files:
            return
        attempt, refs = self.attempt, likes.refs
        paths, blobs = zip(*[self.files[index] for index in likes.files], strict=True)
        parts, uses = zip(*[unpacker.kinds[kind] for kind in likes.kinds], strict=True)
        made = list(map(Document, paths, repeat(b""), refs, uses))
        attempt.files.over.update(zip(paths, filed_alone(blobs, made), strict=True))
        owners = attempt.owners.over
        many = len(owners) + len(refs)
        owners.update(zip(refs, made, strict=True))
        if len(owners) < many:
            raise Leave("a name is declared twice")
        wanted = map(Resource, refs, likes.digests, *zip(*parts, strict=True))
        attempt.resources.over.update(zip(refs, wanted, strict=True))
        for using, documents in groupby(made, attrgetter("uses")):
            self._using(using).extend(documents)
        of_kind = dict(zip(likes.kinds, zip(refs, parts, strict=True), strict=True))
        for kind, count in Counter(likes.kinds).items():
            ref, wants = of_kind[kind]
            attempt.count(ref, wants[2], count)

    def _using(self, uses: tuple[str, ...]) -> list[Document]:
        """The documents so far that use these things."""
        found = self._users.get(uses)
        if found is None:
            found = self._users[uses] = []
        return found

    def _document(self, unpacker: Unpacker, path: str, packed: PackedDocument) -> Document:
        attempt = self.attempt
        uses = unpacker.uses(packed.uses)
        made = Document(path, packed.digest, (), uses, packed.claims)
        self._using(uses).append(made)
        for one in packed.resources:
            attempt.keep(unpacker.resource(one))
        attempt.groups.over.update(packed.groups)
        made.refs = packed.refs or tuple([one.ref for one in packed.resources])
        for ref in made.refs:
            if attempt.owners.over.setdefault(ref, made) is not made:
                raise Leave(f"{ref} is declared twice")
        for key in packed.claims:
            if attempt.claims.over.setdefault(key, made) is not made:
                raise Leave(f"{key} is taken twice")
        return made


def sound(attempt: Attempt) -> bool:
    """Whether what was read here and what the workers read take no name or claim from each other."""
    for one, unit in attempt.units.items():
        for declared in unit.reading.declared:
            if any(attempt.owners.get(ref) is not one for ref in names_of(declared)):
                return False
        if any(attempt.claims.get(key) is not one for key, _ in unit.lowered.claims):
            return False
    return True


def _known(attempt: Attempt) -> Mapping[str, dict[Ref, object]]:
    """What a worker needs to lower machines."""
    names = ("defaults", "entries", "datacenters", "drivers", "others")
    return {name: dict(getattr(attempt, name).over) for name in names}
