"""How long machines were down for what we did to them, from when they were stopped until they served again.

Owns: the account of it, a fold of the journal: what is down now, and how long each was down last.
Must not go here: how long it should take (plan), showing it (render), what else is remembered of a machine (ledger).

It begins with the intent of the step that stops a machine, the last moment at which that surely ran, and ends with the
change that started it again: once it is ready, where it has such a check. Whoever carries on after a kill goes on with
the same account. Times are the journal's: a clock that is set meanwhile sets them wrong.
"""

from __future__ import annotations

import msgspec

from reconciler.core.entries import Intent, Status
from reconciler.core.refs import Ref, Target, Uid


class Outage(msgspec.Struct, frozen=True):
    """`since`, `until`: unix seconds. `plan`, `step`: with whose result it ended. `source`: where it was before, if it
    moved; `target`: where it is since."""

    since: float
    until: float
    plan: str
    step: str
    target: Target
    source: Target | None = None

    @property
    def seconds(self) -> float:
        return self.until - self.since


class Downtime(msgspec.Struct, frozen=True, omit_defaults=True):
    """A machine serves again: it was down for `seconds`, from the intent of the step that stopped it on, whichever run
    that was of. `predicted`: seconds that the plan told of, None where it found the machine stopped. `source`: where
    it was before, if it moved."""

    ref: Ref
    target: Target
    seconds: float
    predicted: float | None = None
    source: Target | None = None


class _Open(msgspec.Struct):
    """`started`: the last step that went well since it was started again, with its plan."""

    since: float
    source: Target | None = None
    started: Intent | None = None


class Outages(msgspec.Struct):
    """The account by uid: a rename does not end it, and what replaces a machine has one of its own."""

    open: dict[Uid, _Open] = {}
    last: dict[Uid, Outage] = {}
    asked: dict[tuple[str, str], tuple[Uid, float, float]] = {}
    """By plan and step: whom one is to stop that has no result yet, and when it was begun, first and last."""

    def begun(self, step: Intent, at: float) -> None:
        """A step is about to be handed to its driver, perhaps once more."""
        if step.turns == "stopped":
            _, first, _ = self.asked.get((step.plan, step.step), (step.uid, at, at))
            self.asked[step.plan, step.step] = (step.uid, first, at)

    def ended(self, step: Intent, status: Status) -> None:
        """A step has a result."""
        if step.turns == "stopped":
            self._stopped(step, status)
        found = self.open.get(step.uid)
        if found is None or status not in ("applied", "unchanged"):
            return
        if step.source is not None:
            found.source = found.source or step.source
        if step.turns == "running" or found.started is not None:
            found.started = step

    def _stopped(self, step: Intent, status: Status) -> None:
        """`applied` proves that it ran until then. Else it may have been an earlier attempt that stopped it, unless
        nothing was done."""
        _, first, last = self.asked.pop((step.plan, step.step))
        if status == "applied":
            self.open[step.uid] = _Open(last)
        elif status in ("unchanged", "unconfirmed"):
            self.open.setdefault(step.uid, _Open(first))

    def settled(self, uid: Uid, at: float) -> None:
        """Its change came to its end. If that did not start it, it was to stay stopped, or somebody else did: then
        nobody knows how long it was down."""
        found = self.open.pop(uid, None)
        if found is not None and found.started is not None and at >= found.since:
            end = found.started
            self.last[uid] = Outage(found.since, at, end.plan, end.step, end.target, found.source)

    def drop(self, uid: Uid) -> None:
        """It is no more, or no longer ours, or put away."""
        self.open.pop(uid, None)
        self.last.pop(uid, None)

    def down_since(self, uid: Uid, *, runs: bool) -> float | None:
        """Unix seconds; None if no change of ours has it stopped. `runs`: it was seen running, so that a step without
        a result has not stopped it."""
        found = self.open.get(uid)
        if found is not None:
            return found.since
        begun = (first for asked, first, _ in self.asked.values() if asked == uid and not runs)
        return min(begun, default=None)

    def by(self, uid: Uid, plan: str, step: str) -> Outage | None:
        """The outage that this step ended."""
        found = self.last.get(uid)
        return found if found is not None and (found.plan, found.step) == (plan, step) else None
