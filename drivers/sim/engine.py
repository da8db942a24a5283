"""The rules of a simulated node: what it proves before it acts, and what each verb does to it.

Owns: the proof (claim, fence, generation, precondition, effect) and the acts, all inside one transaction.
Must not go here: waiting, faults, reading the clock (the step's context says what time it is).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from drivers.sim import acts
from drivers.sim.acts import Act, Refused
from drivers.sim.shape import SimShape
from drivers.sim.store import Found, Store, TargetRow
from reconciler.core.observed import Claim, Marks
from reconciler.core.plan import Step
from reconciler.core.refs import kind_of
from reconciler.driver import Outcome, StepContext, outbid


def perform(store: Store, shape: SimShape, step: Step, context: StepContext) -> Outcome:
    """Prove and act under the fleet's lock, and write down what became of it."""
    with store.writing():
        outcome = _perform(store, shape, step, context)
        store.log((step.target, step.id, step.verb, step.ref, step.uid, outcome.status, outcome.reason, context.fence))
    return outcome


def _perform(store: Store, shape: SimShape, step: Step, context: StepContext) -> Outcome:
    target = store.target(step.target)
    if target is None:
        return Outcome("failed", f"there is no target {step.target} here")
    if target.broken.unreachable:
        return Outcome("failed", f"cannot be reached: {target.broken.unreachable}")
    try:
        marks = msgspec.convert(step.args.get("marks"), Marks)
    except msgspec.ValidationError as error:
        return Outcome("failed", f"the step has no marks to write: {error}")
    if kind_of(step.ref) == "Node":
        return _node(store, target, step, context)
    problem = _stale(target, marks, context)
    if problem is not None:
        return problem
    source = target
    if step.source is not None:
        said = store.target(step.source)
        if said is None or said.node != target.node:
            return Outcome("failed", f"nothing is carried from {step.source} to {step.target}")
        if said.broken.unreachable:
            return Outcome("failed", f"{step.source} cannot be reached: {said.broken.unreachable}")
        problem = _stale(said, marks, context)
        if problem is not None:
            return problem
        source = said
    bearers = [found for place in dict.fromkeys((step.target, source.name)) for found in store.by_uid(place, step.uid)]
    if len(bearers) > 1:
        return Outcome("deferred", f"{len(bearers)} objects bear the uid {step.uid}: neither is touched")
    found = bearers[0] if bearers else None
    if found and found.object.marks and found.object.marks.generation > context.generation:
        newer = found.object.marks.generation
        return Outcome("deferred", f"generation {newer} has written it already, this is {context.generation}")
    thing = found.object if found else None
    if step.effect.mismatch(thing if found and found.target == step.target else None) is None:
        return Outcome("unchanged")
    mismatch = step.precondition.mismatch(thing if found and found.target == source.name else None)
    if mismatch:
        return Outcome("deferred", mismatch)
    return _act(Act(store, shape, step, context, target, found, marks))


def _act(act: Act) -> Outcome:
    verb = VERBS.get(act.step.verb)
    if verb is None:
        return Outcome("failed", f"a simulated node knows no verb {act.step.verb}")
    missing = sorted(_secrets(act.step.args) - set(act.context.secrets))
    if missing:
        return Outcome("failed", f"no value was handed over for the secret {missing[0]}")
    act.store.db.execute("SAVEPOINT act")
    try:
        verb(act)
    except Refused as refused:
        act.store.db.execute("ROLLBACK TO act")
        act.store.db.execute("RELEASE act")
        return Outcome("failed", str(refused))
    act.store.db.execute("RELEASE act")
    for place in act.step.places:
        _remember(act.store, place, act.context)
    return Outcome("applied")


def _remember(store: Store, name: str, context: StepContext) -> None:
    """The highest fence and generation that wrote here, against those that come late."""
    target = store.target(name)
    assert target is not None, "it was there a moment ago, under the same lock"
    claim = target.claim
    assert claim is not None, "nothing acts on a node without a claim"
    fence, generation = max(claim.fence, context.fence), max(claim.generation, context.generation)
    if (fence, generation) != (claim.fence, claim.generation):
        claim = msgspec.structs.replace(claim, fence=fence, generation=generation)
        store.put_target(msgspec.structs.replace(target, claim=claim))


def _stale(target: TargetRow, marks: Marks, context: StepContext) -> Outcome | None:
    """Why nothing of ours may act on this target, if so: wrong node, or a newer controller has been here."""
    claim = target.claim
    if claim is None:
        return Outcome("deferred", f"{target.name} bears no claim: it may be another node, or a new one")
    if claim.datacenter != marks.datacenter:
        return Outcome("deferred", f"{target.name} is claimed by the datacenter {claim.datacenter}")
    if claim.identity != target.identity:
        said = f"it is {target.identity}, the claim names {claim.identity}"
        return Outcome("deferred", f"{target.name} is not the node that was claimed: {said}")
    if context.fence < claim.fence:
        return outbid(claim.fence, context.fence)
    if context.generation < claim.generation:
        return Outcome("deferred", f"generation {claim.generation} has written here, this is {context.generation}")
    return None


def _node(store: Store, target: TargetRow, step: Step, context: StepContext) -> Outcome:
    """Claim a node or let it go. The claim is no object: it is its own precondition and effect."""
    claim = target.claim
    datacenter = msgspec.convert(step.args["marks"], Marks).datacenter
    if claim is not None and claim.datacenter != datacenter:
        return Outcome("deferred", f"{target.name} is claimed by the datacenter {claim.datacenter}")
    if claim is not None and context.fence < claim.fence:
        return outbid(claim.fence, context.fence)
    if step.verb == "claim":
        if target.identity is None or step.args.get("identity") != target.identity:
            return Outcome("deferred", f"{target.name} is {target.identity}, not {step.args.get('identity')}")
        if claim is not None and claim.identity == target.identity:
            return Outcome("unchanged")
        fresh = Claim(datacenter, target.identity, context.fence, context.generation)
        store.put_target(msgspec.structs.replace(target, claim=fresh))
        return Outcome("applied")
    if step.verb in ("release", "forget"):
        if claim is None:
            return Outcome("unchanged")
        store.put_target(msgspec.structs.replace(target, claim=None))
        return Outcome("applied")
    return Outcome("failed", f"a simulated node knows no verb {step.verb} for itself")


def _secrets(value: Any) -> set[str]:
    """Names of the secrets that a step's arguments refer to."""
    if isinstance(value, Mapping):
        if isinstance(value.get("secret"), str):
            return {value["secret"]}
        return set().union(*map(_secrets, value.values()))
    if isinstance(value, (list, tuple)):
        return set().union(*map(_secrets, value))
    return set()


VERBS: Mapping[str, Callable[[Act], None]] = {
    "create": acts.create,
    "import": acts.create_plain,
    "disk": acts.disk,
    "destroy-disk": acts.destroy_disk,
    "configure": acts.configure,
    "start": acts.start,
    "stop": acts.stop,
    "move": acts.move,
    "update": acts.update,
    "snapshot": acts.snapshot,
    "quarantine": acts.quarantine,
    "restore": acts.restore,
    "purge": acts.purge,
    "mark": acts.mark,
    "ready": acts.ready,
    "adopt": acts.adopt,
    "forget": acts.forget,
    "destroy": acts.destroy,
}

__all__ = ["Found", "perform"]
