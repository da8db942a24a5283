"""One plan in the making: from decisions to works, holds and changes.

Owns: the sequence hold → claim → budget → place → need → check → order → prove.
Must not go here: what each phase does (the modules it calls), anything kept between plans (planner, world).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

import msgspec

from reconciler.core import budgets, checks, figures, order, pauses, rules
from reconciler.core.classify import Bucket
from reconciler.core.compare import marks_behind, settled
from reconciler.core.decide import Decision, compared, decide_realisation
from reconciler.core.finish import make_change, stitch, unproved
from reconciler.core.ledger import Beat, Covered, Entry, Forgotten, Paused, Purged
from reconciler.core.plan import Action, Change, Difference, Hold, Plan, Reason, plan_digest, rest_digest
from reconciler.core.recall import believed, recalled, uncounted
from reconciler.core.refs import PER_TARGET, Ref, Target, kind_of
from reconciler.core.rules import Request
from reconciler.core.single import unwritten
from reconciler.core.siting import Site, Siting
from reconciler.core.work import (
    REASONS,
    Freed,
    Work,
    action_of,
    back,
    freed_by,
    holds_on,
    leaving,
    made_new,
    matched,
    replaced_by,
)
from reconciler.core.world import World

Key = tuple[Ref, Target | Literal[""]]
"""A ref, and the target where its kind has a realisation on each (else empty)."""


class Making:
    """One plan in the making. `untold`: what the ledger should remember and does not."""

    def __init__(
        self, world: World, pending: Mapping[Key, tuple[Decision, ...]], untold: Collection[Key], request: Request
    ) -> None:
        assert world.desired is not None, "a plan is of a revision"
        self.world = world
        self.desired = world.desired
        self.pending = pending
        self.untold = untold
        self.request = request
        self.works: dict[str, Work] = {}
        self.holds: dict[tuple[str, str, str, str], Hold] = {}
        """By what makes their order: each is told once."""
        self.entries: list[Entry] = []
        self.problems: list[str] = []
        self.gaps: tuple[Target, ...] = ()
        self.crowded: list[tuple[Decision, Hold]] = []
        """What may not stay, and finds no room that is free already."""
        self.passengers: list[Decision] = []
        """Volumes that may not stay."""
        self.tally: budgets.Tally
        self.needs: dict[str, set[str]] = {}
        """By work the works that come first."""

    def plan(self) -> Plan:
        self._remember()
        with Siting(self.world, self.request.now) as siting:
            self._claims(siting)
            placeless, gone = self._decisions(siting)
            self._budgets(gone)
            siting.freed = self._freed()
            self._crowded(siting)
            self._passengers(siting)
            self._grow(siting)
            for decision in placeless:
                self._site(decision, siting)
            self._parties()
            self._dependencies()
            self._checks()
            self._pauses()
            return self._finished(self._changes())

    # -- what is known ------------------------------------------------------------------------------------------------

    def _remember(self) -> None:
        """What the nodes tell goes into the ledger with the plan; so does a first complete listing."""
        for ref, target in sorted(self.untold):
            found = recalled(self.world, ref, target, self.request.now)
            self.entries.extend(believed(each, self.desired.policy, self.request.clock) for each in found)
        if self.request.clock is not None and self.world.ledger.rests.due(self.request.clock):
            self.entries.append(Beat())
        gaps = []
        for target in sorted(self.world.unlisted):
            if self.world.unreadable(target) is None:
                self.entries.append(Covered(target))
            else:
                gaps.append(target)
        self.gaps = tuple(gaps)

    def _claims(self, siting: Siting) -> None:
        """A node is claimed once, before anything is done there; what may not be claimed takes nothing new."""
        siting.shut_paused()
        for target in sorted(self.world.unclaimed):
            ref = Ref(f"Node/{target}")
            uid, incarnation = self.world.mint(ref, 1)
            after = {"identity": self.world.reports[target].identity}
            reason = Reason("claim", "it is declared here and belongs to nobody yet")
            hold = rules.claim_held(ref, target, self.world, self.request)
            if hold is None:
                self._add(Work(ref, target, Action.ADOPT, uid, incarnation, reason, after=after))
            else:
                siting.shut(target, hold.sentence)
                if self._asked(ref):
                    self._hold(hold)

    def _asked(self, ref: Ref) -> bool:
        return self.request.only is None or ref in self.request.only

    def _hold(self, hold: Hold) -> None:
        self.holds[hold.ref, hold.target or "", hold.rule, hold.sentence] = hold

    def _add(self, work: Work) -> None:
        self.works[work.id] = work

    def _withdraw(self, work: Work, hold: Hold) -> None:
        del self.works[work.id]
        self._hold(hold)

    # -- what is there ------------------------------------------------------------------------------------------------

    def _decisions(self, siting: Siting) -> tuple[list[Decision], int]:
        """Deal with what is there already; the decisions that need a place, and how many machines have vanished."""
        placeless, gone = [], 0
        for decision in (each for key in sorted(self.pending) for each in self.pending[key]):
            gone += decision.bucket is Bucket.VANISHED and not self.request.heals(decision.ref)
            if not self._asked(decision.ref):
                continue
            if decision.placeless:
                placeless.append(decision)
            elif decision.departure is not None and decision.former is None:
                self._leave(decision, siting)
            elif decision.bucket is Bucket.MATCHED and decision.allocates:
                self._addressed(decision, siting)
            else:
                self._existing(decision)
        for hold in (*rules.abandoned(self.world), *rules.standing_drains(self.world)):
            if self._asked(Ref(hold.ref)):
                self._hold(hold)
        return placeless, gone

    def _leave(self, decision: Decision, siting: Siting) -> None:
        """It may not stay where it is."""
        if kind_of(decision.ref) == "Volume":
            self.passengers.append(decision)
            return
        if self._held(decision, Action.MOVE):
            self._stay(decision, siting)
            return
        site = siting.move(decision)
        if isinstance(site, Hold):
            self.crowded.append((decision, site))
        else:
            self._go(decision, site, siting)

    def _crowded(self, siting: Siting) -> None:
        """They count on what others of the plan give back, those before them among these too."""
        if not self.crowded:
            return
        before, crowded, left = set(self.works), self.crowded, -1
        while len(crowded) != left:
            left, waiting, crowded = len(crowded), crowded, []
            for decision, hold in waiting:
                site = siting.move(decision) if siting.freed else hold
                if isinstance(site, Hold):
                    crowded.append((decision, site))
                    continue
                self._go(decision, site, siting)
                siting.freed = self._freed()
        for decision, hold in crowded:
            self._hold(hold)
            self._stay(decision, siting)
        for work, hold in self.tally.take(self.works[each] for each in self.works.keys() - before):
            self._withdraw(work, hold)
        siting.freed = self._freed()

    def _passengers(self, siting: Siting) -> None:
        """A volume goes with the machine that mounts it, or it stays; what else is wanted of it is done where it is."""
        gone = {volume for work in self.works.values() for volume in work.along}
        for decision in self.passengers:
            if decision.ref not in gone:
                why = "it goes with the one machine that mounts it, and none goes"
                self._hold(rules.stuck(decision, why, "`drain: {how: stop}`, or see what keeps its machine"))
            self._stay(decision, siting)

    def _stay(self, decision: Decision, siting: Siting) -> None:
        """As long as it cannot go, what else is wanted is done where it is."""
        staying = msgspec.structs.replace(decision, departure=None)
        if staying.allocates:
            self._addressed(staying, siting)
        elif staying.comparison is not None and not staying.comparison.at_rest:
            self._match(staying)

    def _go(self, decision: Decision, site: Site, siting: Siting) -> None:
        """The work of a move there, if it gets an address."""
        source, uid, target = decision.target, decision.uid, site.target
        assert source is not None, "what moves is somewhere"
        assert uid is not None, "what moves has an identity"
        assert decision.departure is not None, "it has a reason to move"
        addresses = siting.address(decision, target, uid)
        if isinstance(addresses, Hold):
            self._hold(addresses)
            self._stay(decision, siting)
            return
        there = compared(self.world, msgspec.structs.replace(decision, target=target, addresses=addresses))
        assert there is not None, "what leaves is not at rest"
        there, differences, holds = self._allowed(there)
        taken, later = rules.on_the_way(decision, differences)
        work = matched(there, self.world, taken, Action.MOVE, None)
        assert there.comparison is not None, "what leaves was compared"
        work.settled = settled(there.comparison, taken)
        work.applied = rest_digest(work.ref, work.settled, protected=bool(work.resource and work.resource.protected))
        for hold in (*holds, *later):
            self._hold(hold)
        work.waits_for = site.waits
        self._add(leaving(work, source, site.along, decision.departure))

    def _addressed(self, decision: Decision, siting: Siting) -> None:
        """It is there, and lacks an address."""
        assert decision.target is not None, "what is there is somewhere"
        assert decision.uid is not None, "what is there has an identity"
        addresses = siting.address(decision, decision.target, decision.uid)
        if isinstance(addresses, Hold):
            self._hold(addresses)
            return
        whole = compared(self.world, msgspec.structs.replace(decision, addresses=addresses))
        if whole is not None:
            self._existing(whole)

    def _existing(self, decision: Decision) -> None:
        if decision.bucket is Bucket.LEFTOVER or (
            decision.bucket is Bucket.VANISHED and self.request.heals(decision.ref)
        ):
            self._leftover(decision)
        elif decision.bucket is Bucket.MATCHED:
            self._match(decision)
        else:
            action = action_of(decision, ())
            if not self._held(decision, action) and action is not None:
                self._plain(decision, action)

    def _held(self, decision: Decision, action: Action | None) -> bool:
        hold = holds_on(decision, action, self.world, self.request, gaps=self.gaps)
        if hold is None:
            return False
        self._hold(hold)
        if hold.rule == "clock":
            fresh = uncounted(decision, self.world, self.request)
            self.entries.extend(entry for entry in fresh if entry not in self.entries)
        return True

    def _leftover(self, decision: Decision) -> None:
        """Only the ledger remembers it: never made, purged by hand, or given up."""
        binding = decision.binding
        assert binding is not None, "what is left over is a binding"
        realised = kind_of(binding.ref) in PER_TARGET
        entry = Purged if realised or binding.quarantined_until is not None else Forgotten
        self.entries.append(entry(binding.ref, binding.uid, binding.target))

    def _allowed(self, decision: Decision) -> tuple[Decision, tuple[Difference, ...], tuple[Hold, ...]]:
        """The decision, what of its differences may be made, and the Holds of the others."""
        assert decision.resource is not None, "a match is wanted"
        differences, holds = rules.allowed_differences(decision, self.desired.policy, self.request)
        if any(hold.rule == "protected" for hold in holds):
            # a commit that lifts it and takes the disk away at once lifts nothing: lifting is a change of its own
            resource = msgspec.structs.replace(decision.resource, protected=True)
            decision = msgspec.structs.replace(decision, resource=resource)
        return decision, differences, holds

    def _match(self, decision: Decision) -> None:
        decision, differences, holds = self._allowed(decision)
        comparison, resource, found = decision.comparison, decision.resource, decision.found
        assert comparison is not None, "a match was compared"
        assert resource is not None, "a match is wanted"
        assert found is not None, "a match is there"
        rest = settled(comparison, differences)
        applied = rest_digest(resource.ref, rest, protected=resource.protected)
        behind = marks_behind(resource, found, applied)
        if not differences and not rules.marks_may(decision, behind, self.request):
            behind = None
        if differences or behind is not None:
            action = action_of(decision, differences) or Action.UPDATE
            if self._held(decision, action):
                return
            work = matched(decision, self.world, differences, action, behind)
            work.settled, work.applied = rest, applied
            self._add(replaced_by(work, decision, self.world) if action is Action.REPLACE else work)
        if decision.departure is not None:
            holds = (*holds, rules.stuck(decision, "it has its new name first", "the next plan"))
        for hold in holds:
            self._hold(hold)

    def _plain(self, decision: Decision, action: Action) -> None:
        """A destroy or purge, or a realisation that is made new."""
        assert decision.target is not None, "it is somewhere"
        assert decision.uid is not None, "it has an identity"
        apart = action is Action.PURGE and len(self.world.seen(decision.ref)) > 1
        work = Work(
            decision.ref,
            decision.target,
            action,
            decision.uid,
            decision.incarnation,
            REASONS[action],
            found=decision.found,
            apart=apart,
        )
        self._add(made_new(work, decision, (), self.world) if decision.resource is not None else work)

    # -- budgets, room, places ----------------------------------------------------------------------------------------

    def _budgets(self, gone: int) -> None:
        self.tally = budgets.tally_of(self.world, self.request.now, gone=gone)
        for work, hold in self.tally.take(self.works.values()):
            self._withdraw(work, hold)

    def _freed(self) -> dict[Target, Freed]:
        """What this plan's own changes give back on each target, once they are made."""
        return freed_by(self.works.values(), self.world)

    def _grow(self, siting: Siting) -> None:
        """Machines that grow in place must still fit; what grows beyond what its target has is held."""
        growing = [work for work in self._machines() if work.found is not None and work.source is None]
        for work, hold in siting.grow(sorted(growing, key=order.rank)):
            self._withdraw(work, hold)

    def _machines(self) -> list[Work]:
        return [work for work in self.works.values() if rules.is_single(work.ref) and work.resource is not None]

    def _site(self, decision: Decision, siting: Siting) -> None:
        """A machine that needs a place: made new, or back from quarantine."""
        resource, action = decision.resource, action_of(decision, ())
        assert resource is not None, "only what is wanted is placed"
        if self._held(decision, action):
            return
        uid, incarnation = decision.uid, decision.incarnation
        if uid is None or decision.bucket is Bucket.VANISHED:
            highest = max(self.world.incarnation(resource.ref), incarnation - (uid is None))
            uid, incarnation = self.world.mint(resource.ref, highest + 1)
        site = siting.site(decision)
        if isinstance(site, Hold):
            self._hold(site)
            return
        addresses = siting.address(decision, site.target, uid)
        if isinstance(addresses, Hold):
            self._hold(addresses)
            return
        action = action or Action.CREATE
        work = Work(resource.ref, site.target, action, uid, incarnation, REASONS[action], found=decision.found)
        work.waits_for, work.former = site.waits, decision.former
        for _, hold in self.tally.take([work]):
            self._hold(hold)
            return
        if decision.bucket is not Bucket.QUARANTINED:
            self._add(made_new(work, decision, addresses, self.world))
            return
        work, holds = back(work, decision, addresses, self.world)
        self._add(work)
        for hold in holds:
            self._hold(hold)

    # -- what works owe each other ------------------------------------------------------------------------------------

    def _parties(self) -> None:
        """What tells of machines' addresses is decided anew with those that they will have by this plan."""
        coming = {
            work.ref: (work.target, tuple((each.network, each.ip) for each in work.addresses))
            for work in self._machines()
        }
        self.world.coming = coming
        watchers = {watcher for ref in coming for watcher in self.world.watchers.get(ref, ()) if self._asked(watcher)}
        for ref in sorted(watchers):
            for target in sorted(self.world.realisations(ref)):
                self.works.pop(f"{ref}@{target}", None)
                self.holds = {key: hold for key, hold in self.holds.items() if key[:2] != (ref, target)}
                decision = decide_realisation(self.world, ref, target)
                if decision is not None:
                    self._existing(decision)

    def _dependencies(self) -> None:
        """Images, networks and projects that machines of this plan need on their target."""
        looked: set[tuple[Ref, Target]] = set()
        if self.request.only is None:
            looked.update((ref, target) for ref, target in self.pending if target)
        for work in sorted(self._machines(), key=order.rank):
            assert work.resource is not None, "these are wanted"
            for ref in self.world.needed(work.resource, work.target):
                if (ref, work.target) in looked:
                    continue
                looked.add((ref, work.target))
                known = self.pending.get((ref, work.target))
                if not known and self.world.stands(ref, work.target):
                    continue  # it is there, at rest
                decision = known[0] if known else decide_realisation(self.world, ref, work.target, needed=True)
                if decision is not None:
                    self._existing(decision)

    def _checks(self) -> None:
        """Withdraw what cannot be done because something else is withheld, until nothing more falls."""
        for work in self._machines() if self.gaps else ():
            if order.takes(work, self.world):
                self._withdraw(work, rules.unlisted_addresses(work.ref, work.target, work.action, self.gaps))
        while True:
            works = sorted(self.works.values(), key=order.rank)
            falling = checks.falling(works, tuple(self.holds.values()), self.world)
            if not falling:
                self.needs = order.edges(works, checks.claims(works), self.world)
                falling = list(checks.circular(works, self.needs))
            for work, hold in falling:
                self._withdraw(work, hold)
            if not falling:
                return

    def _pauses(self) -> None:
        """What was said of a thing is written on it, but where a change of it is on its way anyway."""
        for work in unwritten(self.world, self.request.now):
            if work.id not in self.works and self._asked(work.ref):
                self._add(work)

    # -- the end ------------------------------------------------------------------------------------------------------

    def _changes(self) -> tuple[Change, ...]:
        works = sorted(self.works.values(), key=order.rank)
        if self.request.only is not None:
            used = {work.target for work in works if kind_of(work.ref) != "Node"}
            unused = {f"Node/{target}" for target in self.world.unclaimed if target not in used}
            works = [work for work in works if work.ref not in unused or self._asked(work.ref)]
            self.works = {work.id: work for work in works}
        changes = [make_change(work, self.world) for work in works]
        last = {change.id: change.steps[-1].id for change in changes if change.steps}
        for work, change in zip(works, changes, strict=True):
            why = unproved(work, change, self.world)
            if why is not None:
                self.problems.append(why)
        if self.needs.keys() != self.works.keys():
            self.needs = order.edges(works, checks.claims(works), self.world)
        return stitch((change for change in changes if change.steps), self.needs, order.gates(works, last))

    def _all_holds(self) -> tuple[Hold, ...]:
        """In order; every plan shows what is left alone, whether anything is wanted of it just then or not."""
        said = {hold.lifts for hold in self.holds.values() if hold.rule in ("paused", "kept")}
        told = (entry for entry in self.entries if isinstance(entry, Paused))
        standing = pauses.all_standing(self.world, told, self.request.now)
        for hold in (*standing, *rules.standing_kept(self.world, self.request)):
            if hold.lifts not in said and self._asked(Ref(hold.ref)):
                self._hold(hold)
        return tuple(self.holds[key] for key in sorted(self.holds))

    def _finished(self, changes: tuple[Change, ...]) -> Plan:
        desired, world, request = self.desired, self.world, self.request
        revision = desired.revision
        unreadable = tuple(f"{target}: {world.troubled[target]}" for target in sorted(world.troubled))
        return Plan(
            datacenter=desired.datacenter,
            datacenter_id=desired.datacenter_id,
            tree=revision.tree,
            changes=changes,
            holds=self._all_holds(),
            digest=plan_digest(desired.datacenter_id, revision.tree, changes),
            generation=world.generation + 1,
            removed=tuple(sorted(request.lineage.removed)),
            returned=tuple(sorted(ref for ref in world.ledger.witnessed if ref in desired.resources)),
            entries=tuple(self.entries),
            commit=revision.commit,
            branch=revision.branch or "",
            root=revision.root,
            repository=revision.repository,
            older=request.lineage.older,
            observed_at=request.now,
            complete=not unreadable,
            problems=(*unreadable, *self.problems),
            unmanaged=world.unmanaged,
            headroom=figures.headroom(world, self.works.values()),
            budgets=figures.budget_uses(self.tally, changes),
            limits=figures.limit_uses(world, self.works.values()),
            proved=not self.problems,
        )
