"""A tree that nobody has read before, read beside everything else that a plan needs.

Owns: when that is worth a process. Must not go here: the process and its answers (edge/apart).
"""

from __future__ import annotations

from reconciler.cli.sources import place
from reconciler.edge.apart import Apart
from reconciler.edge.forked import possible
from reconciler.edge.source import GitSource
from reconciler.waiting import alone

_FEW = 4_000
"""Files up to which one process reads as quickly as two, and what it tells is taken in as quickly as read here."""


def begun(source: GitSource, revision: str | None) -> Apart | None:
    """None where the tree is large, or no other process can be had. Raises as `GitSource.few`."""
    if not (alone() and possible()):
        return None
    found = source.few(revision, _FEW)
    return Apart(source, *found, place) if found is not None else None
