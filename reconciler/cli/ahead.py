"""Folding a large journal beside the tree, where its place can be guessed before the tree is read.

Owns: when that is worth a process. Must not go here: where the journal lies, whether the guess was right (session).
"""

from __future__ import annotations

from pathlib import Path

from reconciler.core.ledger import Ledger
from reconciler.edge.chain import kept, large, read


class Ahead:
    """One journal being folded. What that process cannot tell is read here. Call `end` in any case."""

    def __init__(self, path: Path) -> None:
        from reconciler.edge.folded import Folding

        self.path = path
        self._folding = Folding(path)

    def ledger(self) -> Ledger:
        """Waits for it. Raises as `read`."""
        return self._folding.ledger() or read(self.path)

    def end(self) -> None:
        self._folding.end()


def begun(path: Path) -> Ahead | None:
    """None where there is next to nothing to do ahead: a checkpoint tells nearly all of it, or it is short."""
    return Ahead(path) if large(path) and not kept(path) else None
