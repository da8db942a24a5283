"""Reading the journal beside the tree, where its place can be guessed before the tree is read.

Owns: the thread, or for a large journal the process.
Must not go here: where the journal lies, whether the guess was right (session).
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Protocol

from reconciler.core.ledger import Ledger
from reconciler.edge.chain import kept, large, read


class Ahead(Protocol):
    """One journal being read."""

    path: Path

    def begin(self) -> None:
        """There is something to wait for from now on. Nothing where it has begun already."""
        ...

    def ledger(self) -> Ledger:
        """Waits for it. Raises what reading raised."""
        ...

    def end(self) -> None:
        """Nobody will ask any more."""
        ...


class Thread(threading.Thread):
    """Nobody waits for it at the end of the process. It begins when it is told to: what is done here before others work
    for us would wait for it, and no process is forked beside it."""

    def __init__(self, path: Path) -> None:
        super().__init__(name="journal", daemon=True)
        self.path = path
        self._found: Ledger | BaseException | None = None

    def run(self) -> None:
        try:
            self._found = read(self.path)
        except BaseException as error:
            self._found = error

    def begin(self) -> None:
        if self.ident is None:
            self.start()

    def ledger(self) -> Ledger:
        if self.ident is None:
            return read(self.path)
        self.join()
        if isinstance(self._found, Ledger):
            return self._found
        raise self._found or RuntimeError("the thread that read the journal ended without a word")

    def end(self) -> None:
        pass


class Process:
    """What it cannot tell is read here."""

    def __init__(self, path: Path) -> None:
        from reconciler.edge.folded import Folding

        self.path = path
        self._folding = Folding(path)

    def begin(self) -> None:
        pass

    def ledger(self) -> Ledger:
        return self._folding.ledger() or read(self.path)

    def end(self) -> None:
        self._folding.end()


def begun(path: Path) -> Ahead | None:
    """None where there is next to nothing to do ahead: a checkpoint tells nearly all of it."""
    if not large(path):
        return Thread(path)
    return None if kept(path) else Process(path)
