"""Documents and bindings laid down by the process that looks at nodes beside us, while we make the plan and show it.

Owns: that process as who asks for nodes sees it, and what it makes once it has told of them. Must not go here: which
nodes it looks at (runtime/sharing), as what documents are laid down (documents).

It is of this process's memory, so it knows tree and ledger as we did when it began. It is waited for, or ended with
us; if it dies, what it was to make is made here.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from functools import partial

import msgspec

from reconciler.core.ledger import Ledger
from reconciler.core.refs import Ref
from reconciler.edge.forked import Forked, telling
from reconciler.edge.index.known import Documents, Laid
from reconciler.edge.index.planning import write_bindings
from reconciler.edge.index.shelves import Writer

Send = Callable[[bytes], object]

_LAID = b"\xc1"
"""Begins the message that is ours: no packing of a value does."""
_ROOM = 2_048
"""Bytes for each thing, of which a quarter are needed: room is taken as it is written to."""


class _Told(msgspec.Struct, frozen=True):
    """What is laid down. `size`: of its part, whose bytes lie in memory that both processes have. `sequence`: of the
    ledger whose bindings are among it."""

    laid: Laid
    size: int
    sequence: int


class Meanwhile:
    """What becomes of `known` in the process that `fork` begins. Is itself to be laid down, as `known` is."""

    def __init__(self, known: Documents, ledger: Ledger) -> None:
        self.known = known
        self.ledger = ledger
        self._process: _Staying | None = None

    @property
    def secretive(self) -> frozenset[Ref]:
        return self.known.secretive

    def fork(self, work: Callable[[Send], object]) -> _Staying:
        """Raises OSError."""
        self._shared = mmap.mmap(-1, _ROOM * (len(self.known.records.resources) + 1_000))

        def both(send: Send) -> None:
            work(send)
            laid = self.known.laid(partial(write_bindings, self.ledger.bindings))
            size = len(laid.part.data)
            self._shared[:size] = laid.part.data  # who has no room dies of it, and is not missed
            part = msgspec.structs.replace(laid.part, data=memoryview(b""))
            send(
                _LAID
                + msgspec.msgpack.encode(_Told(msgspec.structs.replace(laid, part=part), size, self.ledger.sequence))
            )

        self.end()
        self._process = _Staying(telling(both))
        return self._process

    def lay(self, writer: Writer) -> msgspec.Raw:
        """As that of Documents. Waits for the process, whose bindings are laid down too."""
        found = self._process.laid() if self._process is not None else None
        told = msgspec.msgpack.decode(found, type=_Told) if found is not None else None
        if told is None or told.sequence != self.ledger.sequence:
            return self.known.lay(writer)
        part = msgspec.structs.replace(told.laid.part, data=memoryview(self._shared)[: told.size])
        return msgspec.structs.replace(told.laid, part=part).lay(writer)

    def end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.process.end()


class _Staying:
    """A process that is not ended with its first work."""

    def __init__(self, process: Forked) -> None:
        self.process, self.source = process, process.source
        self._laid: bytes | None = None

    def hear(self) -> Iterator[bytes]:
        for message in self.process.hear():
            if message.startswith(_LAID):
                self._laid = message[len(_LAID) :]
            else:
                yield message

    def end(self) -> None:
        """Not yet."""

    def laid(self) -> bytes | None:
        try:
            while self._laid is None:
                list(self.hear())
        except EOFError:
            return None
        return self._laid
