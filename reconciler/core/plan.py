"""The plan: data only, complete in itself, what people approve and the executor carries out.

Owns: Plan › Change › Step, Expect (preconditions and effects), Hold, and the digest.
Must not go here: making a plan (planner), showing one (render), carrying one out (runtime).
"""

# annotations are types here, not texts of the future: msgspec would compile every text at each start

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal

import msgspec

from reconciler.core.ledger import Address, Entry, Intent
from reconciler.core.observed import Lifecycle, Object
from reconciler.core.refs import Ref, Target, Uid
from reconciler.core.values import canonical, digest, find

PLACE = "/node"
"""Where a machine lives, as a field: what a Shape is asked the manner of, and what a move's difference shows."""


class Action(StrEnum):
    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    MOVE = "move"
    ADOPT = "adopt"
    """Take over: a node by its claim, an object by marks."""
    RENAME = "rename"
    DESTROY = "destroy"
    RESTORE = "restore"
    PURGE = "purge"
    FORGET = "forget"


class Manner(StrEnum):
    """How a field change is made, from the gentlest."""

    LIVE = "live"
    REBOOT = "reboot"
    STOPPED = "stopped"
    REPLACE = "replace"
    MOVE = "move"
    IMPOSSIBLE = "impossible"


class Risk(StrEnum):
    """Worst first: the order of everything shown."""

    DATA_LOSS = "data-loss"
    RESTART = "restart"
    DISRUPTIVE = "disruptive"
    LIVE = "live"
    NONE = "none"


class Undo(StrEnum):
    EXACT = "exact"
    LOSSY = "lossy"
    IMPOSSIBLE = "impossible"


class Cause(StrEnum):
    INTENT = "intent"
    DRIFT = "drift"
    BOTH = "both"
    OPERATION = "operation"


class Verdict(StrEnum):
    CERTAIN = "certain"
    LIKELY = "likely"
    UNCERTAIN = "uncertain"


class Difference(msgspec.Struct, frozen=True):
    """One field: `path` as in `/nics/app/ip`; None is "not there"."""

    path: str
    before: Any
    after: Any
    cause: Cause
    manner: Manner


class Reason(msgspec.Struct, frozen=True):
    """For people; never drives behaviour."""

    code: str
    sentence: str


class Expect(msgspec.Struct, frozen=True):
    """A predicate over one object of a step's target: its lifecycle and the fields that matter, by path.

    A field that must not be there is given as None. An object that is absent has no fields to expect.
    """

    lifecycle: Literal["absent"] | Lifecycle
    fields: Mapping[str, Any] = {}
    applied: str | None = None
    """The `rest_digest` that the marks must bear: what the last step of a change leaves behind."""
    ref: str | None = None
    """The ref that the marks must bear: who was renamed since is not meant."""
    paused: float | msgspec.UnsetType | None = msgspec.UNSET
    """The end of the pause that the marks must bear (unix seconds), None: no pause. Not looked at where it is unset."""

    def mismatch(self, found: Object | None) -> str | None:
        """None if the object is as expected, else what is different, in words."""
        if found is None:
            return None if self.lifecycle == "absent" else "it is not there"
        if self.lifecycle == "absent":
            return f"it is there, {found.lifecycle}"
        if found.lifecycle != self.lifecycle:
            return f"it is {found.lifecycle}, not {self.lifecycle}"
        for path, want in self.fields.items():
            for unknown, why in found.unknown.items():
                if path == unknown or path.startswith(unknown + "/"):
                    return f"{path} could not be read: {why}"
            have = find(found.fields, path)
            if have != want:
                return f"{path} is {have!r}, not {want!r}"
        if self.ref is not None and (found.marks is None or found.marks.ref != self.ref):
            return f"it is {found.marks.ref if found.marks else 'nobody'}, not {self.ref}"
        if self.paused is not msgspec.UNSET and (found.marks.paused_until if found.marks else None) != self.paused:
            return "it was paused, or its pause was ended"
        if self.applied is not None and (found.marks is None or found.marks.applied != self.applied):
            return "its marks tell of another change"
        return None


