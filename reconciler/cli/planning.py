"""`trueup plan` and `trueup drift`: looking ahead, changing nothing.

Owns: from arguments to a request, what is printed, the exit code. Must not go here: planning (core), wiring (session).
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from reconciler.cli import session
from reconciler.cli.exits import Exit, worst
from reconciler.cli.observation import Observation
from reconciler.cli.running import run
from reconciler.cli.terminal import say, show
from reconciler.core.plan import Plan, to_json
from reconciler.core.refs import Ref
from reconciler.core.render.changes import View
from reconciler.core.render.drift import drift_text, drifted
from reconciler.core.render.plan import plan_text
from reconciler.core.rules import Request

STANDING_ORDERS = frozenset({"drift", "both", "paused", "follow", "kept"})
"""Rules by which people said beforehand that they want something left alone: that blocks nothing."""


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
    async with session.looking(args, plans=not args.observation) as here:
        observed = here.observed(args.observation)
        dirty = here.dirty_beside() if not args.dirty else None
        still = here.unchanged(args.revision) if observed is None and not args.only else None
        if still is not None:
            made, found = still.plan, None
        else:
            made, found = await _made(args, here, observed)
        if args.out:
            _keep(made, Path(args.out))
        await here.keep(made)
        if args.format == "json":
            sys.stdout.buffer.write(to_json(made) + b"\n")
        else:
            view = here.view(made, expand=args.expand, last=still.last if still is not None else None)
            show(plan_text(made, view), args)
        if made.commit is not None and dirty is not None and dirty.result():
            say("Note: there are changes that are not committed; `trueup plan --dirty` plans them.")
        if found is not None:
            from reconciler.cli.resuming import lay_down

            lay_down(here, found)
    return verdict(made, detailed=args.detailed_exitcode)


async def _made(
    args: Namespace, here: session.Looking, observed: Observation | None
) -> tuple[Plan, session.Prospect | None]:
    """The plan; and what it was made from, where all of it was looked at."""
    remember = observed is None and not args.only
    if remember:
        from reconciler.cli.resuming import resumed

        made = await resumed(here, Request(now=0), args.revision)
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
