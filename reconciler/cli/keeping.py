"""`trueup journal`: verify, show and rebuild the controller's memory.

Owns: the conversation. Must not go here: the format (edge.chain), what a rebuild restores (core.rebuild).
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Sequence

import anyio
import msgspec

from reconciler.cli.exits import Exit
from reconciler.cli.opened import placed
from reconciler.cli.session import Looking
from reconciler.cli.terminal import confirmed, say, show_json
from reconciler.cli.writing import writing
from reconciler.core.ledger import Applied, Bound, Claimed, Covered, Entry, Record
from reconciler.core.observed import Report
from reconciler.core.rebuild import rebuilt
from reconciler.core.recall import believed
from reconciler.core.render.names import counted
from reconciler.core.render.quantities import clean, moment
from reconciler.edge.chain import Chain
from reconciler.edge.git.command import run as git


def journal(args: Namespace) -> int:
    """Verify, show or rebuild."""
    return anyio.run({"verify": _verify, "show": _show, "rebuild": _rebuild}[args.what], args)


async def _records(args: Namespace) -> list[Record]:
    """Every record, verified. The folder alone is needed: no node is asked."""
    async with placed(args) as opened:
        chain = Chain.open(opened.state.journal, read_only=True)
        try:
            return list(chain.records())
        finally:
            chain.close()


async def _verify(args: Namespace) -> int:
    records = await _records(args)
    when = f", the last of {moment(records[-1].at)}" if records else ""
    print(f"The journal holds {len(records)} entries{when}; its chain is whole.")
    return Exit.DONE


async def _show(args: Namespace) -> int:
    records = (await _records(args))[-args.last :] if args.last > 0 else []
    if args.format == "json":
        show_json(records)
        return Exit.DONE
    for record in records:
        print(clean(f"{record.sequence:>6}  {moment(record.at)}  {_told(record.entry)}"))
    return Exit.DONE


def _told(entry: Entry) -> str:
    """One entry on one line: its kind, then what it is about."""
    fields = msgspec.to_builtins(entry)
    kind = fields.pop("type")
    shown = {key: value for key, value in fields.items() if isinstance(value, str | int | float) and value != ""}
    return f"{kind:<12}" + "  ".join(f"{key}={value}" for key, value in shown.items())


async def _rebuild(args: Namespace) -> int:
    """A new journal from git and the nodes; the old one is kept aside."""
    question = "Put the journal aside and make a new one from git and the nodes?"
    if not confirmed(question, yes=args.yes):
        return Exit.ERROR
    async with writing(args, fresh=True) as here:
        desired = await here.desired()
        await here.nodes.keep(desired.nodes)
        reports = await here.observe(desired)
        here.lock.raise_above(_highest_fence(reports.values()))
        now = here.ports.clock.instant()
        told = (_dated(here, entry) for entry in rebuilt(desired, reports.values(), now.at))
        entries = [believed(entry, desired.policy, now) for entry in told]
        known = here.ledger.covered
        await here.ports.journal.append([e for e in entries if not (isinstance(e, Covered) and e.target in known)])
        partial = [report for report in reports.values() if not report.complete]
        missing = [f"{report.target}: {report.problem or 'read in part'}" for report in partial]
    _tell(entries, missing)
    return Exit.INCOMPLETE if missing else Exit.DONE


def _highest_fence(reports: Iterable[Report]) -> int:
    """The highest fence that a node remembers: ours has to be higher, or it refuses us."""
    fences = [0]
    for report in reports:
        fences += [report.claim.fence] if report.claim else []
        fences += [found.marks.fence for found in report.objects if found.marks]
    return max(fences)


def _dated(here: Looking, entry: Entry) -> Entry:
    """The end of the lineage as a commit, where history shows one with the tree that the marks name."""
    if not isinstance(entry, Applied) or not entry.revision.startswith("tree:") or here.source.root:
        return entry
    listed = git(here.repository.folder, ("log", "--format=%H %T", "--max-count=10000")).decode()
    lines = [line.split() for line in listed.splitlines()]
    commit = next((found for found, tree in lines if tree == entry.tree), None)
    return msgspec.structs.replace(entry, revision=commit) if commit else entry


def _tell(entries: Sequence[Entry], missing: Sequence[str]) -> None:
    bound = sum(isinstance(entry, Bound) for entry in entries)
    nodes = sum(isinstance(entry, Claimed) for entry in entries)
    print(f"Rebuilt: {counted(bound, 'object')} on {counted(nodes, 'node')}. Budgets count as spent for one window.")
    for problem in missing:
        say(f"  ! {problem}: what lives there is not known; nothing is created until it answers")
