"""`trueup adopt`: from what was made by hand to documents, and from documents to a plan that writes marks.

Owns: which of the two is done, where documents are written, what is printed.
Must not go here: what a document says (core.adoptable), what a plan holds (core.adopt), committing (the person's).
"""

from __future__ import annotations

import io
import sys
from argparse import Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import anyio
import msgspec

from reconciler.cli import session
from reconciler.cli.exits import Exit
from reconciler.cli.planning import verdict
from reconciler.cli.session import Looking, Prospect
from reconciler.cli.terminal import say, show, written
from reconciler.core.adopt import adoption
from reconciler.core.adoptable import Document, Draft, draft
from reconciler.core.observed import Report
from reconciler.core.plan import Plan, to_json
from reconciler.core.refs import Target, kind_of, make_ref, node_of
from reconciler.core.render.plan import plan_text
from reconciler.core.rules import Request
from reconciler.edge.load.layout import round_trip
from reconciler.errors import UsageError


def adopt(args: Namespace) -> int:
    """Write documents for what is on a node, or plan the taking over of what has documents."""
    return anyio.run(_adopt, args)


async def _adopt(args: Namespace) -> int:
    async with session.looking(args) as here:
        found = await here.prospect(Request(now=0))
        if args.node not in found.desired.nodes:
            raise UsageError(f"there is no Node {args.node} in the specs", hint="write one first: it says where it is")
        reports = {target: found.whole(target) for target in found.reports}
        problems = {target: report.problem for target, report in reports.items() if node_of(target) == args.node}
        for target, problem in sorted(problems.items()):
            if problem is not None:
                raise UsageError(f"{target} could not be read whole, so nothing of it is adopted: {problem}")
        made = adoption(found.plan, found.world, reports, args.node)
        if made.holds or any(kind_of(change.ref) != "Node" for change in made.changes):
            return await _planned(here, made, args)
        return _documents(here, found, reports, args)


async def _planned(here: Looking, made: Plan, args: Namespace) -> int:
    await here.keep(made)
    if args.format == "json":
        sys.stdout.buffer.write(to_json(made) + b"\n")
        return verdict(made, detailed=False)
    show(plan_text(made, here.view(made, expand=True)), args)
    return verdict(made, detailed=False)


def _documents(here: Looking, found: Prospect, reports: Mapping[Target, Report], args: Namespace) -> int:
    node = found.desired.nodes[args.node]
    if args.tenant is None:
        raise UsageError("say whose the machines will be", hint=f"trueup adopt {args.node} --tenant NAME")
    drafted = draft(node, reports, args.tenant)
    known = found.desired.resources
    fresh = [each for each in drafted.documents if _ref(each) not in known]
    if fresh and make_ref("Tenant", args.tenant) not in known:
        head: Document = {"apiVersion": "trueup/v1", "kind": "Tenant", "metadata": {"name": args.tenant}}
        fresh.insert(0, {**head, "spec": {}})
    _skipped(drafted)
    text = spelled(fresh)
    path = _kept(here, args.node, text) if fresh and not args.print_only else None
    if args.format == "json":
        told = {"documents": fresh, "skipped": drafted.skipped, "file": path and str(path)}
        sys.stdout.buffer.write(msgspec.json.encode(told) + b"\n")
    elif path is not None:
        print(f"{len(fresh)} documents are in {path}.")
        print(f"Read them, commit them, then: trueup adopt {args.node}")
    elif fresh:
        print(text, end="")
    else:
        say(f"There is nothing on {args.node} that documents could be written for.")
    return Exit.DONE


def _kept(here: Looking, node: str, text: str) -> Path:
    """Where the documents now are. Raises UsageError, and then nothing is written."""
    if here.repository.top is None:
        raise UsageError("there is no working tree to write into", hint="adopt in a clone, or --print")
    path = Path(here.repository.top, here.source.root, "adopted", f"{node}.yaml")
    if path.exists():
        raise UsageError(f"{path} is there already", hint="commit it, or move it away")
    path.parent.mkdir(exist_ok=True)
    written(path, text.encode())
    return path


def _ref(document: Document) -> str:
    metadata = document["metadata"]
    return make_ref(document["kind"], metadata["name"], metadata.get("tenant"))


def _skipped(drafted: Draft) -> None:
    for each in drafted.skipped:
        say(f"Left out: {each.kind} {each.name} on {each.target}: {each.reason}")


def spelled(documents: Iterable[Document]) -> str:
    """As YAML, one document after the other, what is small on one line."""
    yaml = round_trip()
    yaml.default_flow_style = None
    parts = []
    for document in documents:
        sink = io.StringIO()
        yaml.dump(_laid_out(document), sink)
        parts.append(sink.getvalue())
    return "---\n".join(parts)


def _laid_out(document: Document) -> Any:
    return {key: dict(value) if isinstance(value, dict) else value for key, value in document.items()}
