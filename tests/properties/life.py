"""A small data centre that lives through anything: commits, crashes, losses, lies; and the rules that hold meanwhile.

Owns: the truth on the nodes, what is told of it, an executor that may die anywhere, and the checks after each deed.
Must not go here: which deeds happen (the tests).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import msgspec

from reconciler.core.desired import Budget, Desired, Drain, Lineage, NodeMember, NodeWant, Policy, Resource
from reconciler.core.ledger import Entry, Intent, Ledger, Paused, Record, Result, Resumed, Spent
from reconciler.core.observed import Capacity, Claim, Marks, Object, Report
from reconciler.core.pauses import borne, refusal
from reconciler.core.plan import Action, Change, Plan, Step, from_json, to_json
from reconciler.core.planner import Request, make_plan
from reconciler.core.refs import SINGLE, Ref, Target, Uid, kind_of, node_of
from reconciler.core.standing import drain_of
from reconciler.core.values import digest, replaced
from reconciler.runtime.execute import beginning, resumes
from reconciler.testing.rehearsal import drained
from tests.builders import DATACENTER, NOW, SHAPES, GiB, desired, image, network, node, report

ROOM = Capacity(16 * GiB, 32_000, 200 * GiB)
POLICY = Policy(destroys=Budget(per_plan=2, per_hour=3), restarts=Budget(per_plan=3), drift="report", quarantine=3600)


class Random(Protocol):
    """What of a random source is used: hypothesis and `random` both have it."""

    def random(self) -> float: ...
    def choice(self, among: Any) -> Any: ...


class Killed(Exception):
    """The controller dies here."""


class Life:
    """`objects` is the truth; `reports` what was told of it last; `records` the journal."""

    def __init__(self, *names: str, policy: Policy = POLICY) -> None:
        self.now = NOW
        self.policy = policy
        self.nodes: dict[str, NodeWant] = nodes_of(names)
        self.wanted: dict[Ref, Resource] = {each.ref: each for each in (image(), network(), network("db"))}
        self.objects: dict[Target, dict[Uid, Object]] = {Target(name): {} for name in names}
        self.claims: dict[Target, Claim] = {}
        self.reports: dict[Target, Report] = {}
        self.records: list[Record] = []
        self.applied: frozenset[Ref] = frozenset()
        """What the revision applied last had."""
        self.meddled = False
        """Somebody made copies, or lied: two of one name may be nobody's fault."""
        self.drifted = False
        self.lost = False
        self.lineage: Lineage | None = None
        self.heals = False

    # -- what people and nodes do -------------------------------------------------------------------------------------

    def want(self, *resources: Resource) -> None:
        for each in resources:
            self.wanted[each.ref] = each

    def drop(self, ref: Ref) -> None:
        if not any(ref in each.references for each in self.wanted.values()):
            self.wanted.pop(ref, None)

    def desired(self) -> Desired:
        return desired(*self.wanted.values(), nodes=self.nodes.values(), policy=self.policy)

    def drain(self, target: str, drain: Drain | None) -> None:
        """People drain a target in git, or lift it."""
        self.nodes[node_of(target)] = drained(self.nodes[node_of(target)], target, drain)

    def look(self, target: str, *, partial: int | None = None, silent: bool = False) -> None:
        """Ask a node now. `partial`: so many of its objects are listed; `silent`: it does not answer."""
        place = Target(target)
        listed = list(self.objects[place].values())
        told = report(
            target,
            listed if partial is None else listed[:partial],
            claimed=False,
            began=len(self.records),
            complete=partial is None and not silent,
            capacity=ROOM,
            problem="cut short" if partial is not None else "no answer" if silent else None,
        )
        told = msgspec.structs.replace(told, claim=self.claims.get(place))
        if silent:
            told = msgspec.structs.replace(told, identity=None, claim=None, objects=())
        self.reports[place] = msgspec.structs.replace(told, digest=digest(msgspec.to_builtins(told)))

    def look_all(self) -> None:
        for target in self.objects:
            self.look(target)

    def drift(self, target: str, path: str, value: Any) -> None:
        self.drifted = True
        self._meddle(target, lambda found: msgspec.structs.replace(found, fields=replaced(found.fields, path, value)))

    def hide(self, target: str, path: str) -> None:
        """A field cannot be read any more."""
        self.drifted = True

        def hidden(found: Object) -> Object:
            return msgspec.structs.replace(
                found, fields=replaced(found.fields, path, None), unknown={path: "the daemon does not say"}
            )

        self._meddle(target, hidden)

    def lose(self, target: str) -> None:
        self.lost = True
        here = self.objects[Target(target)]
        for uid in sorted(here)[:1]:
            del here[uid]

    def copy(self, source: str, target: str) -> None:
        """Somebody copies a machine with all its marks, and a driver does not notice."""
        self.meddled = True
        for uid in sorted(self.objects[Target(source)])[-1:]:
            found = self.objects[Target(source)][uid]
            self.objects[Target(target)][uid] = _whole(msgspec.structs.replace(found, native_id=f"copy-{uid}"))

    def reimage(self, target: str) -> None:
        self.lost = True
        self.objects[Target(target)].clear()
        self.claims.pop(Target(target), None)

    def forget_all(self) -> None:
        """The journal is lost, and with the process what it was told."""
        self.records.clear()
        self.reports.clear()

    def pause(self, subject: str, seconds: float) -> None:
        self.journal(Paused(subject, self.now + seconds, f"for {seconds:g} s"))

    def unpause(self, subject: str) -> None:
        self.journal(Resumed(subject))

    def _meddle(self, target: str, change: Callable[[Object], Object]) -> None:
        here = self.objects[Target(target)]
        for uid in sorted(here)[:1]:
            here[uid] = _whole(change(here[uid]))

    # -- plans --------------------------------------------------------------------------------------------------------

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.records)

    def request(self) -> Request:
        gone = frozenset(self.applied - self.wanted.keys())
        lineage = self.lineage if self.lineage is not None else Lineage(removed=gone)
        return Request(now=self.now, lineage=lineage, heal_all=self.heals)

    def plan(self) -> Plan:
        """The plan as things are told, with every rule that a plan keeps checked."""
        request, ledger = self.request(), self.ledger
        plan = make_plan(self.desired(), self.reports.values(), ledger, SHAPES, request)
        Check(self, plan, ledger, request).all()
        return plan

    # -- carrying out -------------------------------------------------------------------------------------------------

    def begin(self, plan: Plan) -> None:
        if not resumes(plan, self.ledger):
            opening = beginning(plan, self.ledger, 1)
            self.journal(*((opening,) if opening is not None else ()), *plan.entries)
            self.applied = frozenset(self.wanted)

    def journal(self, *entries: Entry) -> None:
        for entry in entries:
            self.records.append(Record(len(self.records) + 1, self.now, entry))

    def carry_out(self, plan: Plan, random: Random, *, dies_after: int | None = None) -> None:
        """Any order that needs and gates allow. `dies_after`: so many instants later the controller is killed."""
        left = dies_after if dies_after is not None else 1 << 30

        def instant() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed

        try:
            self.begin(plan)
            instant()
            done = self.ledger.runs[plan.digest].outcomes if plan.digest in self.ledger.runs else {}
            outcomes: dict[str, str] = dict(done)
            waiting = [step for step in plan.steps if outcomes.get(step.id) not in ("applied", "unchanged")]
            while ready := [step for step in waiting if _may(step, outcomes)]:
                step = random.choice(ready)
                waiting.remove(step)
                self._step(plan, step, outcomes, instant)
        except Killed:
            pass

    def _step(self, plan: Plan, step: Step, outcomes: dict[str, str], instant: Callable[[], None]) -> None:
        if any(outcomes.get(need) not in ("applied", "unchanged") for need in step.needs) or _shut(step, outcomes):
            outcomes[step.id] = "deferred"
            return
        ledger = self.ledger
        first = any(change.steps[0] is step for change in plan.changes)
        if first and refusal(ledger, step, self.now) is not None:
            outcomes[step.id] = "deferred"
            return
        tried = (plan.digest, step.id) in ledger.in_flight
        entries = [each for each in step.on_intent if not (tried and isinstance(each, Spent))]
        self.journal(Intent(plan.digest, step.id, step.target, step.ref, step.uid, step.source), *entries)
        instant()
        outcomes[step.id] = self.act(step)
        instant()
        good = outcomes[step.id] in ("applied", "unchanged")
        status: Any = outcomes[step.id]
        result = Result(plan.digest, step.id, step.target, step.ref, status, source=step.source)
        self.journal(result, *(step.on_applied if good else ()))
        self.check_truth()
        instant()

    def act(self, step: Step) -> str:
        """What an honest driver does: effect holds, then nothing; precondition holds, then act."""
        if step.verb == "claim":
            if step.target in self.claims:
                return "unchanged"
            self.claims[step.target] = Claim(DATACENTER, f"guid-{step.target}")
            return "applied"
        here = self.objects[step.target]
        found = here.get(step.uid)
        if step.effect.mismatch(found) is None:
            return "unchanged"
        if step.source is not None:
            if found is not None:
                return "deferred"
            found = self.objects[step.source].get(step.uid)
        if not self.claims.keys() >= {*step.places} or step.precondition.mismatch(found) is not None:
            return "deferred"
        if step.source is not None:
            del self.objects[step.source][step.uid]
            for uid in [uid for uid in step.args.get("volumes", {}) if uid in self.objects[step.source]]:
                here[uid] = self.objects[step.source].pop(uid)
        if step.verb == "purge" and step.args["until"] > self.now:
            return "failed"
        if step.effect.lifecycle == "absent":
            del here[step.uid]
            return "applied"
        fields: Mapping[str, Any] = found.fields if found else {}
        for path, value in step.effect.fields.items():
            fields = replaced(fields, path, value)
        marks = msgspec.convert(step.args["marks"], Marks)
        if step.verb == "quarantine":
            if found and found.marks and found.marks.protected:
                return "failed"
            base = found.marks if found and found.marks else marks
            marks = msgspec.structs.replace(base, quarantined_until=self.now + step.args["quarantine"])
        kind = kind_of(step.ref)
        here[step.uid] = _whole(Object(kind, step.uid, f"native-{step.uid}", fields, "", marks, step.effect.lifecycle))
        return "applied"

    def resume(self, random: Random, plans: Iterable[Plan]) -> None:
        """What a process does that finds intents without outcome."""
        flying = {plan for plan, _ in self.ledger.in_flight}
        for plan in plans:
            if plan.digest in flying:
                self.carry_out(plan, random)
        for (plan, _), intent in sorted(self.ledger.in_flight.items()):
            self.journal(Result(plan, intent.step, intent.target, intent.ref, "unconfirmed", source=intent.source))

    # -- what is true whatever happens --------------------------------------------------------------------------------

    def check_truth(self) -> None:
        live = [
            (found, target)
            for target, here in self.objects.items()
            for found in here.values()
            if found.kind in SINGLE and found.lifecycle == "live" and found.marks is not None
        ]
        if not self.meddled:
            names = Counter(found.marks.ref for found, _ in live if found.marks)
            assert max(names.values(), default=1) == 1, f"two of one name live: {names} (I2)"
            uids = Counter(found.marks.uid for found, _ in live if found.marks)
            assert max(uids.values(), default=1) == 1, f"two of one identity live: {uids} (I2)"
        if not self.meddled:
            self._check_addresses(found for found, _ in live)
            self._check_room(live)
            self._check_mounts(live)
        self._check_budgets()

    def _check_addresses(self, live: Iterable[Object]) -> None:
        """No two that run have one address, after every step."""
        running = (found for found in live if found.fields.get("state") == "running")
        nics = ((name, nic["ip"]) for found in running for name, nic in (found.fields.get("nics") or {}).items())
        held = Counter(nics)
        assert max(held.values(), default=1) == 1, f"an address is held twice: {held}"

    def _check_room(self, live: Iterable[tuple[Object, Target]]) -> None:
        """What runs on a target never takes more than it has, after every step, but by somebody's hand."""
        if self.drifted:
            return
        used: Counter[Target] = Counter()
        for found, target in live:
            used[target] += int(found.fields.get("memory") or 0) if found.fields.get("state") == "running" else 0
        assert max(used.values(), default=0) <= (ROOM.memory or 0), f"more memory than there is: {used}"

    def _check_mounts(self, live: Iterable[tuple[Object, Target]]) -> None:
        """What runs mounts volumes that live where it is, after every step, but by somebody's hand."""
        there = {(found.marks.ref, target) for found, target in live if found.marks}
        for found, target in live if not self.lost else ():
            for name in found.fields.get("volumes") or {} if found.fields.get("state") == "running" else ():
                assert (f"Volume/acme/{name}", target) in there, f"{name} is not on {target}"

    def _check_budgets(self) -> None:
        for window, limit in (("per hour", self.policy.destroys.per_hour),):
            spent = [record.at for record in self.records if isinstance(record.entry, Spent)
                     and record.entry.budget == "destroys" and record.at > self.now - 3600]  # fmt: skip
            assert limit is None or len(spent) <= limit, f"{len(spent)} destroys {window} (I5)"


