"""Running a command that opens a session: git looks for its repository while the event loop is imported.

Owns: the event loop, and handing the repository to the session. Must not go here: what a session is made of (session).
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio

from reconciler.cli.remotes import is_remote
from reconciler.edge.git import Opening, Repository


def run(command: Callable[[Namespace], Awaitable[int]], args: Namespace) -> int:
    """Raises what the command raises, and SourceRefused, SourceUnreadable."""
    where = args.directory or "."
    opening = args.opening = None if is_remote(where) else Opening(Path(where))
    try:
        return anyio.run(command, args)
    finally:
        if opening is not None:
            opening.close()


def repository_of(args: Namespace, where: Path) -> Repository:
    """The one that is being looked for already, the first time; a command may open a session after another."""
    opening: Opening | None = getattr(args, "opening", None)
    args.opening = None
    return opening.opened() if opening is not None else Repository.open(where)
