"""The planner: a fold of (world, delta) into a plan.

Owns: the decisions kept between plans, so that planning again costs what changed. A planner fed at once gives the same
bytes as one fed piece by piece (I9).
Must not go here: what a plan is made of (making), any IO, the clock (`now` is an argument).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from reconciler.core.classify import Bucket
from reconciler.core.decide import Decision, decide_machine, decide_realisation
from reconciler.core.desired import Desired
from reconciler.core.facts import Resting
from reconciler.core.glimpse import Glimpse
from reconciler.core.ledger import Ledger
from reconciler.core.making import Key, Making
from reconciler.core.observed import Object, Report, Told
from reconciler.core.plan import Plan
from reconciler.core.recall import recalled
from reconciler.core.refs import SINGLE, Ref, Target, kind_of
from reconciler.core.resting import glimpsed, parted, resting, resting_as_told, rests
from reconciler.core.rules import Request
from reconciler.core.shape import Shape
from reconciler.core.sights import OPEN, Compress, at_once
from reconciler.core.world import World

__all__ = ["Planner", "Request", "make_plan"]


class Planner:
    """A world, and the decisions of all refs that are not at rest."""

    def __init__(
        self,
        shapes: Mapping[str, Shape],
        ledger: Ledger | None = None,
        *,
        open_at_most: int = OPEN,
        compress: Compress = at_once,
    ) -> None:
        self.world = World(shapes, ledger, open_at_most=open_at_most, compress=compress)
        self.pending: dict[Key, tuple[Decision, ...]] = {}
        self.untold: set[Key] = set()
        """What the ledger should remember and does not."""
        self._now = 0.0
        self._peak = 0

    def take_report(self, report: Report | Told) -> bool:
        """A target's report. What it tells of is decided at once, while it lies open: the plan then finds it done.
        True if something had to be decided."""
        if isinstance(report, Told):
            if report.target not in self.world.reports:
                return self.take_glimpse(glimpsed(self.world, report))
            report = report.opened()
        first = parted(self.world, report) if report.target not in self.world.reports else None
        if first is not None:
            return self._told(Glimpse(*first), first[1], report.objects)
        told = self.world.take_report(report)
        if self.world.desired is None:
            return bool(told)
        return self._taken(told, report.target, resting(self.world, report.target) if told else [])

    def take_glimpse(self, glimpse: Glimpse) -> bool:
        """The same of a target that somebody looked at in our stead, of which we have no report."""
        if glimpse.resting is None:
            return self.take_report(glimpse.report)
        return self._told(glimpse, glimpse.resting.known_by(self.world.own_all(glimpse.resting.refs)), None)

    def _told(self, glimpse: Glimpse, found: Resting, objects: tuple[Object, ...] | None) -> bool:
        """A target is seen for the first time. `found`: who rests there, by our refs; `objects`: all that it lists, if
        the glimpse is without."""
        world, target = self.world, glimpse.report.target
        told = world.take_glimpse(glimpse, found, objects)
        return self._taken(told, target, [*resting_as_told(world, target, found), *resting(world, target)])

    def _taken(self, told: Collection[Ref], target: Target, at_rest: Collection[Ref]) -> bool:
        self._clear(at_rest)
        return any((at_rest, self._decide(self.world.refresh(told)), self._decide_at(target)))

    def plan(self, request: Request) -> Plan:
        """The plan for the world as it stands."""
        assert self.world.desired is not None, "take_desired comes first"
        self.settle(request.now)
        return Making(self.world, self.pending, self.untold, request).plan()

    def settle(self, now: float | None = None) -> None:
        """Decide what was touched since it was decided last. `now` None: it is as late as it was then."""
        if now is not None:
            self.world.due(now, self._expired() if now < self._now else ())
            self._now = now
        self._decide(self.world.refresh())
        for target in list(self.world.dirty_at):
            self._decide_at(target)
        self._slim()

    def _slim(self) -> None:
        """Tables that were large are walked through whole although little is left in them: they are made anew."""
        size = len(self.pending) + len(self.untold)
        if 8 * size < self._peak:
            self.pending, self.untold, self._peak = dict(self.pending.items()), set(self.untold), size
        self._peak = max(self._peak, size)

    def _expired(self) -> list[Ref]:
        return [each.ref for found in self.pending.values() for each in found if each.bucket is Bucket.EXPIRED]

    def _decide(self, refs: Collection[Ref]) -> bool:
        for ref in refs:
            if kind_of(ref) in SINGLE and not rests(self.world, ref):
                self._keep((ref, ""), decide_machine(self.world, ref, self._now))
            else:
                self._clear((ref,))
        return bool(refs)

    def _clear(self, refs: Iterable[Ref]) -> None:
        """There is nothing to do for these."""
        keys = [(ref, "") for ref in refs]
        for key in self.pending.keys() & keys:
            del self.pending[key]
        self.untold.difference_update(keys)

    def _decide_at(self, target: Target) -> bool:
        refs = self.world.refresh_at(target)
        for ref in refs:
            found = decide_realisation(self.world, ref, target)
            self._keep((ref, target), () if found is None else (found,))
        return bool(refs)

    def _keep(self, key: Key, found: tuple[Decision, ...]) -> None:
        if found:
            self.pending[key] = found
        else:
            self.pending.pop(key, None)
        if recalled(self.world, *key, self._now):
            self.untold.add(key)
        else:
            self.untold.discard(key)


def make_plan(
    desired: Desired,
    reports: Iterable[Report],
    ledger: Ledger,
    shapes: Mapping[str, Shape],
    request: Request,
) -> Plan:
    """Plan from scratch: the same fold, from empty."""
    planner = Planner(shapes, ledger)
    planner.world.take_desired(desired)
    for report in reports:
        planner.take_report(report)
    return planner.plan(request)