def _whole(found: Object) -> Object:
    bare = msgspec.structs.replace(found, digest="")
    return msgspec.structs.replace(bare, digest=digest(msgspec.to_builtins(bare)))


def _may(step: Step, outcomes: Mapping[str, str]) -> bool:
    return all(need in outcomes for need in step.needs) and all(
        each in outcomes for gate in step.gates for each in gate.steps
    )


def _shut(step: Step, outcomes: Mapping[str, str]) -> bool:
    return any(
        sum(outcomes[each] not in ("applied", "unchanged") for each in gate.steps) > gate.max_failures
        for gate in step.gates
    )


class Check:
    """The rules that a plan keeps, from what its planner was told."""

    def __init__(self, life: Life, plan: Plan, ledger: Ledger, request: Request) -> None:
        self.life = life
        self.plan = plan
        self.ledger = ledger
        self.request = request

    def all(self) -> None:
        self.shape()
        assert self.plan.proved, self.plan.problems
        assert from_json(to_json(self.plan)) == self.plan
        for change in self.plan.changes:
            self.seen(change)
            self.witnessed(change)
            self.left_alone(change)
            if change.action is Action.CREATE and kind_of(change.ref) in SINGLE:
                self.may_create(change)
            if change.source is not None:
                self.may_move(change, change.source)
        planned = sum(change.action in (Action.DESTROY, Action.REPLACE) and _machine(change)
                      and change.before is not None for change in self.plan.changes)  # fmt: skip
        limit = self.life.policy.destroys.per_plan
        assert limit is None or planned <= limit + sum(_cut_short(each) for each in self.plan.changes), "destroys (I5)"

    def shape(self) -> None:
        steps = [step.id for step in self.plan.steps]
        assert len(steps) == len(set(steps)), "step ids are unique"
        known, place = set(steps), {step: index for index, step in enumerate(steps)}
        for step in self.plan.steps:
            assert known.issuperset(step.needs), f"{step.id} needs what is not there"
        order = {step.id: set(step.needs) for step in self.plan.steps}
        while ready := [step for step, needs in order.items() if not needs & order.keys()]:
            for step in ready:
                del order[step]
        assert not order, f"steps wait for each other: {sorted(order, key=lambda each: place[each])}"
        refs = Counter((change.ref, change.target) for change in self.plan.changes if change.action is not Action.PURGE)
        assert max(refs.values(), default=1) == 1, "one change for each ref and target (I9)"
        machines = Counter(change.ref for change in self.plan.changes
                           if _machine(change) and change.action is not Action.PURGE)  # fmt: skip
        assert max(machines.values(), default=1) == 1, "a machine changes in one place"

    def seen(self, change: Change) -> None:
        """What is destroyed, purged or replaced was seen on a node whose word counts (I1)."""
        if change.action not in (Action.DESTROY, Action.REPLACE, Action.PURGE, Action.UPDATE, Action.RENAME):
            return
        told = self.life.reports.get(change.target)
        assert told is not None, change.id
        assert told.identity is not None, change.id
        assert told.claim is not None, change.id
        assert any(found.marks and found.kind == kind_of(change.ref) for found in told.objects), change.id
        if change.action is Action.PURGE:
            until = min(
                found.marks.quarantined_until or self.request.now + 1
                for found in told.objects
                if found.marks and found.marks.uid == change.uid
            )
            assert until <= self.request.now, f"{change.id} is early (I8)"

    def witnessed(self, change: Change) -> None:
        if change.action is not Action.DESTROY:
            return
        seen = change.ref in self.request.lineage.removed or change.ref in self.ledger.witnessed
        assert seen, f"{change.id} has no witness (I13)"
        assert self.request.lineage.broken is None, change.id
        assert not self.request.lineage.older, change.id
        binding = self.ledger.bindings.get((change.ref, change.target))
        assert binding is None or not binding.protected, f"{change.id} is protected (I7)"

    def left_alone(self, change: Change) -> None:
        """Of what is paused, by the ledger or by what it bears itself, nothing changes but the mark that says so."""
        now, pauses = self.request.now, self.ledger.pauses
        place = change.source or change.target
        about = [pauses[name] for name in (change.ref, f"Node/{node_of(place)}") if name in pauses]
        told = self.life.reports.get(place)
        bears = [
            found.marks for found in (told.objects if told else ()) if found.marks and found.marks.uid == change.uid
        ]
        paused = any(pause.until > now for pause in about) or any(borne(self.ledger, marks, now) for marks in bears)
        if paused:
            assert [step.verb for step in change.steps] == ["mark"], f"{change.id} is paused"
            assert change.before == change.after, change.id

    def may_create(self, change: Change) -> None:
        """Nothing of that name may live where nobody has looked (I1, I2)."""
        for place in (place for binding in self.ledger.bindings.of(change.ref) for place in binding.places):
            told = self.life.reports.get(place)
            assert told is not None, change.id
            assert told.complete, f"{change.id}: {place} was not listed"
            assert told.began >= self.ledger.written.get(place, 0), f"{change.id}: {place} is stale"
            assert not any(found.marks and found.marks.ref == change.ref and found.lifecycle == "live"
                           for found in told.objects), change.id  # fmt: skip
        for target in {*self.life.objects, *self.ledger.claims}:
            if target not in self.ledger.covered and node_of(target) in self.life.nodes:
                told = self.life.reports.get(target)
                assert told is not None, f"{change.id}: {target} was never asked"
                assert told.complete, f"{change.id}: {target} was never listed"

    def may_move(self, change: Change, source: Target) -> None:
        """It was seen, alive; it goes to another member of the same cluster, which is not drained, and to none from
        which it must stay apart (I1, I2)."""
        told = self.life.reports.get(source)
        assert told is not None, change.id
        assert told.identity is not None, change.id
        seen = [found for found in told.objects if found.marks and found.marks.uid == change.uid]
        assert [found.lifecycle for found in seen] == ["live"], change.id
        assert node_of(source) == node_of(change.target), f"{change.id}: nothing carries it there"
        assert source != change.target
        assert drain_of(self.life.nodes[node_of(source)], change.target) is None, f"{change.id}: it is drained"
        spread = self.life.wanted[change.ref].constraints.spread
        apart = set(spread.machines) - {change.ref} if spread is not None and spread.hard else set()
        there = self.life.reports[change.target].objects
        assert not any(found.marks and found.marks.ref in apart and found.lifecycle == "live" for found in there)
        assert not any(each.ref in apart and each.target == change.target for each in self.plan.changes
                       if each.action in (Action.CREATE, Action.MOVE)), change.id  # fmt: skip


def nodes_of(targets: Iterable[str]) -> dict[str, NodeWant]:
    """A node for each name, or a cluster for those with a member's."""
    members: dict[str, dict[str, NodeMember]] = {}
    for target in targets:
        name, _, member = target.partition("/")
        members.setdefault(name, {}).update({member: NodeMember()} if member else {})
    return {name: node(name, members=found) for name, found in members.items()}


def _machine(change: Change) -> bool:
    return kind_of(change.ref) in SINGLE


def _cut_short(change: Change) -> bool:
    return change.action is Action.REPLACE and not any(step.verb == "quarantine" for step in change.steps)
