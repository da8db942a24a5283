"""A small world for the runtime: nodes in memory that keep a driver's contract, and plans of a few words.

An object here has one field, `at`: how many steps of its change were done. Step n takes it from n-1 to n.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import msgspec

from reconciler.core.desired import NodeWant
from reconciler.core.ledger import Entry, Ledger, Record
from reconciler.core.observed import Capacity, Claim, Object, Report, Unchanged
from reconciler.core.plan import Action, Change, Expect, Gate, Plan, Reason, Step, plan_digest
from reconciler.core.refs import Ref, Target, Uid
from reconciler.core.shape import Shape
from reconciler.core.values import digest
from reconciler.driver import Driver, NodeUnreachable, Outcome, StepContext
from reconciler.runtime.events import Event
from reconciler.runtime.execute import Execution
from reconciler.runtime.nodes import Nodes
from reconciler.runtime.summary import Summary
from reconciler.runtime.worker import Means, Pace
from reconciler.testing.ports import FixedFence, MemoryJournal, StaticFiles, StaticSecrets, VirtualClock

DATACENTER = "00000000-0000-4000-8000-000000000001"


class Node:
    """A node that does what it is told, in `latency` seconds a call, unless it is told to misbehave."""

    shape: Shape

    def __init__(self, name: str, *, latency: float = 1.0) -> None:
        self.target = Target(name)
        self.latency = latency
        self.objects: dict[Uid, int] = {}
        self.calls: list[str] = []
        self.contexts: list[StepContext] = []
        self.running = 0
        self.most = 0
        self.dead: str | None = None
        self.hanging: set[str] = set()
        """Verbs that never come back; `observe` too."""
        self.failing: dict[str, str] = {}
        """Step ids (or verbs) to the reason of their failure."""
        self.breaking: set[str] = set()
        """Verbs that raise, against the contract; `observe` too."""
        self.closed = False

    async def observe(self, *, began: int, since: Mapping[Target, str] | None = None) -> tuple[Report | Unchanged, ...]:
        await self._misbehave("observe")
        seen = digest({uid: at for uid, at in sorted(self.objects.items())})
        if since and since.get(self.target) == seen:
            return (Unchanged(self.target, began, seen),)
        objects = tuple(
            Object("Machine", uid, uid, {"at": at}, digest([uid, at])) for uid, at in sorted(self.objects.items())
        )
        claim = Claim(DATACENTER, self.target)
        return (Report(self.target, began, True, self.target, claim, Capacity(), objects, seen),)

    async def apply(self, step: Step, context: StepContext) -> Outcome:
        self.calls.append(step.id)
        self.contexts.append(context)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self._misbehave(step.verb)
            return self._do(step)
        finally:
            self.running -= 1

    async def _misbehave(self, verb: str) -> None:
        if self.dead:
            raise NodeUnreachable(self.dead)
        if verb in self.breaking:
            raise RuntimeError(f"{verb}\nbroke")
        if verb in self.hanging:
            await anyio.sleep_forever()
        await anyio.sleep(self.latency)

    def _do(self, step: Step) -> Outcome:
        reason = self.failing.get(step.id) or self.failing.get(step.verb)
        if reason:
            return Outcome("failed", reason)
        have, want = self.objects.get(step.uid, 0), step.effect.fields["/at"]
        if have == want:
            return Outcome("unchanged")
        if have != want - 1:
            return Outcome("deferred", f"at is {have}, not {want - 1}")
        self.objects[step.uid] = want
        return Outcome("applied")

    async def close(self) -> None:
        self.closed = True


class World:
    """Nodes by name, and everything that an execution works with."""

    def __init__(self) -> None:
        self.machines: dict[str, Node] = {}
        self.clock = VirtualClock()
        self.journal = MemoryJournal(self.clock)
        self.fence = FixedFence(7)
        self.secrets = StaticSecrets()
        self.files = StaticFiles()
        self.spending = anyio.Lock()
        self.events: list[Event] = []

    def add(self, *names: str, **more: Any) -> Node:
        for name in names:
            self.machines[name] = Node(name, **more)
        return self.machines[names[-1]]

    def opening(self, node: NodeWant) -> Driver:
        return self.machines[node.name]

    @property
    def declared(self) -> dict[str, NodeWant]:
        return {name: NodeWant(name, "memory", digest(name)) for name in self.machines}

    @property
    def nodes(self) -> Nodes:
        return Nodes(self.opening)

    def means(self, **more: Any) -> Means:
        def driver(target: Target) -> Driver:
            return self.machines[target]

        shared = {"spending": self.spending, **more}
        return Means(self.journal, self.clock, self.fence, driver, self.secrets, self.files, **shared)

    def execution(self, plan: Plan, *, pace: Pace | None = None, **more: Any) -> Execution:
        return Execution(plan, self.means(**more), pace=pace, emit=self.events.append)

    async def execute(self, plan: Plan, *, pace: Pace | None = None, **more: Any) -> Summary:
        return await self.execution(plan, pace=pace, **more).run()

    def crash(self) -> None:
        """Another process: what the journal holds is all that is known."""
        self.journal = self.journal.reopened()
        self.events = []

    def told(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def journalled(self, kind: type[Entry]) -> list[Any]:
        return [entry for entry in self.journal.entries if isinstance(entry, kind)]


class Notes:
    """A journal in memory that waits for nothing: it needs no event loop."""

    def __init__(self) -> None:
        self.ledger = Ledger()

    async def append(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self.ledger.fold(Record(self.ledger.sequence + 1, 1.79e9, entry))


def change(name: str, target: str, *verbs: str, **more: Any) -> Change:
    """A machine's change, `verbs` in series; `more` is of its first step (needs, gates, on_intent, args …)."""
    ref, at = Ref(f"Machine/acme/{name}"), Target(target)
    steps = []
    for number, verb in enumerate(verbs or ("do",), start=1):
        before = Expect("absent") if number == 1 else Expect("live", {"/at": number - 1})
        step = Step(
            id=f"{ref}@{at}:{number}-{verb}",
            target=at,
            ref=ref,
            uid=Uid(name),
            verb=verb,
            args={},
            precondition=before,
            effect=Expect("live", {"/at": number}),
            summary=f"{verb} {name}",
            needs=(steps[-1].id,) if steps else (),
        )
        steps.append(step)
    steps[0] = msgspec.structs.replace(steps[0], **more)
    return Change(f"{ref}@{at}", ref, Uid(name), at, Action.UPDATE, Reason("test", "for a test"), steps=tuple(steps))


def step_id(name: str, target: str, verb: str = "do", number: int = 1) -> str:
    return f"Machine/acme/{name}@{target}:{number}-{verb}"


def gate(*steps: str, max_failures: int = 0, pause: float = 0) -> tuple[Gate, ...]:
    return (Gate(steps, max_failures, pause),)


def plan_of(*changes: Change, generation: int = 1, commit: str = "c1") -> Plan:
    return Plan(
        datacenter="lab",
        datacenter_id=DATACENTER,
        tree="t1",
        changes=changes,
        holds=(),
        digest=plan_digest(DATACENTER, "t1", changes),
        generation=generation,
        commit=commit,
    )
