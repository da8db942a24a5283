"""`trueup pin`: what trueup chose, written into the documents.

Owns: which fields are written where. Must not go here: choosing (core), committing (that is the person's).

An allocated address lies within its network's `range`, where authored ones may not: it is put on the network's
`reserved` list as well, so that nobody else is given it.
"""

from __future__ import annotations

import io
import itertools
from argparse import Namespace
from pathlib import Path
from typing import Any, NamedTuple

import anyio

from reconciler.cli import session
from reconciler.cli.exits import Exit
from reconciler.cli.selection import existing
from reconciler.cli.session import Looking
from reconciler.cli.terminal import written
from reconciler.core.ledger import Address, Binding
from reconciler.core.refs import Ref, kind_of, name_of, short
from reconciler.edge.load import FolderTree, Loader
from reconciler.edge.load.document import Declared
from reconciler.edge.load.layout import round_trip
from reconciler.edge.load.stream import SEPARATOR, has_content
from reconciler.errors import SpecErrors, UsageError


class Edit(NamedTuple):
    """One value to be set in one document."""

    file: str
    document: int
    path: tuple[str | int, ...]
    value: Any


def pin(args: Namespace) -> int:
    """Write allocated nodes and addresses into the documents."""
    return anyio.run(_pin, args)


async def _pin(args: Namespace) -> int:
    async with session.looking(args) as here:
        if here.repository.top is None:
            raise UsageError("there is no working tree to write into", hint="pin in a clone")
        here.source.dirty = True
        desired = await here.desired()
        edits: list[Edit] = []
        for name in args.refs:
            ref = existing(desired, name)
            if kind_of(ref) != "Machine":
                raise UsageError(f"{ref} is no machine", hint="only machines are given nodes and addresses")
            edits += _edits(here, ref, node=not args.addresses, addresses=not args.node)
        root = here.repository.top / here.source.root
        for edit in edits:
            print(f"  {edit.file}: {'.'.join(str(part) for part in edit.path)} = {_shown(edit.value)}")
        if not edits:
            print("All of it is written already.")
        elif not args.print_only:
            _write(here, root, edits)
            print("Written. The commit is yours: git diff, git commit")
    return Exit.DONE


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_shown(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {item}" for key, item in value.items()) + "}"
    return str(value)


def _edits(here: Looking, ref: Ref, *, node: bool, addresses: bool) -> list[Edit]:
    bound = [binding for binding in here.ledger.bindings.of(ref) if binding.quarantined_until is None]
    declared = here.source.loader.declared(ref)
    if not bound or declared is None:
        raise UsageError(f"{short(ref)} was not made yet: nothing was chosen for it", hint="apply, then pin")
    resource = here.source.loader.desired.resources[ref]
    base = _base(declared, ref)
    edits = []
    if node and resource.constraints.node != bound[0].target:
        edits.append(Edit(declared.file, declared.index, (*base, "node"), str(bound[0].target)))
    # the binding is told of what is authored by the next change only: a pin that is committed counts at once
    authored = {nic.ip for nic in resource.nics}
    allocated = [each for each in bound[0].addresses if not each.authored and each.ip not in authored]
    if addresses and allocated:
        edits.append(Edit(declared.file, declared.index, (*base, "nics"), _nics(bound[0])))
        edits += [_reserved(here, address) for address in allocated]
    return edits


def _base(declared: Declared, ref: Ref) -> tuple[str | int, ...]:
    """Where the machine's own fields stand: of a replica, in `each`."""
    if declared.ref == ref:
        return tuple(declared.prefix)
    return (*declared.prefix, "each", int(name_of(ref).rpartition("-")[2]))


def _nics(binding: Binding) -> list[dict[str, str]]:
    return [{"network": name_of(address.network), "ip": address.ip} for address in binding.addresses]


def _reserved(here: Looking, address: Address) -> Edit:
    declared = here.source.loader.entry(address.network)
    if declared is None:
        raise UsageError(f"git has no {address.network}")
    return Edit(declared.file, declared.index, (*declared.prefix, "reserved", "+"), address.ip)


def _write(here: Looking, root: Path, edits: list[Edit]) -> None:
    """All files, or none: the tree has to be valid with them."""
    before = {file: (root / file).read_bytes() for file in dict.fromkeys(edit.file for edit in edits)}
    try:
        for file, data in before.items():
            own = [edit for edit in edits if edit.file == file]
            written(root / file, edited(data.decode(), own).encode())
        Loader(here.registry).load(FolderTree(root))
    except SpecErrors as error:
        for file, data in before.items():
            written(root / file, data)
        first = error.diagnostics[0]
        raise UsageError(f"written so the specs would hold a mistake: {first}", hint="nothing was changed") from error


def edited(text: str, edits: list[Edit]) -> str:
    """The file's text with values set; comments stay."""
    starts = [match.start() for match in SEPARATOR.finditer(text)]
    bounds = [0, *(start for start in starts if start), len(text)]
    parts = [text[start:end] for start, end in itertools.pairwise(bounds)]
    numbers = [number for number, part in enumerate(parts) if has_content(part)]
    for index in sorted({edit.document for edit in edits}):
        number = numbers[index]
        parts[number] = _document(parts[number], [edit for edit in edits if edit.document == index])
    return "".join(parts)


def _document(part: str, edits: list[Edit]) -> str:
    yaml = round_trip()
    yaml.explicit_start = part.startswith("---")
    tree = yaml.load(part)
    for edit in edits:
        _set(tree, edit)
    out = io.StringIO()
    yaml.dump(tree, out)
    return out.getvalue()


def _set(tree: Any, edit: Edit) -> None:
    *way, last = edit.path
    here = tree
    for key, after in itertools.pairwise([*way, last]):
        if here.get(key) is None:
            here[key] = [] if after == "+" else {}
        here = here[key]
    if last == "+":
        if edit.value not in here:
            here.append(edit.value)
    else:
        here[last] = edit.value
