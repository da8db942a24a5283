"""Plans of one thing that a person asked for by name and git says nothing of: `forget`.

Owns: making such a plan with the planner's own parts, so that it is carried out, journalled and fenced like any other.
Must not go here: whether it may be asked for (cli), anything that git could say.
"""

from __future__ import annotations

from reconciler.core.desired import Desired
from reconciler.core.finish import make_change
from reconciler.core.ledger import Entry, Forgotten, Ledger, Released
from reconciler.core.plan import Action, Change, Plan, Reason, plan_digest
from reconciler.core.refs import Ref, Target, node_of
from reconciler.core.work import Work
from reconciler.core.world import World


def forgetting(world: World, ref: Ref, now: float) -> Plan:
    """Take the marks off every live object of a ref and drop its bindings; the objects stay as they are."""
    assert world.desired is not None, "take_desired comes first"
    changes: list[Change] = []
    for target, found in world.seen(ref):
        if found.lifecycle == "live" and found.marks is not None:
            marks = found.marks
            reason = Reason("forget", "asked for by name; nothing of the object itself is changed")
            work = Work(ref, target, Action.FORGET, marks.uid, marks.incarnation, reason, found=found)
            changes.append(make_change(work, world))
    seen = {change.target for change in changes}
    entries = tuple(
        Forgotten(ref, binding.uid, binding.target)
        for binding in world.ledger.bound(ref)
        if binding.target not in seen and binding.quarantined_until is None
    )
    return _plan(world.desired, world.ledger, tuple(changes), entries, now)


def releasing(desired: Desired, ledger: Ledger, node: str) -> tuple[Entry, ...]:
    """Entries that give up a node and all that is bound there; nothing is asked of it: it may be gone."""
    targets = {target for target in (*ledger.claims, *ledger.covered) if node_of(target) == node}
    bound = [binding for (_, target), binding in sorted(ledger.bindings.items()) if node_of(target) == node]
    targets |= {binding.target for binding in bound}
    forgotten = tuple(Forgotten(binding.ref, binding.uid, binding.target) for binding in bound)
    return (*forgotten, *(Released(Target(target)) for target in sorted(targets)))


def _plan(
    desired: Desired, ledger: Ledger, changes: tuple[Change, ...], entries: tuple[Entry, ...], now: float
) -> Plan:
    """Nothing of git is applied by it: the executor is told not to move the revision."""
    revision = desired.revision
    return Plan(
        datacenter=desired.datacenter,
        datacenter_id=desired.datacenter_id,
        tree=revision.tree,
        changes=changes,
        holds=(),
        digest=plan_digest(desired.datacenter_id, revision.tree, changes),
        generation=ledger.generation + 1,
        entries=entries,
        commit=revision.commit,
        branch=revision.branch or "",
        root=revision.root,
        repository=revision.repository,
        observed_at=now,
    )
