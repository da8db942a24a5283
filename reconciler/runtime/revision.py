"""The revision that counts, and all that the edge provides to plan it.

Owns: the bundle of ports; which revision is in force; the time and the lineage that a plan is asked with.
Must not go here: observing, carrying out (cycle, loop).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from reconciler.core.desired import Desired
from reconciler.core.ledger import Ledger
from reconciler.core.rules import Request
from reconciler.core.shape import Shape
from reconciler.errors import Mend, TrueupError, TryLater, UsageError
from reconciler.ports import Clock, Fencing, Files, Journal, PlanStore, Secrets, Source
from reconciler.runtime.nodes import Opening

if TYPE_CHECKING:
    import anyio


class Spending:
    """Whose turn it is to spend of a budget: plans that are carried out side by side have one ledger."""

    @cached_property
    def turn(self) -> anyio.Lock:
        """Made when it is first needed: who only looks has no event loop to import."""
        import anyio

        return anyio.Lock()


class Ports(msgspec.Struct, frozen=True):
    """All that the edge provides. `shapes` by the name of their driver; `opening` makes a node's driver."""

    source: Source
    plans: PlanStore
    journal: Journal
    clock: Clock
    fencing: Fencing
    shapes: Mapping[str, Shape]
    opening: Opening
    secrets: Secrets | None = None
    files: Files | None = None
    spending: Spending = msgspec.field(default_factory=Spending)


class InForce(msgspec.Struct, frozen=True):
    """The desired state that counts. `problem`: why it is the last good one and not the newest."""

    desired: Desired
    problem: TrueupError | None = None


async def dated(request: Request, ports: Ports, desired: Desired) -> Request:
    """The request with the time and the lineage as they are now."""
    ledger = ports.journal.ledger
    lineage = await ports.source.lineage(desired, ledger.applied, frozenset(ledger.accepted))
    clock = ports.clock.instant()
    return msgspec.structs.replace(request, now=clock.at, clock=clock, lineage=lineage)


def off_branch(branch: str | None, ids: Collection[str | None], ledger: Ledger) -> str | None:
    """Why a revision may be planned and not applied (invariant I13): only commits on the branch that is applied here
    are. The first apply settles which; `trueup accept` of a revision (`ids`: its commit and tree) moves to its branch.
    """
    last = ledger.applied.branch if ledger.applied is not None else ""
    if not ledger.accepted.isdisjoint(ids):
        return None
    if not branch:
        return f"this commit is not on {last or 'a branch'}, which is what is applied here"
    if last and branch != last:
        return f"this is the branch {branch}, and {last} is what is applied here"
    return None


async def newest(source: Source, ledger: Ledger) -> Desired:
    """What git wants now. Raises what loading raises, UsageError where the branch that is checked out is not the one
    that is applied here."""
    desired = await source.load(since=ledger.applied)
    revision = desired.revision
    why = off_branch(revision.branch, (revision.commit, revision.tree), ledger)
    if why is not None:
        raise UsageError(why, hint="switch back to it, or merge into it")
    return desired


async def in_force(source: Source, ledger: Ledger) -> InForce:
    """The newest revision if it can be read and holds no mistakes, else the one applied last.

    Raises what loading the newest raises, if there is no other.
    """
    try:
        return InForce(await newest(source, ledger))
    except (Mend, TryLater) as error:
        last = ledger.applied
        if last is None or last.revision.startswith("tree:"):
            raise
        try:
            return InForce(await source.load(last.revision), error)
        except (Mend, TryLater):
            raise error from None
