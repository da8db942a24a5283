"""The planner: a fold of (world, delta) into a plan.

Owns: the sequence classify → compare → hold → place → budget → order → prove, and the decisions kept between plans, so
that planning again costs what changed. A planner fed at once gives the same bytes as one fed piece by piece (I9).
Must not go here: what each phase does (the modules it calls), any IO, the clock (`now` is an argument).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Literal

import msgspec

from reconciler.core import figures, order, rules
from reconciler.core.classify import Bucket
from reconciler.core.decide import Decision, compared, decide, decide_realisation
from reconciler.core.desired import Budget, Demand, Desired
from reconciler.core.finish import make_change, stitch, unproved
from reconciler.core.ledger import Entry, Forgotten, Ledger, Purged, Ticked
from reconciler.core.observed import Report
from reconciler.core.plan import (
    Action,
    Change,
    Hold,
    Plan,
    Reason,
    plan_digest,
)
from reconciler.core.refs import Ref, Target, Uid, kind_of, mint
from reconciler.core.rules import Request
from reconciler.core.shape import Shape
from reconciler.core.sights import OPEN
from reconciler.core.siting import Site, Siting
from reconciler.core.work import REASONS, Work, action_of, grown, holds_on, made_new, matched
from reconciler.core.world import PER_TARGET, World

__all__ = ["Planner", "Request", "make_plan"]


Pending = tuple[Ref, Target | Literal[""]]


class Planner:
    """A world, and the decisions of all refs that are not at rest."""

    def __init__(self, shapes: Mapping[str, Shape], ledger: Ledger | None = None, *, open_at_most: int = OPEN) -> None:
        self.world = World(shapes, ledger, open_at_most=open_at_most)
        self.pending: dict[Pending, tuple[Decision, ...]] = {}
        """By ref, and target where a kind has a realisation on each (else empty)."""
        self._now = 0.0

    def take_report(self, report: Report) -> bool:
        """A target's report. What it tells of is decided at once, while it lies open: the plan then finds it done.
        True if something had to be decided."""
        told = self.world.take_report(report)
        if self.world.desired is None:
            return bool(told)
        return any((self._decide(self.world.refresh(told)), self._decide_at(report.target)))

    def plan(self, request: Request) -> Plan:
        """The plan for the world as it stands."""
        assert self.world.desired is not None, "take_desired comes first"
        self.settle(request.now)
        return _Making(self.world, self.pending, request).plan()

    def settle(self, now: float | None = None) -> None:
        """Decide what was touched since it was decided last. `now` None: it is as late as it was then."""
        if now is not None:
            self._now = now
            self.world.due(now)
        self._decide(self.world.refresh())
        for target in list(self.world.dirty_at):
            self._decide_at(target)

    def _decide(self, refs: Collection[Ref]) -> bool:
        for ref in refs:
            self._keep((ref, ""), decide(self.world, ref, self._now))
        return bool(refs)

    def _decide_at(self, target: Target) -> bool:
        refs = self.world.refresh_at(target)
        for ref in refs:
            found = decide_realisation(self.world, ref, target)
            self._keep((ref, target), () if found is None else (found,))
        return bool(refs)

    def _keep(self, key: Pending, found: tuple[Decision, ...]) -> None:
        if found:
            self.pending[key] = found
        else:
            self.pending.pop(key, None)


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


class _Making:
    """One plan in the making."""

    def __init__(
        self,
        world: World,
        pending: Mapping[Pending, tuple[Decision, ...]],
        request: Request,
    ) -> None:
        assert world.desired is not None, "a plan is of a revision"
        self.world = world
        self.desired = world.desired
        self.pending = pending
        self.request = request
        self.works: list[Work] = []
        self.holds: list[Hold] = []
        self.entries: list[Entry] = []
        self.problems: list[str] = []

    # -- the phases --------------------------------------------------------------------------------------------------

    def plan(self) -> Plan:
        decisions = [each for key in sorted(self.pending) if self._chosen(key[0]) for each in self.pending[key]]
        placeless = []
        for decision in decisions:
            if self._places(decision):
                placeless.append(decision)
            else:
                self._existing(decision)
        self._claims()
        self._budgets()
        with Siting(self.world, self._freed()) as siting:
            self._grow(siting)
            for decision in placeless:
                self._site(decision, siting)
            self._dependencies()
            changes = self._changes()
            return self._finished(changes, siting)

    def _chosen(self, ref: Ref) -> bool:
        only = self.request.only
        return only is None or ref in only or (kind_of(ref) in PER_TARGET and self.world.resource(ref) is not None)

    @staticmethod
    def _places(decision: Decision) -> bool:
        """Machines that need a place or an address: after all that give some back."""
        if kind_of(decision.ref) in PER_TARGET or decision.resource is None:
            return False
        return decision.bucket in (Bucket.MISSING, Bucket.UNMADE, Bucket.VANISHED, Bucket.QUARANTINED) or (
            decision.bucket is Bucket.MATCHED and decision.allocates
        )

    def _existing(self, decision: Decision) -> None:
        if decision.bucket is Bucket.LEFTOVER:
            self._leftover(decision)
            return
        differences, holds = rules.allowed_differences(decision, self.desired.policy, self.request)
        action = action_of(decision, differences)
        if self._held(decision, action):
            return
        self.holds.extend(holds)
        if decision.bucket is Bucket.MATCHED:
            self._match(decision, action or Action.UPDATE)
        elif decision.target is not None and action is not None:
            self._plain(decision, action)

    def _held(self, decision: Decision, action: Action | None) -> bool:
        hold = holds_on(decision, action, self.world, self.request)
        if hold is None:
            return False
        self.holds.append(hold)
        if hold.rule == "clock":
            self.entries.append(Ticked())
        return True

    def _leftover(self, decision: Decision) -> None:
        """Only the ledger remembers it: never made, or purged by hand."""
        binding = decision.binding
        if binding is None:
            return
        entry = Purged if binding.quarantined_until is not None else Forgotten
        self.entries.append(entry(binding.ref, binding.uid, binding.target))

    def _match(self, decision: Decision, action: Action) -> None:
        differences, _ = rules.allowed_differences(decision, self.desired.policy, self.request)
        comparison = decision.comparison
        if decision.detail:
            sentence = f"it lives on {decision.target}, but {decision.detail}"
            self.holds.append(
                Hold(decision.ref, "move", sentence, "not possible with this driver yet", decision.target, Action.MOVE)
            )
        if comparison is None or (not differences and comparison.marks is None):
            return
        if not differences and decision.former is None and not self.request.intent:
            return
        work = matched(decision, self.world, differences, action)
        if action is Action.REPLACE:
            work.uid = mint(self.desired.datacenter_id, work.ref, work.incarnation)
            work.after = {**(comparison.wanted), "state": comparison.wanted.get("state", "running")}
        self.works.append(work)

    def _plain(self, decision: Decision, action: Action) -> None:
        """A destroy or purge, or a realisation that is made new."""
        assert decision.target is not None, "it is somewhere"
        uid = decision.uid or Uid("")
        reason = REASONS[action]
        work = Work(decision.ref, decision.target, action, uid, decision.incarnation, reason, found=decision.found)
        self.works.append(made_new(work, decision, (), self.world) if decision.resource is not None else work)

    def _claims(self) -> None:
        """A node is claimed once, before anything is done there."""
        for target in sorted(self.world.unclaimed):
            report = self.world.reports[target]
            ref = Ref(f"Node/{target}")
            uid = mint(self.desired.datacenter_id, ref, 1)
            reason = Reason("claim", "it is declared here and belongs to nobody yet")
            work = Work(ref, target, Action.ADOPT, uid, 1, reason, after={"identity": report.identity})
            self.works.append(work)

    def _budgets(self) -> None:
        """Destroys within the budget, in canonical order; the rest is held."""
        machines = max(len(self.world.facts), 1)
        destroys, restarts = self.desired.policy.destroys, self.desired.policy.restarts
        gone = sum(1 for hold in self.holds if hold.rule == "vanished")
        self._within(destroys, "destroys", machines, gone, lambda w: w.action in (Action.DESTROY, Action.REPLACE))
        self._within(restarts, "restarts", machines, 0, _restarts)

    def _within(
        self,
        budget: Budget,
        name: str,
        machines: int,
        spent: int,
        spends: Callable[[Work], bool],
    ) -> None:
        limits = [rules.allowance(budget, "per plan", machines)]
        for window in rules.WINDOWS:
            allowed = rules.allowance(budget, window, machines)
            if allowed is not None:
                limits.append(allowed - rules.spent_in(self.world.ledger, name, window, self.request.now))
        limit = min((limit for limit in limits if limit is not None), default=None)
        if limit is None:
            return
        left = limit - spent
        for work in sorted(
            (work for work in self.works if rules.is_machine(work.ref) and spends(work)), key=order.rank
        ):
            left -= 1
            if left < 0:
                self.works.remove(work)
                sentence = f"the budget of {max(limit, 0)} {name} is spent"
                self.holds.append(
                    Hold(work.ref, "budget", sentence, "wait, or raise the budget in git", work.target, work.action)
                )

    def _freed(self) -> dict[Target, Demand]:
        """What this plan's own changes give back on each target, once they are made."""
        freed: dict[Target, Demand] = {}
        for work in self.works:
            if rules.is_machine(work.ref) and work.action is Action.DESTROY and work.found is not None:
                had = self.world.facts.get(work.ref)
                if had is not None:
                    old = freed.get(work.target, Demand())
                    # The disk stays in quarantine.
                    freed[work.target] = Demand(old.memory + had.demand.memory, old.cpu + had.demand.cpu, old.disk)
        return freed

    def _grow(self, siting: Siting) -> None:
        """Machines that grow in place must still fit; what grows beyond what its target has is held.

        The world counts a machine by what is desired of it, so growth is in the room's figures already."""
        for work in [work for work in self.works if work.resource is not None and rules.is_machine(work.ref)]:
            room = self.world.rooms.by_target.get(work.target)
            more = grown(work)
            if room is None or more == Demand():
                continue
            short = room.lacks(Demand())
            if short is None:
                continue
            freed = siting.freed.get(work.target)
            if freed is not None and room.lacks(Demand(-freed.memory, -freed.cpu, -freed.disk)) is None:
                work.waits_for_room = True
                continue
            self.works.remove(work)
            sentence = f"{work.target} has no room for it to grow"
            self.holds.append(
                Hold(work.ref, "capacity", sentence, "free some, or move a machine", work.target, work.action)
            )

    def _site(self, decision: Decision, siting: Siting) -> None:
        """A machine that needs a place, an address, or both."""
        resource = decision.resource
        assert resource is not None, "only what is wanted is placed"
        action = action_of(decision, ())
        if self._held(decision, action):
            return
        again = decision.bucket is Bucket.VANISHED
        incarnation = decision.incarnation + 1 if again else decision.incarnation
        uid = (
            decision.uid if decision.uid and not again else mint(self.desired.datacenter_id, resource.ref, incarnation)
        )
        site = self._place(decision, siting)
        if isinstance(site, Hold):
            self.holds.append(site)
            return
        addresses = siting.address(decision, site.target, uid)
        if isinstance(addresses, Hold):
            self.holds.append(addresses)
            return
        if decision.bucket is Bucket.MATCHED:
            whole = compared(self.world, msgspec.structs.replace(decision, addresses=addresses))
            if whole is not None:
                self._existing(whole)
            return
        action = action or Action.CREATE
        work = Work(resource.ref, site.target, action, uid, incarnation, REASONS[action], found=decision.found)
        work.waits_for_room = site.waits
        self.works.append(made_new(work, decision, addresses, self.world))

    def _place(self, decision: Decision, siting: Siting) -> Site | Hold:
        assert decision.resource is not None, "only what is wanted is placed"
        if decision.target is None or decision.bucket is Bucket.VANISHED:
            return siting.place(decision.resource)
        if decision.target not in self.world.targets:
            sentence = f"it is on {decision.target}, whose Node document is not there"
            return Hold(decision.ref, "unknown", sentence, "bring the Node document back", decision.target)
        return Site(decision.target)

    def _dependencies(self) -> None:
        """Images and networks that machines of this plan need on their target and that are not there yet."""
        here = {(work.ref, work.target) for work in self.works}
        for work in sorted(self.works, key=order.rank):
            if not rules.is_machine(work.ref) or work.resource is None:
                continue
            for ref in work.resource.references:
                if kind_of(ref) not in PER_TARGET or (ref, work.target) in here:
                    continue
                decision = decide_realisation(self.world, ref, work.target, needed=True)
                here.add((ref, work.target))
                if decision is not None and decision.bucket is not Bucket.MATCHED:
                    self._existing(decision)
        self._drop_needy()

    def _drop_needy(self) -> None:
        """A machine cannot be made where its image or network is held."""
        held = {(hold.ref, hold.target): hold for hold in self.holds if kind_of(hold.ref) in PER_TARGET}
        for work in list(self.works):
            if work.resource is None or work.action not in (Action.CREATE, Action.RESTORE, Action.REPLACE):
                continue
            missing = next((ref for ref in work.resource.references if (ref, work.target) in held), None)
            if missing is not None and not self._there(missing, work.target):
                self.works.remove(work)
                sentence = f"it needs {missing} on {work.target}, which is held"
                lifts = held[missing, work.target].lifts
                self.holds.append(Hold(work.ref, "needs", sentence, lifts, work.target, work.action))

    def _there(self, ref: Ref, target: Target) -> bool:
        return bool(self.world.seen_on(ref, target))

    # -- the end -------------------------------------------------------------------------------------------------------

    def _changes(self) -> tuple[Change, ...]:
        self.works.sort(key=order.rank)
        claims = {work.target: work.id for work in self.works if kind_of(work.ref) == "Node"}
        needs = order.edges(self.works, claims)
        while circle := order.cycle(needs):
            for work in [work for work in self.works if work.id in circle]:
                self.works.remove(work)
                sentence = (
                    f"it waits for {', '.join(other for other in circle if other != work.id)}, which waits for it"
                )
                self.holds.append(Hold(work.ref, "cycle", sentence, "make the change in two commits", work.target))
            needs = order.edges(self.works, claims)
        changes = [make_change(work, self.world) for work in self.works]
        last = {change.id: change.steps[-1].id for change in changes if change.steps}
        for work, change in zip(self.works, changes, strict=True):
            why = unproved(work, change, self.world)
            if why is not None:
                self.problems.append(why)
        gates = order.gates(self.works, last)
        return stitch((change for change in changes if change.steps), needs, gates)

    def _finished(self, changes: tuple[Change, ...], siting: Siting) -> Plan:
        desired, world = self.desired, self.world
        revision = desired.revision
        unreadable = tuple(f"{target}: {world.troubled[target]}" for target in sorted(world.troubled))
        return Plan(
            datacenter=desired.datacenter,
            datacenter_id=desired.datacenter_id,
            tree=revision.tree,
            changes=changes,
            holds=tuple(sorted(self.holds, key=lambda hold: (hold.ref, hold.target or "", hold.rule, hold.sentence))),
            digest=plan_digest(desired.datacenter_id, revision.tree, changes),
            generation=world.generation + 1,
            removed=tuple(sorted(self.request.lineage.removed)),
            returned=tuple(sorted(ref for ref in world.ledger.witnessed if ref in desired.resources)),
            entries=tuple(self.entries),
            commit=revision.commit,
            branch=revision.branch or "",
            root=revision.root,
            repository=revision.repository,
            observed_at=self.request.now,
            complete=not unreadable,
            problems=(*unreadable, *self.problems),
            unmanaged=world.unmanaged,
            headroom=figures.headroom(world, self.works, siting.freed),
            budgets=figures.budget_uses(world, changes, self.request.now),
            proved=not self.problems,
        )


def _restarts(work: Work) -> bool:
    running = work.found is not None and work.found.fields.get("state") == "running"
    cold = any(difference.manner.value in ("reboot", "stopped") for difference in work.differences)
    return running and cold and work.action in (Action.UPDATE, Action.RENAME)
