"""A tree read by a process of its own, which answers for it as long as the command runs.

Owns: the process and the questions. Must not go here: reading (load),
when a process is worth while (cli).

A plan from nothing needs the tree, and as many modules again for everything else: this process imports these
meanwhile, and never those that read documents. Whatever goes wrong there, a mistake in the tree too, is no answer
(None): who asked then reads the tree himself, and tells it.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, TypeVar

import msgspec

from reconciler.core.desired import Revision
from reconciler.core.refs import Ref
from reconciler.edge.forked import Forked, framed, receive
from reconciler.edge.remembered import Remembered, packed, unpacked

if TYPE_CHECKING:
    from reconciler.edge.git import CommitTree
    from reconciler.edge.index.known import Laid
    from reconciler.edge.source import GitSource

T = TypeVar("T")
Path = tuple[str | int, ...]
Placing = Callable[["GitSource", Ref, Path], str]
"""Where a field of a thing comes from, as people read it."""


class _Places(msgspec.Struct, tag=True):
    asked: list[tuple[Ref, Path]]


class _Removed(msgspec.Struct, tag=True):
    """Which refs' documents are in one tree and not in the other."""

    before: str
    after: str


class _Laid(msgspec.Struct, tag=True):
    """What was read, for the index."""


_encode = msgspec.msgpack.Encoder().encode


class Apart:
    """One tree being read. `placing`: answers `places`. Call `end` in any case."""

    def __init__(self, source: GitSource, tree: CommitTree, where: Revision, placing: Placing) -> None:
        def work(questions: BinaryIO, answers: BinaryIO) -> None:
            gc.disable()
            with suppress(EOFError, BrokenPipeError):  # nobody asks any more
                _work(source, tree, where, placing, questions, answers)

        self._tree = where.tree
        self._came: Remembered | None = None
        self._process: Forked | None = Forked(work)

    def came(self, tree: str) -> Remembered | None:
        """What the tree came to. Waits for it."""
        if self._came is None and self._process is not None:
            self._came = self._answer(unpacked)
        return self._came if tree == self._tree else None

    def places(self, asked: Sequence[tuple[Ref, Path]]) -> list[str] | None:
        """Where these fields come from, empty where that cannot be told."""
        return self._asked(_Places(list(asked)), list[str])

    def removed(self, before: str, after: str) -> frozenset[Ref] | None:
        """As `GitSource` tells it."""
        return self._asked(_Removed(before, after), frozenset[Ref])

    def laid(self) -> Laid | None:
        """What was read, for the index. The last question."""
        from reconciler.edge.index.known import Laid

        return self._asked(_Laid(), Laid)

    def end(self) -> None:
        """It may be writing what it read to the user's cache: it ends by itself, and is waited for."""
        process, self._process = self._process, None
        if process is not None:
            process.leave()

    def _asked(self, question: msgspec.Struct, kind: type[T]) -> T | None:
        if self._came is None or self._process is None:
            return None
        try:
            self._process.tell(_encode(question))
        except BrokenPipeError:
            self.end()
            return None
        return self._answer(partial(msgspec.msgpack.decode, type=kind))

    def _answer(self, decode: Callable[[bytes], T]) -> T | None:
        assert self._process is not None
        try:
            return decode(self._process.answer())
        except EOFError:
            self.end()
            return None


def _work(
    source: GitSource, tree: CommitTree, where: Revision, placing: Placing, questions: BinaryIO, answers: BinaryIO
) -> None:
    def say(data: bytes) -> None:
        answers.write(framed(data))
        answers.flush()

    read = source.reopened()
    own = tree.reopened()
    own.fetch()
    say(packed(read.read(own, where)))
    read.memory = source.memory
    read.remember()
    from reconciler.edge.index.known import Documents  # not before: who reads the answer waits for it

    documents = read.documents()
    assert isinstance(documents, Documents), "they were read here"
    laid = _encode(documents.laid())
    while True:
        question = msgspec.msgpack.decode(receive(questions), type=_Places | _Removed | _Laid)
        if isinstance(question, _Places):
            say(_encode([placing(read, *each) for each in question.asked]))
        elif isinstance(question, _Removed):
            say(_encode(read.removed(question.before, question.after)))
        else:
            say(laid)
            return
