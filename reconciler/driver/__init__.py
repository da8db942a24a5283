"""The driver contract: what a node driver must be (design §7). Public, for people who write their own.

Owns: the Protocols Driver and Shape and the records they exchange.
Must not go here: finding drivers (edge/registry), running steps (runtime).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from reconciler.core.desired import NodeWant
from reconciler.core.ledger import Status
from reconciler.core.observed import Report, Unchanged
from reconciler.core.plan import Step
from reconciler.core.refs import Target
from reconciler.core.shape import Capability, Draft, NativeContext, Shape

__all__ = [
    "Capability",
    "Draft",
    "Driver",
    "DriverEntry",
    "NativeContext",
    "NodeUnreachable",
    "Outcome",
    "Shape",
    "StepContext",
    "outbid",
]


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What became of a step. `unconfirmed`: the driver cannot say (the connection broke during the call); the next
    observation will. `deferred`: neither precondition nor effect held, nothing was done."""

    status: Status
    reason: str = ""
    outbid: bool = False
    """The node has seen a higher fence than ours: another controller acts, and we stop (see `outbid`)."""


def outbid(seen: int, ours: int) -> Outcome:
    """The answer to a step whose fence is below that which the node has seen."""
    return Outcome("deferred", f"another controller acts here: it has the fence {seen}, ours is {ours}", outbid=True)


class StepContext(msgspec.Struct, frozen=True):
    """What accompanies a step. Deadline in seconds from now; `progress` takes a line for people."""

    fence: int
    generation: int
    now: float
    """Unix seconds, for quarantine times and marks."""
    deadline: float = 120.0
    progress: Callable[[str], None] = lambda _: None
    secrets: Mapping[str, str] = {}
    """The values of the secrets that the step names. Never logged, never in an Outcome."""
    files: Mapping[str, str] = {}
    """Content digest to a local path: image sources that the edge has fetched and checked."""


class Driver(Protocol):
    """One open node. Made by the `open` function that the driver's entry point names."""

    shape: Shape

    async def observe(self, *, began: int, since: Mapping[Target, str] | None = None) -> tuple[Report | Unchanged, ...]:
        """A report per target, dated with `began`; complete or partial, never raising for one object. A target whose
        report still has the digest named in `since` may answer Unchanged. Raises NodeUnreachable alone."""
        ...

    async def apply(self, step: Step, context: StepContext) -> Outcome:
        """Check precondition, effect and fence under the node's own lock and act in the same breath. Raises nothing
        but cancellation: what goes wrong is an Outcome."""
        ...

    async def close(self) -> None: ...


class NodeUnreachable(Exception):
    """The node could not be asked at all; everything there is Unknown. The text is one sentence for people."""


class DriverEntry(Protocol):
    """What an entry point of the group `trueup.drivers` gives."""

    name: str
    shape: Shape

    def open(self, node: NodeWant, options: Mapping[str, Any]) -> Driver: ...
