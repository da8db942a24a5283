"""What a command works with: repository, state folder, journal, drivers, wired together once.

Owns: the wiring, and how much of it a command opens: `looking` changes nothing, `writing` holds the datacenter's lock.
Must not go here: what commands do with it, deciding (core).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from reconciler.cli.opened import Opened, placed
from reconciler.cli.selection import chosen, full_ref
from reconciler.cli.terminal import moving, say
from reconciler.core.desired import Desired, NodeWant
from reconciler.core.ledger import Covered, Entry, Ledger, Record
from reconciler.core.observed import Object, Report, Told
from reconciler.core.plan import Plan
from reconciler.core.refs import Ref, Target, node_of
from reconciler.core.render.changes import View
from reconciler.core.rests import stamped
from reconciler.core.rules import Request
from reconciler.driver import Driver, Shape
from reconciler.edge.chain import read
from reconciler.edge.clock import SystemClock
from reconciler.edge.collector import quiet_collector
from reconciler.edge.forked import possible, telling
from reconciler.edge.plans import PlanFiles
from reconciler.edge.registry import Registry
from reconciler.edge.still import Overview
from reconciler.errors import Mend, SpecErrors, StateUnusable, TryLater, UsageError
from reconciler.ports import Fencing
from reconciler.ports import Journal as JournalPort
from reconciler.runtime.nodes import Nodes
from reconciler.runtime.observe import Asking, Beside, observe
from reconciler.runtime.revision import InForce, Ports, dated, in_force, off_branch
from reconciler.waiting import alone

if TYPE_CHECKING:
    from argparse import Namespace

    from reconciler.cli.observation import Observation
    from reconciler.core.planner import Planner
    from reconciler.core.world import World
    from reconciler.edge.beside import Begun
    from reconciler.edge.index.known import Documents, Laid
    from reconciler.edge.index.meanwhile import Meanwhile
    from reconciler.runtime.sharing import Fork


SHARED = 4_000
"""From so many things on other processes ask nodes beside us."""


class Glance:
    """A journal for those who only look: what is noted counts in this process, and is written nowhere."""

    def __init__(self, ledger: Callable[[], Ledger], clock: SystemClock) -> None:
        self._read = ledger
        self._clock = clock
        self.known: Ledger | None = None
        """The ledger, as far as it was read, or is known otherwise."""

    @property
    def ledger(self) -> Ledger:
        """Read when it is first asked for. Raises what reading the journal raises."""
        if self.known is None:
            self.known = self._read()
        return self.known

    async def append(self, entries: Sequence[Entry]) -> None:
        now = self._clock.instant()
        for entry in stamped(entries, now):
            self.ledger.fold(Record(self.ledger.sequence + 1, now.at, entry))


class NoFence:
    """Who only looks holds no lock."""

    fence = 0

    def lost(self) -> bool:
        return False


class Prospect(NamedTuple):
    """What would be done, and what it was made from."""

    desired: Desired
    plan: Plan
    planner: Planner
    reports: Mapping[Target, Report]
    """Without objects, which the world keeps: see `objects`."""
    problem: str
    """Why the newest revision is not the one in force; empty if it is."""
    head: str
    overviews: tuple[Overview, ...] | None = None
    """What the nodes were before they were asked and after; None where that is not known, or not the same."""

    @property
    def world(self) -> World:
        return self.planner.world

    def objects(self, target: Target) -> tuple[Object, ...]:
        """All that a target lists, ours or not."""
        return self.world.sights.objects(target)

    def whole(self, target: Target) -> Report:
        """A target's report with its objects. Raises KeyError."""
        return msgspec.structs.replace(self.reports[target], objects=self.objects(target))


