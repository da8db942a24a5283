"""`trueup pause`, `resume`, `accept`, `forget`: a person's word, noted in the journal.

Owns: from arguments to journal entries, and handing them to a running loop where there is one.
Must not go here: what the entries mean (core), commits made for people (reverting).
"""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from collections.abc import Awaitable, Callable, Sequence

import anyio
import msgspec

from reconciler.cli import session
from reconciler.cli.exits import Exit
from reconciler.cli.progress import Progress
from reconciler.cli.selection import full_ref
from reconciler.cli.session import Looking
from reconciler.cli.terminal import confirmed, say, show
from reconciler.cli.writing import Writing, writing
from reconciler.core.ledger import Accepted, Entry, Paused, Resumed, Vouched
from reconciler.core.refs import Ref, kind_of, name_of, short
from reconciler.core.render.changes import View
from reconciler.core.render.plan import plan_text
from reconciler.core.render.quantities import duration, moment
from reconciler.core.rules import Request
from reconciler.core.single import forgetting, marking, releasing
from reconciler.core.standing import targets_of
from reconciler.edge.calls import NobodyAnswers, call
from reconciler.edge.state import State
from reconciler.errors import FenceLost, TryLater, UsageError

_LENGTH = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_of(text: str) -> float:
    """`30m`, `2h`, `7d` as seconds. Raises UsageError."""
    found = _LENGTH.fullmatch(text)
    if not found or not float(found[1]):
        raise UsageError(f"{text!r} is no length of time", hint="write it with its unit: 90s, 30m, 2h, 7d")
    return float(found[1]) * _SECONDS[found[2]]


async def note(
    args: Namespace, state: State, entries: Sequence[Entry], then: Callable[[Writing], Awaitable[str]] | None = None
) -> str:
    """Into the journal: through the loop if one runs, which then does what follows from it; else under the lock, and
    `then` does that. What there is to tell of it, or nothing. Raises LockHeld."""
    try:
        request = {"do": "note", "entries": [msgspec.to_builtins(entry) for entry in entries]}
        async with call(state, request) as answers:
            async for _ in answers:
                pass
        return ""
    except NobodyAnswers:
        async with writing(args) as here:
            await here.ports.journal.append(entries)
            return await then(here) if then is not None else ""


def _marked(subject: str) -> Callable[[Writing], Awaitable[str]]:
    """Write on the objects of a subject what was said of it, as far as they can be reached now."""

    async def mark(here: Writing) -> str:
        ref = Ref(subject)
        if kind_of(ref) == "Node":
            return ""
        try:
            world = (await here.prospect(Request(now=0), only=[subject])).world
            plan = marking(world, ref, here.now())
            if plan.changes:
                await here.ports.plans.save(plan)
                execution = await here.execution(plan, lambda _: None, moves=False)
                failures = (await execution.run()).failures
                return f"not written on it yet: {failures[0].reason}" if failures else ""
            silent = [target for target in here.ledger.bindings.targets(ref) if world.unreadable(target) is not None]
            return f"{min(silent)} cannot be read now: it is written on it once it can" if silent else ""
        except (TryLater, FenceLost) as error:
            return f"not written on it yet: {error}"

    return mark


def pause(args: Namespace) -> int:
    """Leave a thing or a node alone for a while."""
    return anyio.run(_pause, args)


async def _pause(args: Namespace) -> int:
    length = seconds_of(args.length)
    async with session.looking(args) as here:
        subject = await _subject(here, args.subject)
        until = here.now() + length
        told = await note(args, here.state, [Paused(subject, until, args.reason)], _marked(subject))
    print(f"{subject} is left alone until {moment(until)} ({duration(length)}). Sooner: trueup resume {subject}")
    if told:
        say(f"  {told}")
    return Exit.DONE


async def _subject(here: Looking, name: str) -> str:
    """A ref, or Node/name, that git or the ledger knows."""
    desired = await here.desired()
    if name in desired.nodes:
        return f"Node/{name}"
    ref = full_ref(name)
    if kind_of(ref) == "Node" and name_of(ref) in desired.nodes:
        return ref
    if ref in desired.resources or here.ledger.bindings.of(ref):
        return ref
    raise UsageError(f"neither git nor the ledger knows {ref}", hint="trueup get machines")


def resume(args: Namespace) -> int:
    """End a pause, or what undo, restore or break-glass keep alone."""
    return anyio.run(_resume, args)


