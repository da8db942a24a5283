"""What the runtime tells while it works: for the live display, for JSON lines, for a waiting `apply` at the socket.

Owns: the event records, flat and small, that travel as JSON. Must not go here: showing them (cli), the journal's
entries (core), secrets (there are none in a summary or a reason).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from reconciler.core.ledger import Status
from reconciler.core.outages import Downtime
from reconciler.core.plan import Step
from reconciler.core.refs import Ref, Target


class NodeAsked(msgspec.Struct, frozen=True, tag="node-asked"):
    """A node was asked: `done` of `all` nodes so far, `problem` in words where it could not be read whole."""

    node: str
    done: int
    all: int
    objects: int
    seconds: float
    problem: str | None = None


class StepStarted(msgspec.Struct, frozen=True, tag="step-started"):
    step: str
    ref: Ref
    target: Target
    verb: str
    summary: str


class StepProgress(msgspec.Struct, frozen=True, tag="step-progress"):
    """A line for people from the driver."""

    step: str
    ref: Ref
    target: Target
    text: str


class StepEnded(msgspec.Struct, frozen=True, tag="step-ended"):
    """Journalled already. `seconds` is 0 for a step that never began. `down`: of the step that ended an outage."""

    step: str
    ref: Ref
    target: Target
    verb: str
    status: Status
    reason: str = ""
    seconds: float = 0
    down: Downtime | None = None


class Stopping(msgspec.Struct, frozen=True, tag="stopping"):
    """No more steps are handed out; those in hand have `grace` seconds to finish."""

    reason: str
    in_hand: tuple[str, ...]
    grace: float


Event = NodeAsked | StepStarted | StepProgress | StepEnded | Stopping
Emit = Callable[[Event], None]


def harmless(emit: Emit | None) -> Emit | None:
    """The same listener, dropped as soon as it fails: work under way never ends because somebody stopped listening."""
    if emit is None:
        return None
    listeners = [emit]

    def tell(event: Event) -> None:
        for listener in listeners.copy():
            try:
                listener(event)
            except Exception:
                listeners.remove(listener)

    return tell


def started(step: Step) -> StepStarted:
    return StepStarted(step.id, step.ref, step.target, step.verb, step.summary)
