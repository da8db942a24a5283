"""What is seen: reports of targets, their objects, and the marks that say whose an object is.

Owns: the shape of a report. Drivers make them, the core only reads them.
Must not go here: how to read a node, what to do about it, gauges (usage and uptime stay outside the digest).
"""

# annotations are types here, not texts of the future: msgspec would compile every text at each start

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from reconciler.core.refs import Ref, Target, Uid

Lifecycle = Literal["live", "quarantined"]


class Marks(msgspec.Struct, frozen=True):
    """What trueup wrote on an object. The driver has already proved that they are set locally on the object and
    name the object's own native identity; marks that fail that proof are not reported."""

    uid: Uid
    ref: Ref
    datacenter: str
    incarnation: int
    generation: int
    fence: int
    revision: str
    """`tree:<id>` of the git tree whose intent was applied last: the same content is the same, whatever its commit."""
    applied: str
    """Digest of the normalised fields that were applied last."""
    protected: bool = False
    quarantined_until: float | None = None
    """Unix seconds after which the object may be purged."""
    paused_until: float | None = None
    paused_reason: str | None = None


class Object(msgspec.Struct, frozen=True):
    """One thing found on a target. Without marks it is unmanaged: listed, never touched."""

    kind: str
    native_name: str
    native_id: str
    """The object's own identity there: dataset guid, instance uuid."""
    fields: Mapping[str, Any]
    """Normalised: server defaults and volatile fields gone."""
    digest: str
    """Over everything here but gauges."""
    marks: Marks | None = None
    lifecycle: Lifecycle = "live"
    unknown: Mapping[str, str] = {}
    """Field path (or a prefix) to the reason it could not be read: neither equal nor different."""
    holds: tuple[str, ...] = ()
    """What lives in it, in the node's own words, ours or not: of what holds others, as a tenant's project does."""
    culprit: str | None = None
    """Who changed it last, where the node can tell."""


class Capacity(msgspec.Struct, frozen=True):
    """What a target has in all: bytes, thousandths of a core. None: the driver cannot tell."""

    memory: int | None = None
    cpu: int | None = None
    disk: int | None = None


class Claim(msgspec.Struct, frozen=True):
    """The node mark: which datacenter owns this node, for which native identity it was written (pool guid, server
    uuid), and the highest fence and generation that wrote here (invariant I12: they guard creates too, and a rebuilt
    ledger counts on from them)."""

    datacenter: str
    identity: str
    fence: int = 0
    generation: int = 0


class Report(msgspec.Struct, frozen=True):
    """What one target said. Listing `complete` and begun at our journal sequence `began` is what proves absence."""

    target: Target
    began: int
    complete: bool
    identity: str | None
    """The target's native identity as read now; None if it could not be read."""
    claim: Claim | None
    capacity: Capacity
    objects: tuple[Object, ...]
    digest: str
    """Over identity, claim, capacity, completeness and the objects' digests."""
    carries: tuple[str, ...] | None = None
    """nicTags that really exist there; None: take the declared ones."""
    problem: str | None = None
    """Why the report is incomplete, in words."""
    cannot: Mapping[str, str] = {}
    """What the driver knows and this host cannot do, each with the reason: brands, which are not run there, and fields
    of machines, which are not held there."""
    facts: Mapping[str, Any] = {}
    """What `trueup get node` shows: storage backend, kernel, versions."""


class Unread(msgspec.Struct, frozen=True):
    """An Object whose fields nobody has read: the same but for them."""

    kind: str
    native_name: str
    native_id: str
    fields: msgspec.Raw
    digest: str
    marks: Marks | None = None
    lifecycle: Lifecycle = "live"
    unknown: Mapping[str, str] = {}
    holds: tuple[str, ...] = ()
    culprit: str | None = None


class Told(msgspec.Struct, frozen=True):
    """A Report whose objects are as they were written: most are just as they should be, which their bytes tell."""

    report: Report
    """Without objects."""
    written: tuple[bytes, ...]
    """Each Object in JSON: the `canonical` one, or nobody will be found at rest by it."""
    unread: tuple[Unread, ...]

    @classmethod
    def of(cls, report: Report, written: tuple[bytes, ...]) -> "Told":
        """Raises msgspec.DecodeError for what is no Object."""
        return cls(report, written, _unread(b"[%b]" % b",".join(written)))

    @property
    def target(self) -> Target:
        return self.report.target

    def opened(self) -> Report:
        """With its objects."""
        return msgspec.structs.replace(self.report, objects=_objects(b"[%b]" % b",".join(self.written)))


_objects = msgspec.json.Decoder(tuple[Object, ...]).decode
_unread = msgspec.json.Decoder(tuple[Unread, ...]).decode


class Unchanged(msgspec.Struct, frozen=True):
    """The target's report still has the digest that was named."""

    target: Target
    began: int
    digest: str