class Looking:
    """An open datacenter, to look at."""

    def __init__(self, args: Namespace, opened: Opened, ports: Ports) -> None:
        self.args = args
        self.opened = opened
        self.repository = opened.repository
        self.source = opened.source
        self.state = opened.state
        self.registry = opened.registry
        self.datacenter_id = opened.datacenter_id
        self.ports = ports
        self.nodes = Nodes(ports.opening)
        self._held: tuple[Looking, Planner, Plan] | None = None
        self.meanwhile: Meanwhile | None = None
        """Lays down what was read for the next plan."""

    def now(self) -> float:
        return self.ports.clock.now()

    @property
    def ledger(self) -> Ledger:
        return self.ports.journal.ledger

    def refs(self, names: Iterable[str]) -> list[Ref]:
        """People's names as refs: `acme/web-1` is a Machine. Raises UsageError."""
        return [full_ref(name) for name in names]

    async def desired(self, revision: str | None = None) -> Desired:
        return await self.ports.source.load(revision)

    async def _planned(self, revision: str | None) -> Desired:
        """The desired state of a revision that is to follow what was applied last. The tree is read first, and compared
        only if it is another: the journal, which says what that was, is being read meanwhile."""
        if not (self.source.dirty or self.source.mirrored):
            with suppress(SpecErrors):  # told below, beside what only the comparison finds
                desired = await self.desired(revision)
                applied = self.ledger.applied
                if applied is None or applied.tree == desired.revision.tree:
                    return desired
        return await self.ports.source.load(revision, since=self.ledger.applied)

    async def prospect(
        self,
        request: Request,
        *,
        revision: str | None = None,
        only: Sequence[str] = (),
        observed: Observation | None = None,
        last_good: bool = False,
        remember: bool = False,
    ) -> Prospect:
        """Load, observe, plan. `only`: refs, or tags as key=value. `last_good`: where the newest revision holds
        mistakes, the one applied last is taken, and the problem told. `remember`: that there is nothing to do, if so,
        for `unchanged` to tell; and the documents are laid down, for `documents` to tell."""
        loaded = await in_force(self.source, self.ledger) if last_good else InForce(await self._planned(revision))
        desired = loaded.desired
        if only:
            remembered = {ref for ref, _ in self.ledger.bindings}
            request = msgspec.structs.replace(request, only=chosen(desired, only, remembered))
        await self.nodes.keep(desired.nodes)
        overviews = self.opened.still.overviews(desired.nodes.values()) if remember else None
        with quiet_collector():
            planner, reports = await self._surveyed(desired, observed, remember=remember)
            self.heard(reports.values())
            request = await dated(request, self.ports, desired)
            if observed is not None:
                request = msgspec.structs.replace(request, clock=None)  # its journal is of another host's clocks
            plan = planner.plan(request)
        self.hold(planner, plan)
        if overviews is not None:
            overviews = self.remember(plan, planner, overviews, revision)
        if observed is not None:
            plan = msgspec.structs.replace(plan, observed_at=observed.at)
        return Prospect(desired, plan, planner, reports, str(loaded.problem or ""), self.head(desired), overviews)

    def remember(
        self, plan: Plan, planner: Planner, before: tuple[Overview, ...], revision: str | None
    ) -> tuple[Overview, ...] | None:
        """That there is nothing to do, if so, for `unchanged` to tell. `before`: what the nodes were when they began to
        be asked; given back if they are that still, for somebody may have changed something, and change it back."""
        if not self.opened.still.holds(before):
            return None
        key = self.opened.still_key(revision, read_to=self.ledger.sequence)
        if key is not None and not self.ledger.pauses and not self.ledger.spent:
            last = self.ledger.applied.revision if self.ledger.applied is not None else ""
            until, secrets = planner.world.next_timer, self.source.secrets
            self.opened.still.keep(key, plan, before, secrets=secrets, until=until, last=last)
        return before

    def hold(self, planner: Planner, plan: Plan) -> None:
        """What a plan was made from is not taken apart once nobody asks for it, which takes milliseconds: a process
        that ends does without, and one that goes on leaves it to its collector."""
        self._held = self, planner, plan

    def heard(self, reports: Iterable[Report]) -> None:
        """Nothing: who only looks is in nobody's way."""

    async def _surveyed(
        self, desired: Desired, observed: Observation | None, *, remember: bool
    ) -> tuple[Planner, Mapping[Target, Report]]:
        """A planner that knows all that is wanted and seen, and the reports without their objects."""
        from reconciler.core.planner import Planner  # a kept plan is carried out without it
        from reconciler.edge.beside import compress

        planner = Planner(self.ports.shapes, self.ledger, compress=compress)
        covered = set(self.ledger.covered)
        planner.world.take_desired(desired)
        if observed is not None:
            for report in observed.by_target().values():
                planner.take_report(report)
            return planner, planner.world.reports
        beside = self._beside(desired, planner, remember=remember)
        reports = await self.observe(desired, take=planner.take_report, beside=beside)
        for target in sorted(self.ledger.covered - covered):
            planner.world.note(Covered(target))
        return planner, reports

    def _beside(self, desired: Desired, planner: Planner, *, remember: bool) -> Beside | None:
        """Another process that asks part of a large fleet, where there can be one."""
        if len(desired.resources) < SHARED or not (alone() and possible()):
            return None
        from reconciler.core.resting import glimpsed
        from reconciler.runtime.sharing import WHOLE, Glimpses, Sharing

        glimpses, id_ = Glimpses(partial(glimpsed, planner.world), planner.take_glimpse), desired.datacenter_id
        fork = self._laying() if remember and len(desired.resources) <= WHOLE else telling
        return Sharing(fork, self.nodes, self.ledger, id_, glimpses, things=len(desired.resources))

    def _laying(self) -> Fork:
        """A process that lays down what was read, too, once it has told of the nodes."""
        from reconciler.edge.index.known import Documents
        from reconciler.edge.index.meanwhile import Meanwhile

        known = self.source.documents()
        if not isinstance(known, Documents):
            return telling
        self.meanwhile = Meanwhile(known, self.ledger)
        return self.meanwhile.fork

    def documents(self) -> Documents | Laid | Meanwhile | None:
        """What was read of the tree in force, to be laid down."""
        known = self.source.documents()
        return self.meanwhile if self.meanwhile is not None and self.meanwhile.known == known else known

    def head(self, desired: Desired) -> str:
        """The newest commit, whether it is in force or not."""
        with suppress(TryLater, Mend):
            return self.repository.commit("HEAD")
        return desired.revision.commit or desired.revision.tree

    async def observe(
        self,
        desired: Desired,
        nodes: Iterable[NodeWant] | None = None,
        *,
        known: Mapping[Target, Report] | None = None,
        take: Callable[[Report | Told], object] | None = None,
        beside: Beside | None = None,
    ) -> dict[Target, Report]:
        """Ask the nodes, telling of it where somebody watches. `known`: as in `observe`; the others: see Asking."""
        teller = moving()
        wanted = desired.nodes.values() if nodes is None else nodes
        asking = Asking(emit=teller.emit, take=take, beside=beside)
        id_ = desired.datacenter_id
        return await observe(wanted, self.nodes, self.ports.journal, datacenter=id_, known=known, asking=asking)

    def observed(self, path: str | None) -> Observation | None:
        """A written observation, in place of what the journal and the nodes say. Raises UsageError."""
        if path is None:
            return None
        from reconciler.cli import observation

        found = observation.read(Path(path))
        if found.datacenter_id != self.datacenter_id:
            raise UsageError(f"{path} is of another datacenter, {found.datacenter_id}")
        glance = Glance(partial(Ledger, found.records), SystemClock())
        self.ports = msgspec.structs.replace(self.ports, journal=glance)
        self.source.keyed = found.secrets.get
        return found

    async def keep(self, plan: Plan) -> None:
        """Store the plan, so that its digest names it. Where the state folder cannot be written, it is only shown."""
        if plan.changes and plan.commit is not None:
            try:
                await self.ports.plans.save(plan)
            except StateUnusable as error:
                _not_kept(error)

    def keeping(self, plan: Plan) -> Keeping:
        """The same, beside the rest."""
        return Keeping(PlanFiles(self.state.plans).begin(plan) if plan.changes and plan.commit is not None else None)

    def applicable(self, plan: Plan) -> None:
        """Raises UsageError for what may be planned and not applied (invariant I13)."""
        why = off_branch(plan.branch, (plan.commit, plan.tree), self.ledger)
        if why is not None:
            raise UsageError(
                f"{why}: it can be planned, not applied",
                hint="merge it; or, to apply it from now on in place of the other: trueup accept REVISION",
            )
        if plan.commit is not None or not plan.changes or self._for_learning(plan):
            return
        raise UsageError(
            "this is not committed: it can be planned, not applied",
            hint="git commit it, then apply; a Node with `learning: true` takes it as it is",
        )

    def _for_learning(self, plan: Plan) -> bool:
        """Whether all that it touches takes what is not committed."""
        learning = {node.name for node in self.source.loader.desired.nodes.values() if _learning(node)}
        return {node_of(change.target) for change in plan.changes} <= learning

    def view(self, plan: Plan, *, expand: bool, last: str | None = None) -> View:
        """`last`: the revision applied last, where it is known already."""
        from reconciler.cli.sources import places_of, removals_of

        if last is None:
            last = self.ledger.applied.revision if self.ledger.applied is not None else ""
        since = last if not last.startswith("tree:") else ""
        sources = places_of(self.source, plan)
        sources |= removals_of(self.repository, plan, since=since, root=self.source.root) if since else {}
        learning = plan.commit is None and self._for_learning(plan)
        return View(expand=expand, now=self.now(), sources=sources, since=since[:7], learning=learning)

    async def close(self) -> None:
        if self.meanwhile is not None:
            self.meanwhile.end()
        await self.nodes.close()
        self.source.close()