async def _resume(args: Namespace) -> int:
    async with session.looking(args) as here:
        known = {*here.ledger.pauses, *here.ledger.held}
        names = [args.subject, f"Node/{args.subject}"]
        if "/" in args.subject:
            names.append(full_ref(args.subject))
        subject = next((name for name in names if name in known), "")
        entries: list[Entry] = [Resumed(subject)]
        if not subject:
            found = await _only_borne(here, names)
            if found is None:
                hint = ", ".join(sorted(known)) or "nothing is paused"
                raise UsageError(f"{args.subject} is not paused", hint=hint)
            subject, entries = found.subject, [found, Resumed(found.subject)]
        told = await note(args, here.state, entries, _marked(subject))
    print(f"{subject} is looked after again.")
    if told:
        say(f"  {told}")
    return Exit.DONE


async def _only_borne(here: Looking, names: Sequence[str]) -> Paused | None:
    """A pause that only the object itself tells of: another controller's word, or ours of before a loss."""
    found = await here.prospect(Request(now=0))
    told = (entry for entry in found.plan.entries if isinstance(entry, Paused))
    return next((entry for entry in told if entry.subject in names), None)


def accept(args: Namespace) -> int:
    """Vouch for a revision that has no lineage, or for the clock."""
    if args.clock == (args.revision is not None):
        raise UsageError(
            "say what you vouch for: a revision, or --clock", hint="trueup plan shows what is held, and why"
        )
    return anyio.run(_accept_clock if args.clock else _accept, args)


async def _accept_clock(args: Namespace) -> int:
    async with session.looking(args) as here:
        await note(args, here.state, [Vouched(args.reason)])
        told = moment(here.now())
    print(f"The clock is believed up to now, {told}. Read the plan again before you apply it.")
    return Exit.DONE


async def _accept(args: Namespace) -> int:
    async with session.looking(args) as here:
        commit = here.repository.commit(args.revision)
        await note(args, here.state, [Accepted(commit, args.reason)])
    print(f"Accepted {commit[:12]}: what it leaves out is taken for removed. Read the plan again before you apply it.")
    return Exit.DONE


def forget(args: Namespace) -> int:
    """Stop managing a thing; it stays as it is."""
    return anyio.run(_forget, args)


async def _forget(args: Namespace) -> int:
    async with writing(args) as here:
        if args.ref in (await here.desired()).nodes or args.ref.lower().startswith("node/"):
            return await _forget_node(here, args)
        return await _forget_thing(here, args)


async def _forget_node(here: Writing, args: Namespace) -> int:
    name = args.ref.partition("/")[2] or args.ref
    desired = await here.desired()
    if name in desired.nodes and not await _replaced(here, name):
        raise UsageError(
            f"the document of node {name} is still there: it would be claimed again",
            hint="remove it and commit, then forget the node",
        )
    entries = releasing(desired, here.ledger, name)
    if not entries:
        raise UsageError(f"nothing is remembered of a node {name}")
    bound = [entry for entry in entries if hasattr(entry, "ref")]
    question = f"Give up node {name} and the {len(bound)} things that are bound there? They stay as they are."
    if not confirmed(question, yes=args.yes):
        return Exit.ERROR
    await here.ports.journal.append(entries)
    print(f"Node {name} is forgotten.")
    return Exit.DONE


async def _replaced(here: Writing, name: str) -> bool:
    """What answers in the place of all of this node is not what was claimed, and says so itself."""
    world = (await here.prospect(Request(now=0))).world
    return all(world.standings[target].another for target in targets_of(world.nodes[name]))


async def _forget_thing(here: Writing, args: Namespace) -> int:
    ref = full_ref(args.ref)
    found = await here.prospect(Request(now=0))
    if ref in found.desired.resources:
        raise UsageError(
            f"the document of {short(ref)} is still there: a new one would be made",
            hint="remove it and commit, do not apply, then forget it",
        )
    plan = forgetting(found.world, ref, here.now())
    if not plan.changes and not plan.entries:
        if any(binding.quarantined_until is not None for binding in here.ledger.bindings.of(ref)):
            raise UsageError(
                f"{short(ref)} is in quarantine, and is purged when its time is over",
                hint=f"to keep it: trueup restore {short(ref)}, apply, then remove it and forget it",
            )
        raise UsageError(f"nothing is known of {ref}", hint="trueup get machines")
    show(plan_text(plan, View(now=here.now())), args)
    if not confirmed(f"Forget {short(ref)}?", yes=args.yes):
        say("Nothing was done.")
        return Exit.ERROR
    progress = Progress(plan, sys.stdout, live=False)
    await here.ports.plans.save(plan)
    execution = await here.execution(plan, progress.emit, moves=False)
    summary = await execution.run()
    return Exit(summary.exit_code)
