"""The entries of the journal: what is said of things, once and for good.

Owns: one record a kind of entry. Must not go here: what each does to the ledger (ledger), how they are stored (edge).
"""

# annotations are types here, not texts of the future: msgspec would compile every text at each start

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from reconciler.core.binding import Address
from reconciler.core.refs import Ref, Target, Uid

Status = Literal["applied", "unchanged", "deferred", "failed", "unconfirmed"]


class Bound(msgspec.Struct, frozen=True, tag="bound"):
    """A ref has a thing: written with the intent of the step that first makes it, so addresses and the place are
    taken before the driver is called."""

    ref: Ref
    uid: Uid
    incarnation: int
    target: Target
    addresses: tuple[Address, ...] = ()
    demand: tuple[int, int, int] = (0, 0, 0)
    """Memory, cpu, disk as in Demand: what stays reserved while the node cannot be read."""


class Moving(msgspec.Struct, frozen=True, tag="moving"):
    """A bound thing is about to be carried to another target: from now on it may be there, and has its room there.
    It is bound where it was until a `Bound` says otherwise."""

    ref: Ref
    uid: Uid
    target: Target


class Settled(msgspec.Struct, frozen=True, tag="settled"):
    """A change came to its end: these normalised fields were applied and proved."""

    ref: Ref
    uid: Uid
    target: Target
    fields: Mapping[str, Any]
    revision: str
    protected: bool = False


class Sealed(msgspec.Struct, frozen=True, tag="settled"):
    """A Settled as a ledger takes it from its file: the fields as they stand there, in JSON, which few ever look into.
    It is no Entry: nobody writes it, and who reads entries gets Settled."""

    ref: Ref
    uid: Uid
    target: Target
    fields: msgspec.Raw
    revision: str
    protected: bool = False


class Quarantined(msgspec.Struct, frozen=True, omit_defaults=True, tag="quarantined"):
    """The thing was put into quarantine, or found there: its addresses stay reserved until the purge."""

    ref: Ref
    uid: Uid
    incarnation: int
    target: Target
    seconds: float
    """From the record's time on."""
    said: float | None = None
    """What the thing itself says is left of that, where it was found and the clock proves nothing."""


class Purged(msgspec.Struct, frozen=True, tag="purged"):
    ref: Ref
    uid: Uid
    target: Target


class Renamed(msgspec.Struct, frozen=True, tag="renamed"):
    uid: Uid
    before: Ref
    after: Ref


class Forgotten(msgspec.Struct, frozen=True, tag="forgotten"):
    """Management was dropped, the object left as it is."""

    ref: Ref
    uid: Uid
    target: Target


class Claimed(msgspec.Struct, frozen=True, tag="claimed"):
    target: Target
    identity: str


class Released(msgspec.Struct, frozen=True, tag="released"):
    """A node was forgotten."""

    target: Target


class Covered(msgspec.Struct, frozen=True, tag="covered"):
    """A complete listing of the target was seen since this ledger began (invariant I2)."""

    target: Target


class Applied(msgspec.Struct, frozen=True, tag="applied"):
    """A plan of this revision began to be applied: the new end of the lineage. `removed`: refs whose removal this
    range witnessed (invariant I13); they stay witnessed until done, or until their documents come back."""

    plan: str
    generation: int
    fence: int
    revision: str
    tree: str
    branch: str
    root: str
    repository: str
    removed: tuple[Ref, ...] = ()
    returned: tuple[Ref, ...] = ()


class Accepted(msgspec.Struct, frozen=True, tag="accepted"):
    """A person accepted a revision without lineage: `trueup accept`."""

    revision: str
    reason: str = ""


class Spent(msgspec.Struct, frozen=True, tag="spent"):
    """One unit of a budget (`destroys`, `restarts` or `creates`), at the record's time."""

    budget: str
    ref: Ref
    target: Target


class Paused(msgspec.Struct, frozen=True, tag="paused"):
    """`subject` is a Ref, or `Node/name`."""

    subject: str
    until: float
    reason: str


class Resumed(msgspec.Struct, frozen=True, tag="resumed"):
    subject: str


class Held(msgspec.Struct, frozen=True, tag="held"):
    """A ref that the loop leaves alone until a commit says otherwise (undo, restore, break-glass)."""

    ref: Ref
    reason: str
    digest: str
    """Digest of the desired resource at that time: another one lifts the hold."""
    way: Literal["heal", "resume"] = "heal"
    """The command that people are told of: where something was made past git, taking it back; else going on."""


class Intent(msgspec.Struct, frozen=True, omit_defaults=True, gc=False, tag="intent"):
    """A step is about to be handed to its driver. Durable before the call. `source`, `turns`: as in the step."""

    plan: str
    step: str
    target: Target
    ref: Ref
    uid: Uid
    source: Target | None = None
    turns: str = ""


class Result(msgspec.Struct, frozen=True, omit_defaults=True, gc=False, tag="result"):
    """What became of a step. `source`: as in the step. `more`: it went well, and others of its change
    come after it; said only where the next one's intent is not in the same commit."""

    plan: str
    step: str
    target: Target
    ref: Ref
    status: Status
    reason: str = ""
    source: Target | None = None
    more: bool = False


class Beat(msgspec.Struct, frozen=True, omit_defaults=True, tag="beat"):
    """What the clocks said beside the record's time, as in `rests.Instant`. A plan's is empty: the journal fills in
    what they say as it is written."""

    boot: str = ""
    up: float = 0.0
    synced: bool = False


class Vouched(msgspec.Struct, frozen=True, tag="vouched"):
    """A person says that the clock is right, and was: `trueup accept --clock`."""

    reason: str = ""


Entry = (
    Beat
    | Vouched
    | Bound
    | Moving
    | Settled
    | Quarantined
    | Purged
    | Renamed
    | Forgotten
    | Claimed
    | Released
    | Covered
    | Applied
    | Accepted
    | Spent
    | Paused
    | Resumed
    | Held
    | Intent
    | Result
)


class Record(msgspec.Struct, frozen=True, gc=False):
    """An entry with its place in the journal. `sequence` counts from 1; `at` is unix seconds, for people and rolling
    budgets, never for deciding what came first."""

    sequence: int
    at: float
    entry: Entry


def touched(entry: Intent | Result) -> tuple[Target, ...]:
    """The targets that a step writes to."""
    return (entry.target,) if entry.source is None else (entry.source, entry.target)