class Keeping:
    """A plan that is being stored."""

    def __init__(self, begun: Begun[None] | None) -> None:
        self._begun = begun

    def done(self, *, within: float) -> bool:
        return self._begun is None or self._begun.done(within=within)

    def wait(self) -> None:
        try:
            if self._begun is not None:
                self._begun.result()
        except StateUnusable as error:
            _not_kept(error)


def _not_kept(error: StateUnusable) -> None:
    say(f"Note: {error.message}; the plan can be applied from a file only (--out)")


def _learning(node: NodeWant) -> bool:
    body = msgspec.json.decode(node.body)
    return bool(isinstance(body, dict) and body.get("learning"))


@asynccontextmanager
async def looking(args: Namespace, *, plans: bool = False) -> AsyncIterator[Looking]:
    """Open what is needed to look: no lock, nothing written but stored plans. `plans`: the journal will be asked for,
    so where that takes long it is read beside the tree."""
    async with placed(args, ahead=plans) as opened, looked(args, opened) as here:
        yield here


@asynccontextmanager
async def looked(args: Namespace, opened: Opened) -> AsyncIterator[Looking]:
    """The same, in what is open already."""
    path, ahead = opened.state.journal, opened.ahead
    glance = Glance(ahead.ledger if ahead is not None and ahead.path == path else partial(read, path), SystemClock())
    here = Looking(args, opened, ports_of(opened, journal=glance, fencing=NoFence()))
    try:
        yield here
    finally:
        await here.close()


def ports_of(opened: Opened, *, journal: JournalPort, fencing: Fencing) -> Ports:
    registry, state, secrets = opened.registry, opened.state, opened.secrets
    options: Mapping[str, Any] = {"root": str(opened.folder), "state": str(state.folder), "resolve": secrets.resolve}

    def opening(node: NodeWant) -> Driver:
        return registry.driver(node.driver).open(node, options)

    return Ports(
        source=opened.source,
        plans=PlanFiles(state.plans),
        journal=journal,
        clock=SystemClock(),
        fencing=fencing,
        shapes=Shapes(registry),
        opening=opening,
        secrets=secrets,
    )


class Shapes(Mapping[str, Shape]):
    """The drivers' shapes by name, each loaded when a node asks for it."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def __getitem__(self, name: str) -> Shape:
        if name not in self._registry:
            raise KeyError(name)
        return self._registry.driver(name).shape

    def __iter__(self) -> Iterator[str]:
        return iter(self._registry)

    def __len__(self) -> int:
        return len(self._registry)

    def __contains__(self, name: object) -> bool:
        return name in self._registry
