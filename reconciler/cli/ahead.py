"""The journal read beside the tree, where its place can be guessed before the tree is read: a large one is folded by
another process, a short one is read while this one would wait.

Owns: when that is worth a process. Must not go here: where the journal lies, whether the guess was right (session).
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from reconciler.core.ledger import Ledger
from reconciler.edge.chain import kept, large, read
from reconciler.errors import TrueupError


class Ahead:
    """One journal, read ahead of who asks. What that cannot tell is read when it is asked for. Call `end` in any
    case."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: Ledger | None = None
        self._folding = None
        if large(path) and not kept(path):  # else a checkpoint tells nearly all of it, or it is short
            from reconciler.edge.folded import Folding

            self._folding = Folding(path)

    def meanwhile(self) -> None:
        """There is nothing else to do here now."""
        if self._folding is None:
            with suppress(TrueupError):  # whoever asks meets it
                self._known = read(self.path)

    def ledger(self) -> Ledger:
        """Waits for it. Raises as `read`."""
        if self._known is not None:
            return self._known
        return (self._folding is not None and self._folding.ledger()) or read(self.path)

    def end(self) -> None:
        if self._folding is not None:
            self._folding.end()
