"""A plan at the cost of what differs: going on from what an earlier command laid down.

Owns: when a command may do that, and that it is given up on any doubt. Must not go here: how it is laid down (edge).
"""

from __future__ import annotations

from collections.abc import Collection

from reconciler.cli.session import Glance, Looking, Prospect
from reconciler.core.ledger import Covered
from reconciler.core.plan import Plan
from reconciler.core.planner import Planner
from reconciler.core.rules import Request
from reconciler.edge.index.memory import Ground, Index
from reconciler.edge.index.shelves import Doubt
from reconciler.errors import Mend, TryLater
from reconciler.runtime.observe import targets_of
from reconciler.runtime.revision import dated

_DIFFERING = 500
"""Files beyond which all are read anew: from an index each costs more."""


async def resumed(here: Looking, request: Request, revision: str | None, *, remember: bool = False) -> Plan | None:
    """The plan, where what was laid down may be believed, and is enough to tell. `remember`: as in `prospect`."""
    journal = here.ports.journal
    if here.source.dirty or here.source.mirrored or not isinstance(journal, Glance):
        return None
    index = _index(here)
    if not index.there:
        return None
    here.repository.difference.begin()  # it finds its repository while the index is read
    kept = index.open(_ground(here), here.opened.overview, here.now())
    if kept is None:
        return None
    try:
        where = here.repository.revision(revision, root=here.source.root)
        if len(here.repository.difference.between(kept.revision.tree, where.tree)) > _DIFFERING:
            return None
        planner = kept.planner(here.ports.shapes)
        documents = kept.documents(here.source.tree(where.tree), here.registry, planner)
        here.source.resume(documents, planner.world.nodes)
        journal.known = planner.world.ledger
        desired = await here.source.load(revision, since=journal.known.applied)
        planner.world.take_desired(desired, here.source.news())
        await _look_again(here, planner, kept.stale)
        plan = planner.plan(await dated(request, here.ports, desired))
        if remember and kept.overviews is not None and not plan.changes:
            here.remember(plan, planner, kept.overviews, revision)
        here.hold(planner, plan)
        return plan
    except (Doubt, Mend, TryLater):
        # a mistake too is told from scratch
        here.source.forget()
        journal.known = None
        return None


async def _look_again(here: Looking, planner: Planner, names: Collection[str]) -> None:
    """Ask these nodes. One that says what it said before costs an answer; a target whose first whole listing is still
    to be noted tells all of it."""
    if not names:
        return
    world, ledger, desired = planner.world, planner.world.ledger, planner.world.desired
    assert desired is not None, "it was taken up"
    covered = set(ledger.covered)
    wanted = [desired.nodes[name] for name in names]
    known = {target: world.reports[target] for node in wanted for target in targets_of(node)
             if target in covered and target in world.reports}  # fmt: skip
    await here.observe(desired, wanted, known=known, take=planner.take_report)
    for target in sorted(ledger.covered - covered):
        world.note(Covered(target))


def lay_down(here: Looking, found: Prospect) -> None:
    """Keep all that a plan was made from, for `resumed`."""
    known = here.documents()
    if known is not None:
        _index(here).keep(_ground(here), found.overviews or (), found.planner, known, here.now())


def _index(here: Looking) -> Index:
    return Index(here.state.folder / "index")


def _ground(here: Looking) -> Ground:
    return Ground(str(here.opened.folder), tuple(here.registry), here.state.journal)