class Gate(msgspec.Struct, frozen=True):
    """Opens when every step named has ended, with at most `max_failures` of their changes not applied, and `pause`
    seconds after the last of them."""

    steps: tuple[str, ...]
    max_failures: int = 0
    pause: float = 0.0

    def __post_init__(self) -> None:
        # A whole number given for a float would read back as another one, and change the plan's digest.
        msgspec.structs.force_setattr(self, "pause", float(self.pause))


class Step(msgspec.Struct, frozen=True):
    """One driver operation, re-proved on the node before it runs."""

    id: str
    target: Target
    """Where the object is once the step is done."""
    ref: Ref
    uid: Uid
    verb: str
    args: Mapping[str, Any]
    """All that the driver needs, in plain values; secrets as {"secret": name}."""
    precondition: Expect
    effect: Expect
    summary: str
    """In words, as shown while it runs: `clone debian-12, 25Gi`."""
    source: Target | None = None
    """Where the object is before the step, if that is not `target`: the precondition is over the object there, the
    effect over the object on `target`, where nothing bears the uid before."""
    manner: Manner = Manner.LIVE
    risk: Risk = Risk.NONE
    undo: Undo = Undo.EXACT
    seconds: float = 1.0
    needs: tuple[str, ...] = ()
    """Steps that must have been applied first; if one was not, this one is deferred."""
    gates: tuple[Gate, ...] = ()
    on_intent: tuple[Entry, ...] = ()
    """Journalled together with the intent, before the driver is called."""
    on_applied: tuple[Entry, ...] = ()
    """Journalled together with the result `applied` or `unchanged`."""

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "seconds", float(self.seconds))

    @property
    def places(self) -> tuple[Target, ...]:
        """Every target that the step writes to."""
        return (self.target,) if self.source is None else (self.source, self.target)

    @property
    def turns(self) -> str:
        """The state into which it brings a machine from another one, `stopped` or `running`; empty for other steps."""
        before = self.precondition.fields.get("/state")
        after = None if before is None else self.effect.fields.get("/state")
        return "" if after is None or after == before else str(after)

    def intent(self, plan: str) -> Intent:
        """What is journalled before it is carried out as part of a plan (its digest)."""
        return Intent(plan, self.id, self.target, self.ref, self.uid, self.source, self.turns)


class Change(msgspec.Struct, frozen=True):
    """One resource's change on one target (of a move: where it goes). `id` is `ref@target`."""

    id: str
    ref: Ref
    uid: Uid
    target: Target
    action: Action
    reason: Reason
    risk: Risk = Risk.NONE
    undo: Undo = Undo.EXACT
    source: Target | None = None
    """Where a machine that moves is before."""
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    differences: tuple[Difference, ...] = ()
    """Of a move also `/node`, from its place to its new one."""
    verdict: Verdict = Verdict.CERTAIN
    verdict_reason: str = ""
    addresses: tuple[Address, ...] = ()
    recoverable_for: float | None = None
    """Seconds in quarantine, counted from when the step is done, so that a plan does not depend on the hour."""
    steps: tuple[Step, ...] = ()

    @property
    def downtime(self) -> float:
        """Seconds that it is expected to stop a machine, from the first stop to the end of the start; 0 if it does
        not."""
        verbs = [step.verb for step in self.steps]
        if "stop" not in verbs or "start" not in verbs:
            return 0
        first, last = verbs.index("stop"), verbs.index("start")
        return sum(step.seconds for step in self.steps[first : last + 1])


class Hold(msgspec.Struct, frozen=True):
    """A change wanted but withheld: by which rule, and what would lift it."""

    ref: str
    rule: str
    sentence: str
    lifts: str
    target: str | None = None
    wanted: Action | None = None
    differences: tuple[Difference, ...] = ()


