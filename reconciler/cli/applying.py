"""`trueup apply` and `trueup heal`: carrying out a plan, with a question before and a page after.

Owns: the conversation around an execution. Must not go here: carrying out (runtime), wiring (session).
"""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from pathlib import Path

import msgspec

from reconciler.cli import session
from reconciler.cli.breaking import applied_last, ended, holds, is_held
from reconciler.cli.exits import Exit, worst
from reconciler.cli.interrupting import interruptible
from reconciler.cli.planning import healing, verdict
from reconciler.cli.progress import JsonLines, Progress
from reconciler.cli.running import run
from reconciler.cli.session import Looking
from reconciler.cli.terminal import colourful, confirmed, say, show
from reconciler.cli.writing import Writing, writing
from reconciler.core.plan import Plan
from reconciler.core.render.changes import View
from reconciler.core.render.outcome import Result, Unfinished, nothing_text, result_text
from reconciler.core.render.plan import plan_text
from reconciler.core.rules import Request
from reconciler.edge.plans import read_plan
from reconciler.errors import LockHeld, PlanMissing, PlanUnknown, TryLater, UsageError
from reconciler.runtime.events import Event
from reconciler.runtime.summary import Summary
from reconciler.waiting import blocking

_TELLING = 8
"""Hex digits of a digest that tell one plan from all others that somebody may have read."""


def apply(args: Namespace) -> int:
    """Apply a kept plan, or plan, ask and apply."""
    if args.plan is not None and (args.only or args.revision or args.dirty):
        raise UsageError(
            "a kept plan is applied as it stands: --only, --revision and --dirty belong to planning",
            hint="plan anew with them, then apply that",
        )
    if args.break_glass and (args.plan is not None or not args.reason):
        raise UsageError(
            "--break-glass takes a commit, not a kept plan, and says why",
            hint="trueup apply --break-glass --reason 'the loop is down, the disk is full'",
        )
    return run(_apply, args)


async def _apply(args: Namespace) -> int:
    try:
        return await _apply_alone(args)
    except LockHeld as error:
        if args.break_glass:
            raise
        async with session.looking(args) as here:
            if args.plan is not None:
                return await _through_loop(here, await _kept(here, args.plan), args, held=error)
            found = await here.prospect(Request(now=0), revision=args.revision, only=args.only)
            return await _through_loop(here, found.plan, args, held=error)


async def _apply_alone(args: Namespace) -> int:
    async with writing(args) as here:
        if not await _resumed(here, args):
            return Exit.PARTIAL
        if args.plan is not None:
            return await _ask_and_carry_out(here, await _kept(here, args.plan), args, stored=True)
        if args.break_glass:
            return await _break_glass(here, args)
        found = await here.prospect(Request(now=0), revision=args.revision, only=args.only)
        return await _ask_and_carry_out(here, found.plan, args)


async def _break_glass(here: Writing, args: Namespace) -> int:
    """Apply what is not merged. The branch stays where it is; the loop leaves what was changed alone until then."""
    base = await applied_last(here)
    plan = (await here.prospect(Request(now=0), revision=args.revision, only=args.only)).plan
    if plan.commit is None:
        raise UsageError("even past the branch only a commit is applied", hint="git commit it, it is merged later")
    show(plan_text(plan, here.view(plan, expand=args.expand)), args)
    if not plan.changes:
        return verdict(plan, detailed=False)
    if not confirmed("Apply this past the branch? The loop leaves it alone until it is merged.", yes=args.yes):
        say("Nothing was done.")
        return Exit.ERROR
    await here.ports.plans.save(plan)
    await here.ports.journal.append(holds(plan, base, args.reason))
    return await _carry_out(here, plan, args, moves=False, merged=False)


async def _resumed(here: Writing, args: Namespace) -> bool:
    """Bring what an earlier process left to its end. False if that was interrupted in its turn."""
    for plan, changes in await here.unfinished():
        say(f"Going on with plan {plan.digest[:8]}, which was cut short.")
        teller = _teller(args, plan)
        summary = await interruptible(await here.execution(plan, teller.emit, moves=False, changes=changes))
        teller.close()
        if summary.stopped is not None:
            _finished(summary, plan, args)
            return False
    return True


async def _through_loop(here: Looking, plan: Plan, args: Namespace, *, held: LockHeld, moves: bool = True) -> int:
    """A loop that runs here holds the lock: it is given the plan, and tells how it goes. Raises LockHeld where it is
    not a loop that holds it."""
    from anyio import get_cancelled_exc_class

    from reconciler.edge.calls import NobodyAnswers, call

    here.applicable(plan)
    if args.format != "json":
        show(plan_text(plan, here.view(plan, expand=getattr(args, "expand", False))), args)
    if not plan.changes:
        return verdict(plan, detailed=False)
    await here.ports.plans.save(plan)
    if not confirmed("Apply this plan? The loop that runs here does it.", yes=args.yes):
        say("Nothing was done.")
        return Exit.ERROR
    teller = _teller(args, plan)
    summary = None
    try:
        async with call(here.state, {"do": "apply", "plan": plan.digest, "moves": moves}, within=None) as answers:
            async for message in answers:
                if "event" in message:
                    teller.emit(msgspec.convert(message["event"], type=Event))
                elif "summary" in message:
                    summary = msgspec.convert(message["summary"], type=Summary)
    except NobodyAnswers:
        raise held from None
    except get_cancelled_exc_class():
        teller.close()
        say("The loop goes on with it: trueup status tells how far it is.")
        raise
    teller.close()
    return _finished(summary, plan, args)


