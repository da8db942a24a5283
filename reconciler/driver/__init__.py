"""The driver contract: what a node driver must be (design §7). Public, for people who write their own.

Owns: the Protocols Driver and Shape and the records they exchange.
Must not go here: finding drivers (edge/registry), running steps (runtime).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from reconciler.core.desired import NodeWant, Resource
from reconciler.core.ledger import Address, Status
from reconciler.core.observed import Marks, Object, Report, Unchanged
from reconciler.core.plan import Change, Manner, Step
from reconciler.core.refs import Ref, Target
from reconciler.core.values import Fields


class Capability(msgspec.Struct, frozen=True):
    """What a driver can take: checked offline, before any node is asked."""

    kinds: frozenset[str]
    """Kinds that it realises on a target. A Network it need not realise is simply carried."""
    image_types: frozenset[str]
    brands: frozenset[str]
    image_sources: frozenset[str] = frozenset({"file", "url", "folder"})


class NativeContext(msgspec.Struct, frozen=True):
    """What a Shape needs beside the resource: where it goes, its addresses, and the things it refers to."""

    node: NodeWant
    target: Target
    addresses: tuple[Address, ...] = ()
    references: Mapping[Ref, Resource] = {}
    """Its networks and image, as desired."""


class Draft(msgspec.Struct, frozen=True):
    """A change that the planner has decided, for the Shape to break into steps."""

    change: Change
    """Without steps."""
    observed: Object | None
    resource: Resource | None
    """None where nothing is desired any more (destroy, purge)."""
    context: NativeContext | None
    marks: Marks
    """To be written on the object. `fence` is the executor's; `applied` is what the change's last step leaves: steps
    before it write an empty one, so that a change cut short is never taken for a finished one."""


class Outcome(msgspec.Struct, frozen=True):
    """What became of a step. `unconfirmed`: the driver cannot say (the connection broke during the call); the next
    observation will. `deferred`: neither precondition nor effect held, nothing was done."""

    status: Status
    reason: str = ""


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


class Shape(Protocol):
    """Pure: no IO, no clock. Between a Resource and what a target holds."""

    capability: Capability

    def native(self, resource: Resource, context: NativeContext) -> Fields:
        """The normalised fields that the target should hold for the resource."""
        ...

    def normalise(self, kind: str, native: Mapping[str, Any]) -> Fields:
        """What the driver reads of an object, in the form that `native` gives: defaults and volatile fields gone."""
        ...

    def manner(self, kind: str, path: str, before: Any, after: Any, fields: Fields) -> Manner:
        """What a change of one field takes; `fields` are the object's as observed (brand, state)."""
        ...

    def steps(self, draft: Draft) -> tuple[Step, ...]:
        """The steps of a change, in series. Ids are local (`1-create`); the planner prefixes them with the change's
        id and adds needs, gates and journal entries. `reconciler.driver.series` builds the usual ones."""
        ...


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
