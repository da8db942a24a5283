"""Optional for a driver: answering at once, so that nothing need be begun to wait for it.

Owns: the Protocol Prompt. A Driver that has this method offers it; trueup asks with `isinstance`.
Must not go here: driving a coroutine without an event loop (runtime), which nodes are asked so.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class Prompt(Protocol):
    def prompt(self) -> bool:
        """Whether an `observe` called now comes to its end without ever waiting: it awaits nothing that is not done
        already, and blocks for no longer than reading a file of this host takes. Nobody can leave it meanwhile, so it
        has no deadline. False as soon as anything may take its time (a fault on cue, too). Raises nothing.

        Who promised and waits after all, or raises anything but NodeUnreachable, is asked again as any other node."""
        ...
