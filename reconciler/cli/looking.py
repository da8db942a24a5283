"""`trueup status`, `get`, `explain`, `observe`: looking, changing nothing.

Owns: gathering what the pages of core.render tell. Must not go here: wording of those pages, wiring (session).
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import anyio
import msgspec

from reconciler.cli import observation, session
from reconciler.cli.exits import Exit
from reconciler.cli.explaining import explanation
from reconciler.cli.listing import node_rows, rows_of, unmanaged_rows
from reconciler.cli.selection import existing, full_ref, kind_named
from reconciler.cli.session import Looking
from reconciler.cli.terminal import say, show, show_json, written
from reconciler.core.compact import compacted
from reconciler.core.ledger import Paused
from reconciler.core.refs import kind_of, node_of
from reconciler.core.render.changes import View
from reconciler.core.render.explain import explain_text
from reconciler.core.render.listing import listing_text, nodes_text
from reconciler.core.render.status import Situation, Waiting, status_text
from reconciler.core.rules import Request
from reconciler.edge.calls import NobodyAnswers, call
from reconciler.edge.lock import holder
from reconciler.errors import TryLater, UsageError
from reconciler.runtime.status import Status


def status(args: Namespace) -> int:
    """One page on how things stand."""
    return anyio.run(_status, args)


async def _status(args: Namespace) -> int:
    async with session.looking(args) as here:
        found = await here.prospect(Request(now=0), last_good=True)
        ledger = here.ledger
        quarantined = tuple(
            Waiting(binding.ref, binding.quarantined_until, binding.target)
            for _, binding in sorted(ledger.bindings.items())
            if binding.quarantined_until is not None
        )
        told = {entry.subject: entry for entry in found.plan.entries if isinstance(entry, Paused)} | ledger.pauses
        paused = tuple(
            Waiting(pause.subject, pause.until, reason=pause.reason)
            for _, pause in sorted(told.items())
            if pause.until > here.now()
        )
        situation = Situation(
            found.plan,
            applied=ledger.applied.revision if ledger.applied else None,
            head=found.head,
            loop=await _acting(here),
            problem=found.problem,
            quarantined=quarantined,
            paused=paused,
            in_flight=tuple(
                sorted([*(step for _, step in ledger.in_flight), *(e.step for e in ledger.halfway.values())])
            ),
            sequence=ledger.sequence,
        )
        if args.format == "json":
            show_json(situation)
        else:
            show(status_text(situation, View(now=here.now())), args)
    return Exit.INCOMPLETE if not found.plan.complete else Exit.DONE


async def _acting(here: Looking) -> str:
    """Who acts on the datacenter from here, and how it says it is doing."""
    who = holder(here.state)
    if who is None:
        return "nothing acts here now"
    try:
        async with call(here.state, {"do": "status"}) as answers:
            async for message in answers:
                return f"acting now: {who}, {_doing(msgspec.convert(message['status'], type=Status))}"
    except NobodyAnswers:
        return f"acting now: {who}"
    except TryLater as error:
        return f"acting now: {who}; {error.message}"
    return f"acting now: {who}"


def _doing(status: Status) -> str:
    """The loop's own conditions in words."""
    if status.stalled:
        return f"stalled: {'; '.join(status.stalled)}"
    if status.reconciling:
        return "at work"
    return "all as wanted" if status.ready else "waiting for what it could not read"


def get(args: Namespace) -> int:
    """A table of one kind, or one thing."""
    return anyio.run(_get, args)


async def _get(args: Namespace) -> int:
    async with session.looking(args) as here:
        found = await here.prospect(Request(now=0), last_good=True)
        named = full_ref(args.kind) if "/" in args.kind else None
        kind = kind_of(named) if named is not None else kind_named(args.kind)
        if args.unmanaged:
            rows = unmanaged_rows(found, kind)
        elif kind == "Node":
            nodes = [row for row in node_rows(found) if named in (None, f"Node/{node_of(row.report.target)}")]
            if not nodes and named is not None:
                existing(found.desired, named)
            show_json(nodes) if args.format == "json" else show(nodes_text(nodes), args)
            return Exit.DONE
        else:
            rows = [row for row in rows_of(here, found, kind) if named in (None, row.ref)]
            if not rows and named is not None:
                existing(found.desired, named)
        show_json(rows) if args.format == "json" else show(listing_text(kind, rows, unmanaged=args.unmanaged), args)
    return Exit.DONE


def explain(args: Namespace) -> int:
    """Why a thing is as it is."""
    return anyio.run(_explain, args)


async def _explain(args: Namespace) -> int:
    async with session.looking(args) as here:
        found = await here.prospect(Request(now=0))
        told = explanation(here, found, args.ref)
        if args.format == "json":
            show_json(told)
        else:
            show(explain_text(told), args)
    return Exit.DONE


def observe(args: Namespace) -> int:
    """Write what the nodes hold into a file."""
    return anyio.run(_observe, args)


async def _observe(args: Namespace) -> int:
    async with session.looking(args) as here:
        named: dict[str, str] = {}
        keyed = here.source.keyed

        def noted(name: str) -> str | None:
            found = keyed(name) if keyed is not None else None
            if found is not None:
                named[name] = found
            return found

        here.source.keyed = noted
        desired = await here.desired()
        await here.nodes.keep(desired.nodes)
        reports = await here.observe(desired)
        found = observation.Observation(
            desired.datacenter_id,
            at=here.now(),
            reports=tuple(reports[target] for target in sorted(reports)),
            records=compacted(here.ledger),
            secrets=named,
        )
        out = Path(args.out)
        if not out.parent.is_dir():
            raise UsageError(f"{out.parent} is no folder")
        written(out, observation.encoded(found))
    missing = [report.target for report in found.reports if not report.complete]
    say(f"{len(found.reports) - len(missing)} of {len(found.reports)} targets were read whole; written to {out}")
    return Exit.INCOMPLETE if missing else Exit.DONE
