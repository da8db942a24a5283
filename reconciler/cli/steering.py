"""`trueup pause`, `resume`, `accept`, `forget`: a person's word, noted in the journal.

Owns: from arguments to journal entries, and handing them to a running loop where there is one.
Must not go here: what the entries mean (core), commits made for people (reverting).
"""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from collections.abc import Sequence

import anyio
import msgspec

from reconciler.cli import session
from reconciler.cli.exits import Exit
from reconciler.cli.progress import Progress
from reconciler.cli.selection import full_ref
from reconciler.cli.session import Looking, Writing
from reconciler.cli.terminal import confirmed, say, show
from reconciler.core.ledger import Accepted, Entry, Paused, Resumed
from reconciler.core.refs import kind_of, name_of, short
from reconciler.core.render.changes import View
from reconciler.core.render.plan import plan_text
from reconciler.core.render.quantities import duration, moment
from reconciler.core.rules import Request
from reconciler.core.single import forgetting, releasing
from reconciler.edge.calls import NobodyAnswers, call
from reconciler.errors import UsageError

_LENGTH = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_of(text: str) -> float:
    """`30m`, `2h`, `7d` as seconds. Raises UsageError."""
    found = _LENGTH.fullmatch(text)
    if not found or not float(found[1]):
        raise UsageError(f"{text!r} is no length of time", hint="write it with its unit: 90s, 30m, 2h, 7d")
    return float(found[1]) * _SECONDS[found[2]]


async def note(here: Looking, entries: Sequence[Entry]) -> None:
    """Into the journal: through the loop if one runs, else under the lock. Raises LockHeld."""
    try:
        request = {"do": "note", "entries": [msgspec.to_builtins(entry) for entry in entries]}
        async with call(here.state, request) as answers:
            async for _ in answers:
                pass
    except NobodyAnswers:
        async with session.writing(here.args) as writing:
            await writing.ports.journal.append(entries)


def pause(args: Namespace) -> int:
    """Leave a thing or a node alone for a while."""
    return anyio.run(_pause, args)


async def _pause(args: Namespace) -> int:
    length = seconds_of(args.length)
    async with session.looking(args) as here:
        subject = await _subject(here, args.subject)
        until = here.now() + length
        await note(here, [Paused(subject, until, args.reason)])
    print(f"{subject} is left alone until {moment(until)} ({duration(length)}). Sooner: trueup resume {subject}")
    return Exit.DONE


async def _subject(here: Looking, name: str) -> str:
    """A ref, or Node/name, that git or the ledger knows."""
    desired = await here.desired()
    if name in desired.nodes:
        return f"Node/{name}"
    ref = full_ref(name)
    if kind_of(ref) == "Node" and name_of(ref) in desired.nodes:
        return ref
    if ref in desired.resources or here.ledger.bound(ref):
        return ref
    raise UsageError(f"neither git nor the ledger knows {ref}", hint="trueup get machines")


def resume(args: Namespace) -> int:
    """End a pause."""
    return anyio.run(_resume, args)


async def _resume(args: Namespace) -> int:
    async with session.looking(args) as here:
        pauses = here.ledger.pauses
        names = [args.subject, f"Node/{args.subject}"]
        if "/" in args.subject:
            names.append(full_ref(args.subject))
        subject = next((name for name in names if name in pauses), None)
        if subject is None:
            held = ", ".join(sorted(pauses)) or "nothing is paused"
            raise UsageError(f"{args.subject} is not paused", hint=held)
        await note(here, [Resumed(subject)])
    print(f"{subject} is looked after again.")
    return Exit.DONE


def accept(args: Namespace) -> int:
    """Vouch for a revision that has no lineage."""
    return anyio.run(_accept, args)


async def _accept(args: Namespace) -> int:
    async with session.looking(args) as here:
        commit = here.repository.commit(args.revision)
        await note(here, [Accepted(commit, args.reason)])
    print(f"Accepted {commit[:12]}: what it leaves out is taken for removed. Read the plan again before you apply it.")
    return Exit.DONE


def forget(args: Namespace) -> int:
    """Stop managing a thing; it stays as it is."""
    return anyio.run(_forget, args)


async def _forget(args: Namespace) -> int:
    async with session.writing(args) as here:
        if args.ref in (await here.desired()).nodes or args.ref.lower().startswith("node/"):
            return await _forget_node(here, args)
        return await _forget_thing(here, args)


async def _forget_node(here: Writing, args: Namespace) -> int:
    name = args.ref.partition("/")[2] or args.ref
    desired = await here.desired()
    if name in desired.nodes:
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
