"""The pure half of a driver, as the planner sees it.

Owns: the Shape Protocol and the records that go in. Drivers implement it; `reconciler.driver` publishes it.
Must not go here: the half that touches nodes (reconciler.driver.Driver).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

import msgspec

from reconciler.core.desired import NodeWant, Resource
from reconciler.core.ledger import Address
from reconciler.core.observed import Marks, Object
from reconciler.core.plan import Change, Manner, Step
from reconciler.core.refs import Ref, Target
from reconciler.core.values import Fields


class Capability(msgspec.Struct, frozen=True):
    """What a driver can take: checked offline, before any node is asked."""

    kinds: frozenset[str]
    """Kinds that it realises on a target. A Network it need not realise is simply carried."""
    image_types: frozenset[str]
    brands: frozenset[str]
    fields: frozenset[str] = frozenset()
    """Fields of a machine or a network that not every driver can hold, and this one does: `snapshots`, `forwards`."""
    image_sources: frozenset[str] = frozenset({"file", "url", "folder"})
    plainly: bool = False
    """A promise: the form of a machine shows its name and its addresses just as they stand, wherever it shows them, and
    depends on them, on the target and on its node in no other way. Then the form of machines alike is made once."""
    names: frozenset[str] = frozenset()
    """Kinds whose objects it calls natively as people do, a machine by its hostname (`PROJECT/HOSTNAME` where a tenant
    has a project), the others by the name in their ref: there is one of each name, whoever made it."""
    routes: frozenset[str] | None = None
    """The interfaces, as a node says of its nic tags, on whose networks FirewallRules are in force and forwards are
    made: those of which it is the router. None: any."""


class NativeContext(msgspec.Struct, frozen=True):
    """What a Shape needs beside the resource: where it goes, its addresses, and the things it refers to."""

    node: NodeWant
    target: Target
    addresses: tuple[Address, ...] = ()
    """One for each nic, in the order of the body's nics."""
    references: Mapping[Ref, Resource] = {}
    """Its networks and image, as desired."""
    halted: bool = False
    """Machines do not run there for now (`drain: {how: stop}`). A Shape need not look: the core sees to it."""
    cannot: Collection[str] = ()
    """Fields that this target does not hold. A Shape need not look: the core sees to it."""
    parties: Mapping[Ref, tuple[tuple[Ref, str], ...]] = {}
    """(network, address) of each of the resource's parties that has any."""
    residents: frozenset[Ref] = frozenset()
    """Of the parties those that live on this target, or will."""


class Draft(msgspec.Struct, frozen=True):
    """A change that the planner has decided, for the Shape to break into steps."""

    change: Change
    """Without steps."""
    observed: Object | None
    resource: Resource | None
    """None where nothing is desired any more (destroy, purge)."""
    context: NativeContext | None
    marks: Marks
    """To be written on the object. `fence` is the executor's. `applied` is what the last step of the change leaves
    (the `rest_digest` of all that is desired); steps before it write an empty one, so that a change cut short is never
    taken for a finished one."""


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
