"""Pauses: a person's word to leave something alone. It counts at once, from the ledger; and it is written on the object
itself, so that another controller, or this one after its ledger was lost, leaves it alone too.

Owns: which pause stands for a thing, and its Hold.
Must not go here: other rules (rules), writing it on objects (single), saying it (cli).

A node bears no pause of its own: that of a node is the ledger's alone (decision 0012).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from reconciler.core.ledger import Ledger, Paused
from reconciler.core.observed import Marks
from reconciler.core.plan import Action, Hold, Step
from reconciler.core.refs import Ref, Target, node_of
from reconciler.core.render.quantities import moment

if TYPE_CHECKING:
    from reconciler.core.world import World


def standing(ledger: Ledger, ref: Ref, marks: Marks | None, now: float) -> Paused | None:
    """The pause that keeps a thing alone now (unix seconds): the ledger's, else one that its marks bear and that nobody
    here has ended."""
    told = ledger.pauses.get(ref)
    if told is not None and told.until > now:
        return told
    return borne(ledger, marks, now)


def borne(ledger: Ledger, marks: Marks | None, now: float) -> Paused | None:
    """The pause that marks bear, if it runs still and was neither ended nor replaced by a later word."""
    if marks is None or marks.paused_until is None or marks.paused_until <= now:
        return None
    if marks.paused_until in ledger.lifted.get(marks.ref, ()):
        return None
    return Paused(marks.ref, marks.paused_until, marks.paused_reason or "")


def of_node(ledger: Ledger, target: Target | None, now: float) -> Paused | None:
    """The pause of the node that a target is of, or is."""
    pause = ledger.pauses.get(f"Node/{node_of(target)}") if target is not None else None
    return pause if pause is not None and pause.until > now else None


def hold(pause: Paused, ref: str, target: Target | None = None, wanted: Action | None = None) -> Hold:
    sentence = f"paused until {moment(pause.until)}: {pause.reason}"
    return Hold(ref, "paused", sentence, f"trueup resume {pause.subject}", target, wanted)


def all_standing(world: World, told: Iterable[Paused], now: float) -> tuple[Hold, ...]:
    """A Hold for everything that is paused, whether anything is wanted of it or not. `told`: pauses that only objects
    bear."""
    known = {pause.subject: pause for pause in told}
    known |= {subject: pause for subject, pause in world.ledger.pauses.items() if pause.until > now}
    return tuple(hold(pause, subject, world.where(Ref(subject))) for subject, pause in sorted(known.items()))


def refusal(ledger: Ledger, step: Step, now: float) -> str | None:
    """The executor's own look before a change begins: None, or why not. A change that was begun comes to its end; one
    that was planned in the knowledge of the pause writes it."""
    pause = of_node(ledger, step.target, now)
    if pause is None:
        told = ledger.pauses.get(step.ref)
        if told is not None and told.until > now and step.args.get("marks", {}).get("paused_until") != told.until:
            pause = told
    return f"{pause.subject} is paused until {moment(pause.until)}: {pause.reason}" if pause is not None else None
