"""A large journal folded by a process of its own: what comes back is the ledger as a checkpoint has it, mostly bytes.

Owns: the process, and that a doubt is no answer: whoever asked then reads the journal himself, and meets what is wrong
with it. Must not go here: reading and folding (chain), a ledger as bytes (checkpoint), when it is begun (cli).

Folding takes 20 us a machine, and taking what comes back one or two. It runs ahead of who will ask, but not without
bounds: what nobody has asked for yet would lie there while documents are read, which is when most memory is in use.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import msgspec

from reconciler.core.ledger import Ledger, Record
from reconciler.edge.chain import Chain
from reconciler.edge.checkpoint import head_of, rows, taken
from reconciler.edge.collector import quiet_collector
from reconciler.edge.forked import Forked, framed, receive

_AHEAD = 400_000
"""Entries that are folded before somebody asks: some 80 MB of rows."""

_encode = msgspec.msgpack.Encoder().encode
_decode_row = msgspec.msgpack.Decoder(tuple[int, bytes]).decode


class Folding:
    """One journal being folded. Call `end` in any case."""

    def __init__(self, path: Path) -> None:
        def work(source: BinaryIO, sink: BinaryIO) -> None:
            _fold(path, source, sink)

        self._process: Forked | None = Forked(work)

    def ledger(self, head: tuple[int, bytes] | None = None) -> Ledger | None:
        """Waits for it; None if that process could not tell, or if the journal's last row was not this one."""
        if self._process is None:
            return None
        messages = self._messages(self._process)
        try:
            with suppress(BrokenPipeError):  # it has said all already, or nothing
                self._process.tell(b"asked")
            if head not in (None, _decode_row(next(messages))):
                return None
            return taken(messages)
        except EOFError:
            return None
        finally:
            self.end()

    def _messages(self, process: Forked) -> Iterator[bytes]:
        """Until an empty one. Raises EOFError."""
        while True:
            for message in process.hear():
                if not message:
                    return
                yield message

    def end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end()


def _fold(path: Path, source: BinaryIO, sink: BinaryIO) -> None:  # pragma: no cover - in the fork
    def ahead(records: Iterator[Record]) -> Iterator[Record]:
        yield from islice(records, _AHEAD)
        for record in records:
            receive(source)
            yield record
            break
        yield from records

    with quiet_collector():
        chain = Chain.open(path, read_only=True)
        ledger = chain.ledger(ahead)
    sink.write(framed(_encode(chain.head)))
    sink.write(framed(head_of(ledger)))
    for part in rows(ledger.bindings.single, drop=True):
        sink.write(framed(part))
    sink.write(framed(b""))
