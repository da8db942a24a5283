"""What the Tab key offers where a ref is due: what there is to name, without asking a node or judging documents.

Owns: finding names fast. Must not go here: the shells' scripts (completion), what commands do with a ref.

What the committed tree came to is remembered (edge/remembered); what is in git no more the journal knows. A tree that
nobody has read yet is skimmed: names as they seem to stand there, which is enough for an offer.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from reconciler.core.refs import kind_of, short
from reconciler.edge.chain import read
from reconciler.edge.git import Repository
from reconciler.edge.registry import Registry
from reconciler.edge.remembered import Remembered, TreeMemory
from reconciler.edge.state import State, state_folder
from reconciler.errors import TrueupError

MANY = 1_000
"""Offers beyond which the next part of the name is completed first."""
_FILES = 1_000
_JOURNAL = 4 * 2**20
"""Bytes; a larger journal takes longer to read than somebody waits for Tab."""

_KIND = re.compile(r"^kind: *([A-Za-z]+)", re.MULTILINE)
_NAME = re.compile(r"\bname: *[\"']?([a-z0-9][a-z0-9._-]*)")
_TENANT = re.compile(r"\btenant: *[\"']?([a-z0-9][a-z0-9-]*)")
_ITEM = re.compile(r"^  [\"']?([a-z0-9][a-z0-9._-]*)[\"']?:", re.MULTILINE)
_REPLICAS = re.compile(r"\breplicas: *(\d{1,3})\b")


def offers(folder: Path, begun: str, *, state: Path | None = None) -> list[str]:
    """Refs that begin with what was typed, as people write them: machines by `tenant/name`, all else by `Kind/…`."""
    found = set(_known(folder, state))
    whole = begun[:1].isupper()
    names = {name for ref in found for name in _written(ref, whole=whole) if name.startswith(begun)}
    if len(names) > MANY:
        end = len(begun)
        names = {name[: name.find("/", end) + 1] if name.find("/", end) >= 0 else name for name in names}
    return sorted(names)[: 10 * MANY]


def _written(ref: str, *, whole: bool) -> Iterator[str]:
    if kind_of(ref) == "Machine" and not whole:
        yield short(ref)
    else:
        yield ref


def _known(folder: Path, state: Path | None) -> Iterator[str]:
    datacenter, remembered = None, None
    with suppress(TrueupError, OSError), Repository.open(folder) as repository:
        tree = repository.revision(None, root=repository.root_of(folder)).tree
        memory = TreeMemory.of_user(Registry())
        datacenter, remembered = memory.recall_id(tree), memory.recall(tree)
    yield from _wanted(remembered) if remembered is not None else skimmed(folder)
    if datacenter is not None:
        with suppress(TrueupError, OSError):
            journal = State(state or state_folder(datacenter)).journal
            if journal.stat().st_size <= _JOURNAL:
                yield from read(journal).bindings.refs


def _wanted(remembered: Remembered) -> Iterator[str]:
    yield from remembered.desired.resources
    yield from (f"Node/{name}" for name in remembered.desired.nodes)


def skimmed(folder: Path) -> Iterator[str]:
    """Refs that the documents of a folder seem to declare."""
    left = _FILES
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.endswith((".yaml", ".yml")) and not name.startswith((".", "_")) and left:
                left -= 1
                with suppress(OSError):
                    text = (Path(place) / name).read_text(errors="replace")
                    yield from _declared(text, _tenant_of(folder, Path(place)))


def _declared(text: str, given: str | None) -> Iterator[str]:
    for document in re.split(r"^---", text, flags=re.MULTILINE):
        kind = _KIND.search(document)
        if kind is None:
            continue
        tenant = _TENANT.search(document)
        whose = tenant[1] if tenant else given
        _, plural, items = document.partition("\nitems:")
        single = _NAME.search(document)
        names = _ITEM.findall(items) if plural else [single[1]] if single else []
        replicas = None if plural else _REPLICAS.search(document)
        for name in names:
            ref = _ref(kind[1].removesuffix("s") if plural else kind[1], name, whose)
            yield from [ref] if replicas is None else [f"{ref}-{number + 1}" for number in range(int(replicas[1]))]


def _ref(kind: str, name: str, tenant: str | None) -> str:
    owned = tenant is not None and kind not in ("Datacenter", "Node", "Tenant")
    return f"{kind}/{tenant}/{name}" if owned else f"{kind}/{name}"


def _tenant_of(root: Path, place: Path) -> str | None:
    """What the nearest defaults say."""
    while True:
        with suppress(OSError):
            found = _TENANT.search((place / "_defaults.yaml").read_text(errors="replace"))
            if found:
                return found[1]
        if place in (root, place.parent):
            return None
        place = place.parent
