"""Optional for a driver: telling at once that something on its node changed. A hint, never data.

Owns: the Protocol Watch. A Driver that has this method offers it; the loop asks with `isinstance`.
Must not go here: what changed (that is observed), how often a node is asked without hints (runtime).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol, runtime_checkable

from reconciler.core.refs import Target


@runtime_checkable
class Watch(Protocol):
    def watch(self) -> AsyncIterator[Target]:
        """Yields a target whenever something there may have changed, and first of all one of them once it listens:
        what was missed before is found by asking. Changes close to one another may come as one. Ends, or raises
        NodeUnreachable, when it can listen no more; whoever wants to hears on by calling it again."""
        ...
