"""One step on this host: judged, fenced and done, in the same breath.

Owns: precondition, effect, claim and fence, checked under the node's own locks before a verb acts.
Must not go here: what a step does (verbs.py, plain.py), bringing the node up (driver.py). A look does without this.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import msgspec

from drivers.local import marks, ready
from drivers.local.cgroups import CapsRefused
from drivers.local.chamber import Hung
from drivers.local.guest import Missing
from drivers.local.images import ImageFailed
from drivers.local.locks import Stuck
from drivers.local.network import NetworkFailed
from drivers.local.nft import FirewallFailed
from drivers.local.node import Node
from drivers.local.observe import Observer, Seen
from drivers.local.plain import ImageVerbs, NetworkVerbs
from drivers.local.storage import StorageFailed
from drivers.local.verbs import Deed, MachineVerbs, Refused
from drivers.local.volumes import VolumeVerbs
from drivers.local.zones import ZoneFailed
from reconciler.core.observed import Claim
from reconciler.core.plan import Step
from reconciler.core.refs import kind_of
from reconciler.core.values import segments
from reconciler.driver import Outcome, StepContext, outbid

FAILURES = (
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
"""What a step may raise; the text is one sentence."""


class Acting:
    """Acts on a node that has been brought up."""

    def __init__(self, node: Node, observer: Observer) -> None:
        self._node = node
        self._observer = observer
        machines = MachineVerbs(node, observer)
        self._check_machine = machines.check
        self._verbs = {
            "Machine": machines.table,
            "Network": NetworkVerbs(node, observer).table,
            "Image": ImageVerbs(node, observer).table,
            "Volume": VolumeVerbs(node).table,
        }
        self._raised = (0, 0)
        """Fence and generation that the node was last seen to bear: which lock to try first, never a proof."""

    async def apply(self, step: Step, context: StepContext) -> Outcome:
        """Raises one of FAILURES, StorageDead and Stuck among them."""
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
