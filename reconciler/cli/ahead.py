"""Reading the journal beside the tree, where its place can be guessed before the tree is read.

Owns: the thread. Must not go here: where the journal lies, whether the guess was right (session).
"""

from __future__ import annotations

import threading
from pathlib import Path

from reconciler.core.ledger import Ledger
from reconciler.edge.journal import read


class Ahead(threading.Thread):
    """One journal being read. Nobody waits for it at the end of the process."""

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
        """Waits for it. Raises what reading raised."""
        self.join()
        if isinstance(self._found, Ledger):
            return self._found
        raise self._found or RuntimeError("the thread that read the journal ended without a word")


def begun(path: Path) -> Ahead:
    reading = Ahead(path)
    reading.start()
    return reading