class Headroom(msgspec.Struct, frozen=True):
    """Free memory (bytes), cpu (thousandths of a core) and disk (bytes) of a target, before and after the plan."""

    target: Target
    memory: tuple[int, int] | None = None
    cpu: tuple[int, int] | None = None
    disk: tuple[int, int] | None = None
    note: str = ""


WORDS = {
    "per plan": "a plan",
    "per hour": "an hour",
    "per day": "a day",
    "per node": "an hour on {}",
    "per rack": "an hour in rack {}",
    "per tenant": "an hour of {}",
}
"""Windows of budgets as people say them, with a gap for the node, rack or tenant."""


class BudgetUse(msgspec.Struct, frozen=True):
    """`spent` of `allowed` in the window, this plan included. `of`: the node, rack or tenant whose it is."""

    budget: str
    window: str
    spent: int
    allowed: int
    of: str = ""


class LimitUse(msgspec.Struct, frozen=True):
    """What a tenant takes of one of its limits (`machines`, `memory`, `cpu`, `disk`, as in Limits), before the plan and
    after it."""

    tenant: str
    what: str
    before: int
    after: int
    limit: int


class Plan(msgspec.Struct, frozen=True):
    """What would be done, whole. Round-trips through JSON; what is recorded beside the digest may differ."""

    datacenter: str
    datacenter_id: str
    tree: str
    changes: tuple[Change, ...]
    holds: tuple[Hold, ...]
    digest: str
    generation: int
    removed: tuple[Ref, ...] = ()
    """Refs whose removal the range witnesses; journalled when the plan begins."""
    returned: tuple[Ref, ...] = ()
    """Refs witnessed as removed before whose documents are back."""
    entries: tuple[Entry, ...] = ()
    """Housekeeping of the ledger that touches no node, journalled when the plan begins."""
    commit: str | None = None
    branch: str = ""
    root: str = ""
    repository: str = ""
    older: bool = False
    """The revision is older than what was applied last: carrying this out does not make it the end of the lineage."""
    observed_at: float = 0
    complete: bool = True
    """False if a target could not be observed whole."""
    problems: tuple[str, ...] = ()
    unmanaged: int = 0
    headroom: tuple[Headroom, ...] = ()
    budgets: tuple[BudgetUse, ...] = ()
    limits: tuple[LimitUse, ...] = ()
    proved: bool = False
    """The next plan was proved empty but for the holds."""

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(step for change in self.changes for step in change.steps)


def rest_digest(ref: str, fields: Mapping[str, Any], *, protected: bool) -> str:
    """What `Marks.applied` bears once a change came to its end: an object is at rest when its fields are right and
    its marks say so of this ref, these fields and this protection."""
    return sealed_digest(ref, canonical(fields), protected=protected)


def sealed_digest(ref: str, fields: bytes, *, protected: bool) -> str:
    """The same of canonical fields."""
    rest = b"true" if protected else b"false"
    return digest(b'{"fields":%b,"protected":%b,"ref":%b}' % (fields, rest, canonical(ref)))


def plan_digest(datacenter_id: str, tree: str, changes: tuple[Change, ...]) -> str:
    """32 hex digits over what an approval binds: datacenter, tree, changes with their steps and preconditions."""
    return digest({"datacenter": datacenter_id, "tree": tree, "changes": changes})


def to_json(plan: Plan) -> bytes:
    return msgspec.json.format(msgspec.json.encode(plan, order="sorted"), indent=1)


def from_json(data: bytes) -> Plan:
    """Raises msgspec.ValidationError if it is no plan, ValueError if it was changed since it was made."""
    plan = msgspec.json.decode(data, type=Plan)
    if plan_digest(plan.datacenter_id, plan.tree, plan.changes) != plan.digest:
        raise ValueError("the plan's digest does not fit its changes: it was edited, or cut short")
    return plan
