"""Optional for a driver: getting into a machine, for people.

Owns: the Protocol Console. A Driver that has these methods offers them; trueup asks with `isinstance`.
Must not go here: anything that a plan or an observation stands on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from reconciler.core.refs import Uid


class ConsoleUnavailable(Exception):
    """It cannot be had now (stopped, not there, not permitted). The text is one sentence for people."""


@runtime_checkable
class Console(Protocol):
    """`uid` is the machine's, as its marks bear it. All of them raise ConsoleUnavailable alone."""

    async def exec(self, uid: Uid, argv: Sequence[str]) -> int:
        """Run a command inside, on this process's own stdin, stdout and stderr; give its exit code. Nothing is
        passed through a shell."""
        ...

    async def console(self, uid: Uid) -> None:
        """Attach this process's terminal to the machine's console until the person detaches."""
        ...

    async def logs(self, uid: Uid, lines: int) -> str:
        """The last lines of what the machine wrote to its console."""
        ...
