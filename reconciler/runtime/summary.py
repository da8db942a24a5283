"""What became of a plan, folded from the outcomes of its steps.

Owns: Summary and its exit code. Must not go here: running steps, words for a terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from reconciler.core.ledger import Status
from reconciler.core.outages import Downtime
from reconciler.core.plan import Change, Plan
from reconciler.core.refs import Ref, Target
from reconciler.driver import Outcome

GOOD: frozenset[Status] = frozenset(("applied", "unchanged"))


class Failure(msgspec.Struct, frozen=True):
    """A step that was not applied, and why. Only the first of a change is told: the rest follows from it."""

    step: str
    ref: Ref
    target: Target
    status: Status
    reason: str


class Summary(msgspec.Struct, frozen=True):
    """`counts` by status over the steps; `before` of the unchanged ones had been applied by an earlier run."""

    plan: str
    counts: Mapping[Status, int]
    changes: int
    """Changes that came to their end."""
    unfinished: tuple[str, ...] = ()
    """Ids of the changes that did not."""
    before: int = 0
    failures: tuple[Failure, ...] = ()
    refused: tuple[str, ...] = ()
    """What a budget refused, in words."""
    stopped: str | None = None
    """Why no more steps were handed out, if that is so."""
    fence_lost: bool = False
    seconds: float = 0
    downtimes: tuple[Downtime, ...] = ()
    """Of machines that this run started again, in the order of that."""

    @property
    def whole(self) -> bool:
        """Everything was applied."""
        return not self.unfinished and not self.fence_lost

    @property
    def exit_code(self) -> int:
        """0 done, 1 nothing could be applied, 3 a budget stood in the way, 5 fence lost, 6 partly applied."""
        if self.fence_lost:
            return 5
        if self.whole:
            return 0
        progress = self.changes or any(self.counts.get(status) for status in GOOD)
        if not progress and any(failure.status == "failed" for failure in self.failures):
            return 1
        return 3 if self.refused else 6


def summarise(
    plan: Plan, changes: Iterable[Change], counts: Mapping[Status, int], unapplied: Mapping[str, Outcome]
) -> Summary:
    """A pure fold of what became of the steps of these changes, all of which have ended: how many in which way, and
    those that did not go well. How the run ended (`stopped`, `seconds`, …) is the executor's to add."""
    unfinished: list[str] = []
    failures: list[Failure] = []
    finished = 0
    for change in changes:
        first = next((step for step in change.steps if step.id in unapplied), None) if unapplied else None
        if first is None:
            finished += 1
        else:
            outcome = unapplied[first.id]
            unfinished.append(change.id)
            failures.append(Failure(first.id, first.ref, first.target, outcome.status, outcome.reason))
    told = dict(sorted(counts.items()))
    return Summary(plan.digest, told, finished, unfinished=tuple(unfinished), failures=tuple(failures))
