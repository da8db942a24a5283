"""The driver of this host: observe, and apply one step.

Owns: precondition, effect, claim and fence, checked under the node's own locks in the same breath as acting; recovery
when the storage died. Must not go here: what a step does (verbs.py, plain.py), what is seen (observe.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import anyio
import anyio.to_thread
import msgspec

from drivers.local import marks, namespace, ready
from drivers.local.cgroups import CapsRefused
from drivers.local.chamber import Hung
from drivers.local.guest import Missing
from drivers.local.images import ImageFailed
from drivers.local.locks import Stuck
from drivers.local.network import NetworkFailed
from drivers.local.nft import FirewallFailed
from drivers.local.node import Node, unusable
from drivers.local.observe import Observer, Seen
from drivers.local.place import Place
from drivers.local.plain import ImageVerbs, NetworkVerbs
from drivers.local.shape import LocalShape
from drivers.local.storage import Settings, StorageDead, StorageFailed
from drivers.local.verbs import Deed, MachineVerbs, Refused
from drivers.local.volumes import VolumeVerbs
from drivers.local.zones import ZoneFailed
from reconciler.core.observed import Claim, Report, Unchanged
from reconciler.core.plan import Step
from reconciler.core.refs import Target, Uid, kind_of
from reconciler.core.values import segments
from reconciler.driver import NodeUnreachable, Outcome, StepContext, outbid
from reconciler.driver.console import ConsoleUnavailable

_FAILURES = (
    CapsRefused,
    FirewallFailed,
    Hung,
    ImageFailed,
    Missing,
    NetworkFailed,
    Refused,
    StorageFailed,
    Stuck,
    ZoneFailed,
)


class LocalDriver:
    """Opened without touching the host; the first call brings the node up."""

    def __init__(self, name: str, place: Place, settings: Settings, interfaces: Mapping[str, str]) -> None:
        self.shape = LocalShape()
        self._target = Target(name)
        self._node = Node(place, settings, interfaces)
        self._observer = Observer(self._node, self.shape)
        machines = MachineVerbs(self._node, self._observer)
        self._check_machine = machines.check
        self._verbs = {
            "Machine": machines.table,
            "Network": NetworkVerbs(self._node, self._observer).table,
            "Image": ImageVerbs(self._node, self._observer).table,
            "Volume": VolumeVerbs(self._node).table,
        }
        self._up: bool | None = None
        self._raised = (0, 0)
        """Fence and generation that the node was last seen to bear: which lock to try first, never a proof."""
        self._rising = anyio.Lock()

    @property
    def node(self) -> Node:
        """The parts, for tests and tools that look beneath."""
        return self._node

    async def _rise(self, *, again: bool = False) -> None:
        """Bring the node up, once; `again` after the storage died. Raises NodeUnreachable."""
        async with self._rising:
            if self._up and not again:
                return
            reason = None if namespace.present(self._node.place) else unusable()
            if reason:
                raise NodeUnreachable(reason)
            try:
                if self._up is None:
                    made = await anyio.to_thread.run_sync(self._node.enter)
                    self._up = False
                else:
                    made = False
                await self._node.chamber.call(self._node.bring_up, made)
            except _FAILURES as error:
                raise NodeUnreachable(str(error)) from None
            except OSError as error:
                raise NodeUnreachable(error.strerror or str(error)) from None
            self._up = True

    # Observing

    async def observe(self, *, began: int, since: Mapping[Target, str] | None = None) -> tuple[Report | Unchanged, ...]:
        await self._rise()
        for again in (False, True):
            try:
                report = await self._node.chamber.call(self._observer.report, self._target, began)
                break
            except (StorageDead, Stuck) as error:
                if again:
                    raise NodeUnreachable(str(error)) from None
                await self._rise(again=True)
            except (StorageFailed, Hung, OSError) as error:
                raise NodeUnreachable(str(error)) from None
        if since is not None and since.get(self._target) == report.digest:
            return (Unchanged(self._target, began, report.digest),)
        return (report,)

    # Applying

    async def apply(self, step: Step, context: StepContext) -> Outcome:
        try:
            await self._rise()
            for again in (False, True):
                try:
                    return await self._apply(step, context)
                except (StorageDead, Stuck) as error:
                    if again:
                        return Outcome("failed", str(error))
                    await self._rise(again=True)
        except NodeUnreachable as error:
            return Outcome("failed", str(error))
        except _FAILURES as error:
            return Outcome("failed", str(error))
        except Exception as error:  # the contract: nothing but cancellation is raised
            return Outcome("failed", f"unexpected, please report it: {type(error).__name__}: {error}")
        raise AssertionError("unreachable")

    async def _apply(self, step: Step, context: StepContext) -> Outcome:
        call = self._node.chamber.call
        if kind_of(step.ref) == "Node":
            return await call(self._claim, step, context)
        if step.verb == "ready":
            outcome = await call(self._check, step, context)
            if outcome is not None:
                return outcome
            await ready.wait(self._node, await call(self._zone_of, step), step.args["ready"], context)
        return await call(self._act, step, context)

    def _zone_of(self, step: Step) -> str:
        seen = self._observer.one(step.uid, "Machine")
        return seen.volume.name.partition("/")[2] if seen.volume else step.uid

    def _check(self, step: Step, context: StepContext) -> Outcome | None:
        with self._node.locks.shared(), self._node.locks.object(step.uid):
            return self._judged(step, context, self._see(step))

    def _act(self, step: Step, context: StepContext) -> Outcome:
        with ExitStack() as held:
            outcome = self._perform(step, context, self._hold(held, context))
        if outcome is not None:
            return outcome
        with self._node.locks.whole() as lower:
            outcome = self._perform(step, context, lower)
        assert outcome is not None, "held whole"
        return outcome

    def _hold(self, held: ExitStack, context: StepContext) -> Callable[[], None] | None:
        """The node, shared. The first step under a fence has it whole if nobody acts there, so that one look serves
        the fence and the step; then what lowers that."""
        if self._raised != (context.fence, context.generation):
            with suppress(Stuck):
                return held.enter_context(self._node.locks.whole(patience=0))
        held.enter_context(self._node.locks.shared())
        return None

    def _perform(self, step: Step, context: StepContext, lower: Callable[[], None] | None) -> Outcome | None:
        """Look, judge and act, in the same breath. None: the node has to be held whole for that (then, `lower`)."""
        with self._node.locks.object(step.uid):
            seen = self._see(step)
            outcome = self._judged(step, context, seen)
            if outcome is not None:
                return outcome
            deed, verb = Deed(step, context, seen), self._verbs.get(kind_of(step.ref), {}).get(step.verb)
            if verb is None:
                return Outcome("failed", f"this driver has no {step.verb} for a {kind_of(step.ref)}")
            try:
                if kind_of(step.ref) == "Machine":
                    self._check_machine(deed)
                if not self._raise(context, seen.claim, lower):
                    return None
                verb(deed)
            except Refused as error:
                return Outcome("deferred", str(error))
            return Outcome("applied")

    def _see(self, step: Step) -> Seen:
        return self._observer.one(step.uid, kind_of(step.ref), _disk_names(step))

    def _judged(self, step: Step, context: StepContext, seen: Seen) -> Outcome | None:
        """None: it is to be done."""
        refusal = _refusal(step, context, seen.claim, seen.identity)
        if refusal is not None:
            return refusal
        if step.effect.mismatch(seen.object) is None:
            return Outcome("unchanged")
        reason = step.precondition.mismatch(seen.object)
        return Outcome("deferred", reason) if reason is not None else None

    def _raise(self, context: StepContext, claim: Claim | None, lower: Callable[[], None] | None) -> bool:
        """A higher fence or generation is written on the node before its first step acts, with the node held whole: it
        waited for the steps in hand under a lower one, and stops those that come after. False: it is not held whole."""
        assert claim is not None, "judged before"
        if context.fence > claim.fence or context.generation > claim.generation:
            if lower is None:
                return False
            newer = msgspec.structs.replace(
                claim,
                fence=max(claim.fence, context.fence),
                generation=max(claim.generation, context.generation),
            )
            self._node.storage.mark_node(marks.node_text(newer))
        self._raised = context.fence, context.generation
        if lower is not None:
            lower()
        return True

    def _claim(self, step: Step, context: StepContext) -> Outcome:
        with self._node.locks.whole():
            listing = self._node.storage.read([])
            found = marks.claim(listing.node_mark)
            if step.verb in ("forget", "release"):
                if found is None:
                    return Outcome("unchanged")
                self._node.storage.mark_node(None)
                return Outcome("applied")
            if step.verb != "claim":
                return Outcome("failed", f"this driver has no {step.verb} for a Node")
            return self._claimed(step, context, found, listing.identity)

    def _claimed(self, step: Step, context: StepContext, found: Claim | None, identity: str) -> Outcome:
        datacenter = step.args["datacenter"]
        if step.args.get("identity") not in (None, identity):
            return Outcome("deferred", f"the pool is {identity}, not {step.args['identity']}")
        if found is not None and found.identity == identity:
            if found.datacenter != datacenter:
                return Outcome("failed", f"the node belongs to the datacenter {found.datacenter}")
            return _stale(context, found) or Outcome("unchanged")
        claim = Claim(datacenter, identity, context.fence, context.generation)
        self._node.storage.mark_node(marks.node_text(claim))
        return Outcome("applied")

    async def close(self) -> None:
        if self._up is not None:
            self._node.chamber.close()
            self._up = None

    # Console: getting into a machine, for people

    async def exec(self, uid: Uid, argv: Sequence[str]) -> int:
        zone = await self._running(uid)
        return await self._node.chamber.call(self._node.zones.attach, zone, list(argv))

    async def console(self, uid: Uid) -> None:
        """A shell: zones have no terminal of their own."""
        zone = await self._running(uid)
        await self._node.chamber.call(self._node.zones.attach, zone, ["/bin/sh"])

    async def logs(self, uid: Uid, lines: int) -> str:
        return self._node.zones.last_lines(await self._zone(uid), lines)

    async def _zone(self, uid: Uid) -> str:
        try:
            await self._rise()
            seen = await self._node.chamber.call(self._observer.one, uid, "Machine")
        except (NodeUnreachable, StorageFailed) as error:
            raise ConsoleUnavailable(str(error)) from None
        if seen.volume is None:
            raise ConsoleUnavailable("there is no such machine on this node")
        return seen.volume.name.partition("/")[2]

    async def _running(self, uid: Uid) -> str:
        zone = await self._zone(uid)
        if not self._node.zones.running(zone):
            raise ConsoleUnavailable("the machine is not running")
        return zone

    # Beneath the contract

    async def tear_down(self) -> None:
        """Remove everything of this node from the host: zones, pool (if it is ours), bridges, rules, folder. What
        trueup manages elsewhere is not touched. For demonstrations and tests; never part of a plan."""
        if not self._node.place.folder.exists():
            return
        if self._up is None:
            await anyio.to_thread.run_sync(self._node.enter)
        await self._node.chamber.call(self._node.tear_down)
        await anyio.to_thread.run_sync(self._node.leave)
        self._up = None


def _refusal(step: Step, context: StepContext, claim: Claim | None, identity: str) -> Outcome | None:
    """Whose node it is, and who may act on it."""
    if claim is None or claim.identity != identity:
        return Outcome("deferred", "the node is not claimed by this datacenter")
    datacenter: Any = step.args.get("marks", {}).get("datacenter")
    if datacenter is not None and claim.datacenter != datacenter:
        return Outcome("failed", f"the node belongs to the datacenter {claim.datacenter}")
    return _stale(context, claim)


def _stale(context: StepContext, claim: Claim) -> Outcome | None:
    if context.fence < claim.fence:
        return outbid(claim.fence, context.fence)
    if context.generation < claim.generation:
        older = f"generation {context.generation} is older than {claim.generation}"
        return Outcome("failed", f"a newer plan has been carried out here: {older}")
    return None


def _disk_names(step: Step) -> set[str]:
    """Data disks that the step speaks of."""
    names = set(step.args.get("fields", {}).get("disks", {}))
    if step.verb == "disk":
        names.add(step.args["name"])
    for path in (*step.precondition.fields, *step.effect.fields):
        parts = segments(path)
        if parts[0] == "disks" and len(parts) > 1:
            names.add(parts[1])
    return names
