"""A large journal folded by a process of its own: what comes back is the ledger as it is kept, mostly bytes.

Owns: the process, how a ledger goes over the pipe, and that a doubt is no answer: whoever asked then reads the journal
himself, and meets what is wrong with it. Must not go here: reading and folding (chain), when it is begun (cli).

Folding takes 20 us a machine, and taking what comes back one or two.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import msgspec

from reconciler.core.ledger import Ledger
from reconciler.core.refs import Ref
from reconciler.edge.chain import Chain
from reconciler.edge.collector import quiet_collector
from reconciler.edge.forked import Forked, framed

_MANY = 20_000
"""Rows that go together."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[Ref, bytes]).decode


class Folding:
    """One journal being folded. Call `end` in any case."""

    def __init__(self, path: Path) -> None:
        def work(_: BinaryIO, sink: BinaryIO) -> None:
            _fold(path, sink)

        self._process: Forked | None = Forked(work)

    def ledger(self, head: tuple[int, bytes] | None = None) -> Ledger | None:
        """Waits for it; None if that process could not tell, or if the journal's last row was not this one."""
        if self._process is None:
            return None
        messages = self._messages(self._process)
        try:
            found, last = pickle.loads(next(messages))
            for rows in messages:
                found.bindings.single.update(_decode(rows))
        except EOFError:
            return None
        finally:
            self.end()
        return found if head in (None, last) else None

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


def _fold(path: Path, sink: BinaryIO) -> None:  # pragma: no cover - in the fork
    with quiet_collector():
        chain = Chain.open(path, read_only=True)
        ledger = chain.ledger()
    rows, ledger.bindings.single = ledger.bindings.single, {}
    sink.write(framed(pickle.dumps((ledger, chain.head), protocol=pickle.HIGHEST_PROTOCOL)))
    entries = iter(rows.items())
    while part := dict(islice(entries, _MANY)):
        sink.write(framed(_encode(part)))
    sink.write(framed(b""))