async def _kept(here: Looking, name: str) -> Plan:
    """A plan by the file it is in, or by its digest: in the store, or, where it was read elsewhere (in a pull request),
    as what is planned now, if that is the same. It is stored afterwards. Raises PlanMissing."""
    if not os.path.exists(name):  # noqa: ASYNC240 - one look at a local path
        try:
            return await here.ports.plans.find(name)
        except PlanUnknown:
            if len(name) < _TELLING:
                raise
        plan = (await here.prospect(Request(now=0))).plan
        if not plan.digest.startswith(name):
            raise PlanMissing(
                f"no stored plan begins with {name}, and what would be done now is another: {plan.digest[:8]}",
                hint="read that one: trueup plan",
            )
        await here.ports.plans.save(plan)
        return plan
    plan = await blocking(read_plan, Path(name))
    await here.ports.plans.save(plan)
    return plan


async def _ask_and_carry_out(
    here: Writing, plan: Plan, args: Namespace, *, moves: bool = True, stored: bool = False
) -> int:
    here.applicable(plan)
    if args.format != "json":
        show(plan_text(plan, _view(here, plan, args)), args)
    if not plan.changes:
        await here.settle(plan, moves=moves)
        return verdict(plan, detailed=False)
    if not stored:
        await here.ports.plans.save(plan)
    if not confirmed("Apply this plan?", yes=args.yes):
        say("Nothing was done.")
        return Exit.ERROR
    return await _carry_out(here, plan, args, moves=moves)


def _view(here: Looking, plan: Plan, args: Namespace) -> View:
    """A kept plan that is not asked about was read before: finding each line's file again would take longer than
    carrying it out."""
    if getattr(args, "plan", None) is not None and args.yes:
        return View(now=here.now())
    return here.view(plan, expand=getattr(args, "expand", False))


async def _carry_out(here: Writing, plan: Plan, args: Namespace, *, moves: bool = True, merged: bool = True) -> int:
    if merged:
        here.applicable(plan)
    teller = _teller(args, plan)
    execution = await here.execution(plan, teller.emit, moves=moves)
    summary = await interruptible(execution)
    teller.close()
    return _finished(summary, plan, args)


def _finished(summary: Summary | None, plan: Plan, args: Namespace) -> int:
    """The page after it, and the exit code."""
    if summary is None:
        raise TryLater("the loop did not say how it ended", hint="trueup status tells how far it came")
    if args.format == "json":
        print(msgspec.json.encode(summary).decode())
    elif plan.changes:
        show(result_text(result_of(summary, plan)), args)
    else:
        show(nothing_text(plan), args)
    return worst([Exit(summary.exit_code), verdict(plan, detailed=False)])


def _teller(args: Namespace, plan: Plan | None) -> Progress | JsonLines:
    if args.format == "json":
        return JsonLines(sys.stdout)
    return Progress(plan, sys.stdout, live=colourful(args, sys.stdout))


def result_of(summary: Summary, plan: Plan) -> Result:
    """The page's record of a summary."""
    verbs = {step.id: step.summary for step in plan.steps}
    return Result(
        changes=summary.changes,
        steps={str(status): count for status, count in summary.counts.items()},
        seconds=summary.seconds,
        before=summary.before,
        unfinished=tuple(
            Unfinished(
                failure.ref, failure.target, verbs.get(failure.step, failure.step), failure.status, failure.reason
            )
            for failure in summary.failures
        ),
        refused=summary.refused,
        stopped=summary.stopped,
        fence_lost=summary.fence_lost,
        downtimes=summary.downtimes,
    )


def heal(args: Namespace) -> int:
    """Take drift back, and nothing else."""
    if bool(args.refs) == bool(args.all):
        raise UsageError("say what to heal: refs, or --all", hint="trueup drift shows what was changed")
    return run(_heal, args)


async def _heal(args: Namespace) -> int:
    try:
        async with writing(args) as here:
            if not await _resumed(here, args):
                return Exit.PARTIAL
            code = await _ask_and_carry_out(here, await _healing_plan(here, args), args, moves=False)
            if code == Exit.DONE:
                await here.ports.journal.append(ended(here.ledger.held, here.refs(args.refs)))
            return code
    except LockHeld as error:
        async with session.looking(args) as seen:
            return await _through_loop(seen, await _healing_plan(seen, args), args, held=error, moves=False)


async def _healing_plan(here: Looking, args: Namespace) -> Plan:
    refs = here.refs(args.refs)
    request = healing(refs, everything=args.all)
    if any(is_held(here.ledger.held, ref) for ref in refs):
        # what was applied past the branch differs from git by intent
        request = msgspec.structs.replace(request, intent=True)
    found = await here.prospect(request, only=[str(ref) for ref in refs])
    return found.plan
