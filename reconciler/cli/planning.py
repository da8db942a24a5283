"""`trueup plan` and `trueup drift`: looking ahead, changing nothing.

Owns: from arguments to a request, what is printed, the exit code. Must not go here: planning (core), wiring (session).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.exits import Exit, worst
from reconciler.cli.opened import Opened, placed
from reconciler.cli.running import run
from reconciler.cli.terminal import say, show
from reconciler.core.plan import Plan, to_json
from reconciler.core.refs import Ref
from reconciler.core.render.changes import View
from reconciler.core.render.plan import plan_text
from reconciler.core.rules import Request
from reconciler.edge.clock import SystemClock
from reconciler.errors import Mend, TryLater

if TYPE_CHECKING:
    from argparse import Namespace

    from reconciler.cli import session
    from reconciler.cli.observation import Observation
    from reconciler.edge.git import Uncommitted

STANDING_ORDERS = frozenset({"drift", "both", "paused", "follow", "kept"})
"""Rules by which people said beforehand that they want something left alone: that blocks nothing."""

_PATIENCE = 0.2
"""Seconds that git is waited for once the plan is shown: what it is asked then is worth no more."""

_SOON = 0.005
"""Seconds that storing a plan may take before it is shown; beyond, what would come after is done meanwhile."""


def verdict(plan: Plan, *, detailed: bool) -> Exit:
    """How a command that only looks ends."""
    codes = [Exit.DONE]
    if not plan.complete:
        codes.append(Exit.INCOMPLETE)
    if any(hold.rule not in STANDING_ORDERS for hold in plan.holds):
        codes.append(Exit.BLOCKED)
    if detailed and plan.changes:
        codes.append(Exit.CHANGES)
    return worst(codes)


def plan(args: Namespace) -> int:
    """Plan, keep the plan where that is asked for, and show it."""
    return run(_plan, args)


async def _plan(args: Namespace) -> int:
    async with placed(args, ahead=not args.observation) as opened:
        with _edits(args, opened) as edits:
            still = None if args.observation or args.only else opened.unchanged(args.revision, SystemClock().now())
            if still is None:
                return await _planned(args, opened, edits)
            since = still.last if not still.last.startswith("tree:") else ""
            _tell(still.plan, View(expand=args.expand, now=still.plan.observed_at, since=since[:7]), args, edits)
            return verdict(still.plan, detailed=args.detailed_exitcode)


async def _planned(args: Namespace, opened: Opened, edits: Uncommitted | None) -> int:
    from reconciler.cli import session
    from reconciler.cli.resuming import lay_down

    async with session.looked(args, opened) as here:
        made, found = await _made(args, here, here.observed(args.observation))
        if found is None:
            await here.keep(made)
            _tell(made, here.view(made, expand=args.expand), args, edits)
            return verdict(made, detailed=args.detailed_exitcode)
        keeping = here.keeping(made)
        view = here.view(made, expand=args.expand)
        slow = not keeping.done(within=_SOON)
        if slow:
            lay_down(here, found)
        keeping.wait()  # what is shown can be applied
        _tell(made, view, args, edits)
        if not slow:
            lay_down(here, found)
    return verdict(made, detailed=args.detailed_exitcode)


@contextmanager
def _edits(args: Namespace, opened: Opened) -> Iterator[Uncommitted | None]:
    """git looks for edits that are not committed, unless these are what is planned."""
    edits = opened.uncommitted() if not args.dirty else None
    try:
        yield edits
    finally:
        if edits is not None:
            edits.close()


def _tell(made: Plan, view: View, args: Namespace, edits: Uncommitted | None) -> None:
    if args.out:
        _keep(made, Path(args.out))
    if args.format == "json":
        sys.stdout.buffer.write(to_json(made) + b"\n")
    else:
        show(plan_text(made, view), args)
    with suppress(TryLater, Mend):
        if made.commit is not None and edits is not None and edits.told(timeout=_PATIENCE):
            say("Note: there are changes that are not committed; `trueup plan --dirty` plans them.")


async def _made(
    args: Namespace, here: session.Looking, observed: Observation | None
) -> tuple[Plan, session.Prospect | None]:
    """The plan; and what it was made from, where all of it was looked at."""
    from reconciler.cli.resuming import resumed

    remember = observed is None and not args.only
    if remember:
        made = await resumed(here, Request(now=0), args.revision, remember=True)
        if made is not None:
            return made, None
    found = await here.prospect(
        Request(now=0), revision=args.revision, only=args.only, observed=observed, remember=remember
    )
    return found.plan, found


def _keep(made: Plan, path: Path) -> None:
    from reconciler.cli.terminal import written

    written(path, to_json(made) + b"\n")
    say(f"The plan is kept in {path}. Apply exactly this: trueup apply {path}")


def drift(args: Namespace) -> int:
    """Tell what was changed on the nodes."""
    return run(_drift, args)


async def _drift(args: Namespace) -> int:
    from reconciler.cli import session
    from reconciler.core.render.drift import drift_text, drifted

    async with session.looking(args, plans=True) as here:
        made = await _drift_plan(here, [str(ref) for ref in args.refs])
        if args.format == "json":
            sys.stdout.buffer.write(to_json(made) + b"\n")
        else:
            show(drift_text(made, View(expand=args.expand, now=here.now())), args)
    changes, holds = drifted(made)
    codes = [Exit.DONE] if made.complete else [Exit.INCOMPLETE]
    if args.detailed_exitcode and (changes or holds):
        codes.append(Exit.CHANGES)
    return worst(codes)


async def _drift_plan(here: session.Looking, only: list[str]) -> Plan:
    from reconciler.cli.resuming import resumed

    request = Request(now=0, intent=False)
    made = await resumed(here, request, None) if not only else None
    return made if made is not None else (await here.prospect(request, only=only)).plan


def healing(refs: list[Ref], *, everything: bool) -> Request:
    """The request that takes drift back, and does nothing else."""
    return Request(now=0, intent=False, heal=frozenset(refs), heal_all=everything)
