"""Exit codes, and which one wins where several apply.

Owns: the meaning of each code (published: scripts and CI stand on them). Must not go here: when a command ends how.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum


class Exit(IntEnum):
    DONE = 0
    """Done; with --detailed-exitcode: nothing to do."""
    ERROR = 1
    """Nothing more could be done; arguments that make no sense, too."""
    CHANGES = 2
    """There are changes (with --detailed-exitcode only)."""
    BLOCKED = 3
    """A rule withholds something that is wanted."""
    INCOMPLETE = 4
    """Something could not be observed; it was left alone."""
    LOST = 5
    """Another process holds the datacenter's lock, or took it over."""
    PARTIAL = 6
    """Some of the plan was applied, some was not."""


MEANINGS = {
    Exit.DONE: "done; with --detailed-exitcode: nothing to do",
    Exit.ERROR: "error, in arguments too; nothing was changed unless it says so",
    Exit.CHANGES: "there are changes (with --detailed-exitcode only)",
    Exit.BLOCKED: "a rule withholds something that is wanted",
    Exit.INCOMPLETE: "something could not be observed, and was left alone",
    Exit.LOST: "another process holds the lock, or took it over",
    Exit.PARTIAL: "some of the plan was applied, some was not",
}

_PRECEDENCE = (Exit.ERROR, Exit.LOST, Exit.INCOMPLETE, Exit.BLOCKED, Exit.PARTIAL, Exit.CHANGES, Exit.DONE)


def worst(codes: Iterable[Exit]) -> Exit:
    """The one to end with; DONE if there are none."""
    return min(codes, key=_PRECEDENCE.index, default=Exit.DONE)
