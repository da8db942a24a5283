"""Running a command that opens a session: git looks for its repository while the session's modules are imported.

Owns: handing the repository to the session. Must not go here: what a session is made of (opened), the event loop
(waiting).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.cli.remotes import is_remote
from reconciler.edge.git import Opening, Repository
from reconciler.waiting import run as run_waiting

if TYPE_CHECKING:
    from argparse import Namespace

    from reconciler.cli.placing import Place


def begin(args: Namespace) -> None:
    """git looks for the repository from now on, if it does not yet. Raises SourceRefused, SourceUnreadable."""
    if not hasattr(args, "opening"):
        where = args.directory or "."
        args.opening = None if is_remote(where) else Opening(Path(where))


def run(command: Callable[[Namespace], Coroutine[Any, Any, int]], args: Namespace) -> int:
    """Raises what the command raises, and SourceRefused, SourceUnreadable."""
    begin(args)
    opening: Opening | None = args.opening
    try:
        return run_waiting(command(args))
    finally:
        place: Place | None = getattr(args, "place", None)
        if place is not None:  # what was opened ahead, and not asked for
            with place:
                pass
        if opening is not None:
            opening.close()


def repository_of(args: Namespace, where: Path) -> Repository:
    """The one that is being looked for already, the first time; a command may open a session after another."""
    opening: Opening | None = getattr(args, "opening", None)
    args.opening = None
    return opening.opened() if opening is not None else Repository.open(where)
