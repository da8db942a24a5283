"""The workbench of one test: what is there, what is wanted, the change between them, carried out step by step.

Owns: making a Change from (observed, wanted) with a driver's Shape, without the planner, and running it as the executor
does: each step proved by what is observed after it.
Must not go here: the kit's expectations of a driver.
"""

from __future__ import annotations

import itertools
from types import TracebackType
from typing import Any

import anyio
import msgspec

from reconciler.core.compare import compare, overlay
from reconciler.core.desired import Resource
from reconciler.core.moves import moving
from reconciler.core.observed import Marks, Object, Report
from reconciler.core.plan import Action, Cause, Change, Difference, Expect, Manner, Reason, Step, rest_digest
from reconciler.core.refs import Ref, Target, Uid, kind_of, mint, realisation_uid
from reconciler.core.values import Fields, plain
from reconciler.driver import Draft, Driver, NativeContext, Outcome, StepContext
from reconciler.testing.clearing import clear_after
from reconciler.testing.harness import Harness
from reconciler.testing.ports import EPOCH

QUARANTINE = 3600.0
_serial = itertools.count(1)


def fresh_name(stem: str) -> str:
    """A name that no machine of this process has had."""
    return f"{stem}{next(_serial)}"


class Scene:
    """Async context manager: opens the driver, claims the node, brings network and image; at the end what the test
    made is purged. Names are unique in this process, so that one node can serve many tests."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.shape = harness.shape
        self.fence = 1
        self.generation = next(_serial)
        self.now = EPOCH
        self.made: dict[Uid, Ref] = {}
        self.addresses: dict[tuple[Ref, Ref], int] = {}

    async def __aenter__(self) -> Scene:
        self.driver: Driver = await self.harness.open()
        report = await self.look()
        if report.claim is not None:
            self.fence = max(self.fence, report.claim.fence)
            self.generation = max(self.generation, report.claim.generation + 1)
        await self.claim(report)
        for wanted in (self.harness.network(), self.harness.image(), *self.harness.beneath()):
            await self.converge(wanted)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await clear_after(kind, self._clear_all)
        finally:
            await self.driver.close()

    async def _clear_all(self) -> None:
        for uid, ref in list(self.made.items()):
            await self.clear(ref, uid)

    async def reopen(self) -> None:
        """As if another process took over: nothing remembered."""
        await self.driver.close()
        self.driver = await self.harness.open()

    # -- looking

    async def look(self, *, began: int = 1) -> Report:
        for report in await self.driver.observe(began=began):
            if report.target == self.harness.target:
                assert isinstance(report, Report), "nobody said what was known, so nothing can be unchanged"
                return report
        raise AssertionError(f"the driver reported nothing of {self.harness.target}")

    async def find(self, uid: str) -> Object | None:
        """The one object that bears the uid. A report that leaves something out does not tell that there is none, and
        is asked for again."""
        for _ in range(60):
            report = await self.look()
            bearers = [found for found in report.objects if found.marks is not None and found.marks.uid == uid]
            assert len(bearers) <= 1, f"{len(bearers)} objects bear the uid {uid}"
            if bearers or report.complete:
                return bearers[0] if bearers else None
            await anyio.sleep(0.5)
        raise AssertionError(f"nobody can tell whether anything bears the uid {uid}: {report.problem}")

    async def there(self, uid: str) -> Object:
        found = await self.find(uid)
        assert found is not None, f"nothing bears the uid {uid}"
        return found

    # -- wanting

    def uid(self, ref: Ref, incarnation: int = 1) -> Uid:
        uid = mint(self.harness.datacenter, ref, incarnation)
        return uid if kind_of(ref) == "Machine" else realisation_uid(uid, self.harness.target)

    def fresh(self, stem: str = "m", **body: Any) -> Resource:
        """A Machine that nobody has had before."""
        return self.harness.machine(fresh_name(stem), **body)

    def context(self, resource: Resource) -> NativeContext:
        networks = [self.harness.network(0), self.harness.network(1)]
        by_ref = {known.ref: known for known in (*networks, self.harness.image(0), self.harness.image(1))}
        addresses = tuple(
            self.harness.address(by_ref[nic.networks[0]], self._number(resource.ref, nic.networks[0]))
            for nic in resource.nics
        )
        return NativeContext(self.harness.node, self.harness.target, addresses, by_ref)

    def _number(self, ref: Ref, network: Ref) -> int:
        return self.addresses.setdefault((ref, network), next(_serial) % 200)

    def native(self, resource: Resource) -> Fields:
        return self.shape.native(resource, self.context(resource))

    # -- changing

    def change(
        self,
        wanted: Resource,
        observed: Object | None,
        *,
        action: Action | None = None,
        protected: bool = False,
        incarnation: int = 1,
    ) -> Change:
        """From what is there to what is wanted, with its steps. `action` is read off both unless given."""
        made = self._draft(wanted, observed, action=action, protected=protected, incarnation=incarnation)
        return self._with_steps(made)

    def move(self, wanted: Resource, observed: Object, source: Target) -> Change:
        """Carry it here from another target of the node."""
        made = self._draft(wanted, observed, action=Action.MOVE, protected=False, incarnation=1)
        gone = moving(source, self.harness.target, Cause.OPERATION)
        bare = msgspec.structs.replace(made.change, source=source, differences=(gone, *made.change.differences))
        return self._with_steps(msgspec.structs.replace(made, change=bare))

    def _draft(
        self, wanted: Resource, observed: Object | None, *, action: Action | None, protected: bool, incarnation: int
    ) -> Draft:
        context = self.context(wanted)
        after: Fields = self.shape.native(wanted, context)
        differences: tuple[Difference, ...] = ()
        if observed is not None and observed.lifecycle == "live":
            differences = compare(wanted, observed, None, self.shape, context).differences
            after = overlay(observed.fields, differences)
        action = action or _action(observed, differences)
        incarnation = 2 if action is Action.REPLACE and incarnation == 1 else incarnation
        kept = observed is not None and observed.marks is not None and action is not Action.REPLACE
        uid = observed.marks.uid if kept and observed and observed.marks else self.uid(wanted.ref, incarnation)
        marks = Marks(
            uid,
            wanted.ref,
            self.harness.datacenter,
            incarnation,
            self.generation,
            self.fence,
            f"revision-{self.generation}",
            rest_digest(wanted.ref, self.shape.native(wanted, context), protected=protected),
            protected,
        )
        bare = Change(
            id=f"{wanted.ref}@{self.harness.target}",
            ref=wanted.ref,
            uid=uid,
            target=self.harness.target,
            action=action,
            reason=Reason("conformance", "the kit wants it"),
            before=dict(observed.fields) if observed else None,
            after=dict(after),
            differences=differences,
        )
        return Draft(bare, observed, wanted, context, marks)

    def removal(self, observed: Object, action: Action) -> Change:
        """Destroy, purge or forget of an object that bears our marks."""
        marks = observed.marks
        assert marks is not None, "only what is ours is removed"
        bare = Change(
            id=f"{marks.ref}@{self.harness.target}",
            ref=marks.ref,
            uid=marks.uid,
            target=self.harness.target,
            action=action,
            reason=Reason("conformance", "the kit wants it gone"),
            before=dict(observed.fields),
        )
        fresh = msgspec.structs.replace(marks, generation=self.generation, fence=self.fence)
        return self._with_steps(Draft(bare, observed, None, None, fresh))

    def _with_steps(self, draft: Draft) -> Change:
        if draft.change.action in (Action.DESTROY, Action.REPLACE):
            bare = msgspec.structs.replace(draft.change, recoverable_for=QUARANTINE)
            draft = msgspec.structs.replace(draft, change=bare)
        steps = [msgspec.structs.replace(step, id=f"{draft.change.id}:{step.id}") for step in self.shape.steps(draft)]
        return msgspec.structs.replace(draft.change, steps=tuple(steps))

    async def claim(self, report: Report) -> Outcome:
        ref = Ref(f"Node/{self.harness.target}")
        marks = Marks(Uid("node"), ref, self.harness.datacenter, 1, self.generation, self.fence, "", "")
        bare = Change(
            id=f"{marks.ref}@{self.harness.target}",
            ref=marks.ref,
            uid=marks.uid,
            target=self.harness.target,
            action=Action.ADOPT,
            reason=Reason("conformance", "a node is claimed once"),
            after={"identity": report.identity},
        )
        (step,) = self._with_steps(Draft(bare, None, None, None, marks)).steps
        outcome = await self.apply(step)
        assert outcome.status in ("applied", "unchanged"), outcome
        return outcome

    # -- carrying out

    def step_context(self, **changes: Any) -> StepContext:
        context = StepContext(
            self.fence, self.generation, self.now, secrets=self.harness.secrets, files=self.harness.files
        )
        return msgspec.structs.replace(context, **changes)

    async def apply(self, step: Step, **changes: Any) -> Outcome:
        """One step, as the executor hands it over. `changes` are to its context."""
        if step.verb in ("create", "import", "adopt"):
            self.made[step.uid] = step.ref
        return await self.driver.apply(step, self.step_context(**changes))

    async def run(self, change: Change) -> Change:
        """Every step must be applied (or its effect hold already), and after each the node be as the step said."""
        for step in change.steps:
            await self.proved(step)
        return change

    async def proved(self, step: Step) -> None:
        outcome = await self.apply(step)
        assert outcome.status in ("applied", "unchanged"), f"{step.id}: {outcome.status}, {outcome.reason}"
        mismatch = step.effect.mismatch(await self.find(step.uid))
        assert mismatch is None, f"{step.id} said it was applied, but {mismatch}"

    async def converge(self, wanted: Resource, *, protected: bool = False) -> Change:
        """Look, decide, run: the smallest planner there can be. Images and networks that are shared stay."""
        observed = await self._bearer(wanted.ref)
        change = self.change(wanted, observed, protected=protected)
        if observed is not None and not change.differences and change.action is Action.UPDATE:
            marks = observed.marks
            if marks is not None and marks.applied == change_rest(change):
                return msgspec.structs.replace(change, steps=())
        return await self.run(change)

    async def _bearer(self, ref: Ref) -> Object | None:
        found = [thing for thing in (await self.look()).objects if thing.marks is not None and thing.marks.ref == ref]
        live = [thing for thing in found if thing.lifecycle == "live"] or found
        return live[0] if live else None

    async def clear(self, ref: Ref, uid: Uid) -> None:
        """Take away what the test made: quarantine, then purge past the time."""
        if kind_of(ref) != "Machine":
            return
        found = await self.find(uid)
        if found is None:
            return
        if found.marks is not None and found.marks.protected:
            await self.apply(_unprotecting(self.removal(found, Action.DESTROY).steps[0], found.marks))
            found = await self.there(uid)
        if found.lifecycle == "live":
            for step in self.removal(found, Action.DESTROY).steps:
                await self.apply(step)
            found = await self.there(uid)
        for step in self.removal(found, Action.PURGE).steps:
            await self.apply(step, now=self.now + 2 * QUARANTINE)
        assert await self.find(uid) is None, f"{ref} could not be cleared away"


def _unprotecting(like: Step, marks: Marks) -> Step:
    bare = msgspec.structs.replace(marks, protected=False, applied="")
    return msgspec.structs.replace(
        like,
        verb="mark",
        args={"marks": msgspec.to_builtins(bare)},
        precondition=Expect(like.precondition.lifecycle),
        effect=Expect(like.precondition.lifecycle, applied="-"),
    )


def change_rest(change: Change) -> str:
    """What the marks bear when the change has come to its end."""
    return str(change.steps[-1].effect.applied) if change.steps else ""


def _action(observed: Object | None, differences: tuple[Difference, ...]) -> Action:
    if observed is None:
        return Action.CREATE
    if observed.lifecycle == "quarantined":
        return Action.RESTORE
    if any(difference.manner is Manner.REPLACE for difference in differences):
        return Action.REPLACE
    return Action.UPDATE


def edited(harness: Harness, wanted: Resource, **body: Any) -> Resource:
    """The same machine with keys of its body changed; None takes one out."""
    return harness.machine(wanted.ref.rpartition("/")[2], **{**plain(wanted.body), **body})
