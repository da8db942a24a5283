"""Optional for a driver: answering at once, so that nothing need be begun to wait for it; and leaving objects unread.

Owns: the Protocols Prompt and Tells. A Driver that has their methods offers them; trueup asks with `isinstance`.
Must not go here: driving a coroutine without an event loop (runtime), which nodes are asked so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from reconciler.core.observed import Told, Unchanged
from reconciler.core.refs import Target


@runtime_checkable
class Prompt(Protocol):
    def prompt(self) -> bool:
        """Whether an `observe` called now comes to its end without ever waiting: it awaits nothing that is not done
        already, and blocks for no longer than reading a file of this host takes. Nobody can leave it meanwhile, so it
        has no deadline. False as soon as anything may take its time (a fault on cue, too). Raises nothing.

        Who promised and waits after all, or raises anything but NodeUnreachable, is asked again as any other node."""
        ...


@runtime_checkable
class Tells(Prompt, Protocol):
    """Who keeps objects in canonical JSON may hand them over so: of most of a fleet nobody reads them then."""

    async def tell(self, began: int, since: Mapping[Target, str] | None = None) -> tuple[Told | Unchanged, ...]:
        """What `observe` would report."""
        ...
