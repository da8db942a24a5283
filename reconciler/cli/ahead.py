"""Reading the journal beside the tree, where its place can be guessed before the tree is read.

Owns: the thread, or for a large journal the process.
Must not go here: where the journal lies, whether the guess was right (session).
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Protocol

from reconciler.core.ledger import Ledger
from reconciler.edge.chain import large, read


class Ahead(Protocol):
    """One journal being read."""

    path: Path

    def ledger(self) -> Ledger:
        """Waits for it. Raises what reading raised."""
        ...

    def end(self) -> None:
        """Nobody will ask any more."""
        ...


class Thread(threading.Thread):
    """Nobody waits for it at the end of the process."""

    def __init__(self, path: Path) -> None:
        super().__init__(name="journal", daemon=True)
        self.path = path
        self._found: Ledger | BaseException | None = None

    def run(self) -> None:
        try:
            self._found = read(self.path)
        except BaseException as error:
            self._found = error

    def ledger(self) -> Ledger:
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

    def ledger(self) -> Ledger:
        return self._folding.ledger() or read(self.path)

    def end(self) -> None:
        self._folding.end()


def begun(path: Path) -> Ahead:
    if large(path):
        return Process(path)
    reading = Thread(path)
    reading.start()
    return reading
