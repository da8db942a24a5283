"""Machines that differ in free text are declared and lowered once: the others' bodies are the first's with their words.

Nothing hangs on what a tag says, or on what the guest is told beside its name, but the place of it in the machine's
body. So a text that was not met before is taken apart (skeleton.py), and if all but its name and such words is known
beneath the same defaults, its body is written by a stencil. That is made by reading the text with words of ours in
those places, and serves only if these come out as they went in: the name as the end of the ref and nowhere else, each
other word once, as a whole value of the body.

What a text declares is the same beneath all defaults that differ in the tenant alone, so it is told once for all of
them; what it comes to, its networks and keys, is told for each tenant.

Owns: which values are free, and that proof. Must not go here: reading, declaring or lowering. What is not proved is
read as any document is; so a mistake is never told here, and never missed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from reconciler.core.refs import make_ref
from reconciler.edge.load import document, skeleton, stream
from reconciler.edge.load.alike import Alike, Place
from reconciler.edge.load.defaults import KindDefaults
from reconciler.edge.load.document import Declared
from reconciler.edge.load.findings import Path, Refused
from reconciler.edge.load.judging import shared_uses
from reconciler.edge.load.lower import Lowered, spelled
from reconciler.edge.load.packing import Packer
from reconciler.edge.load.skeleton import OURS, SPELLED, WORD, Skeletons, Understood
from specs.values import SpecError, label

_NAME: Path = ("metadata", "name")
_FREE: tuple[Path, ...] = (("metadata", "tags"), ("spec", "metadata"))
"""Maps of any names to any text."""
_HOLE = re.compile(f'"{WORD.format("([0-9]+)")}"')
_OURS = "place"
"""Part of each word of ours."""
_LARGE = 16_384
"""Bytes of a text beyond which it is hardly one of many."""
_MOST = 500
"""So many stencils and declarations are kept: what is alike lies together."""
_PATIENCE = 3
"""So many more stencils of a skeleton may prove of no use than have proved good; then its documents are just read."""

Lower = Callable[[Declared], Lowered | None]
"""None if the machine is not to be lowered here, or has a mistake."""


class _Holes(msgspec.Struct, frozen=True):
    """What the holes of a skeleton hold, by their numbers."""

    many: int
    name: int
    free: tuple[int, ...]
    tenant: bool
    """Whether the text says itself whose the machine is."""


class _Stencil(msgspec.Struct, frozen=True):
    shared: int
    """The packer's number of what is the same of all of them but the body."""
    first: str
    """Its ref without the name."""
    begin: bytes
    """That, as what a resource's digest is of begins."""
    body: list[str]
    """In pieces, with a free word between each two."""
    order: list[int]
    """Which hole's word that is."""
    tail: bytes
    """What follows the body in what a resource's digest is of."""
    uses: int


class _Text(msgspec.Struct):
    """A text taken apart. `rest`: its values but for the free ones, as written."""

    file: str
    scope: bytes
    skeleton: str
    parts: list[str]
    holes: _Holes
    free: tuple[int, ...] = ()
    rest: tuple[str, ...] = ()

    def marked(self) -> str:
        parts = self.parts.copy()
        for hole in (*self.free, self.holes.name):
            parts[2 * hole + 1] = WORD.format(hole)
        return skeleton.whole(parts)


class Kindred:
    """`defaults`: those of a machine in this file."""

    def __init__(
        self, packer: Packer, skeletons: Skeletons, defaults: Callable[[str], KindDefaults], lower: Lower
    ) -> None:
        self._packer, self._skeletons, self._defaults, self._lower = packer, skeletons, defaults, lower
        self._holes: dict[str, _Holes] = {}
        """By skeleton, as the next."""
        self._luck: dict[str, int] = {}
        self._scopes: dict[tuple[bytes, bool], tuple[str, Any]] = {}
        self._stencils: dict[tuple[bytes, str, tuple[str, ...]], _Stencil | None] = {}
        self._declared: dict[tuple[str, str, tuple[str, ...]], Declared | None] = {}

    def find(self, scope: bytes, place: Place, file: str) -> Alike | None:
        """What machines of this text come to, whatever their name. None if that is not proved. `scope` stands for the
        defaults."""
        data = place.whole()
        if len(data) > _LARGE or not data.isascii():
            return None
        parts = skeleton.taken(data.decode())
        shape = "\0".join(parts[::2])
        holes = self._known(shape, parts)
        if holes is None or not _stands(place, parts, holes.name):
            return None
        text = _Text(file, scope, shape, parts, holes)
        try:
            words = _words(text)
        except Refused:
            return None
        stencil = self._stencil(text)
        if stencil is None:
            return None
        body = stencil.body.copy()
        body[1::2] = [words[hole] for hole in stencil.order]
        whole = "".join(body).encode()
        kind = self._packer.kind(stencil.shared, stencil.uses, self._packer.body(whole))
        return Alike(stencil.first, stencil.begin, b'",' + whole + stencil.tail, kind)

    def _known(self, shape: str, parts: list[str]) -> _Holes | None:
        """Which of the skeleton's holes are what: asked in earnest from its second document on."""
        holes = self._holes.get(shape)
        if holes is None:
            found = self._skeletons.understood(shape, parts[::2])
            if found is None or _NAME not in found.paths:
                return None
            holes = self._holes[shape] = _holes(found)
        return holes if holes.many == len(parts) // 2 else None

    def _stencil(self, text: _Text) -> _Stencil | None:
        key = (text.scope, text.skeleton, text.rest)
        if key not in self._stencils:
            luck = self._luck.get(text.skeleton, _PATIENCE)
            if luck <= 0:
                return None
            if len(self._stencils) >= _MOST:
                self._stencils.clear()
            stencil = self._stencils[key] = self._made(text)
            self._luck[text.skeleton] = luck + (1 if stencil is not None else -1)
        return self._stencils[key]

    def _made(self, text: _Text) -> _Stencil | None:
        declared = self._declares(text)
        lowered = self._lower(declared) if declared is not None else None
        if declared is None or lowered is None or lowered.claims or len(lowered.resources) != 1:
            return None
        made = lowered.resources[0]
        if made.ref != declared.ref or declared.name != WORD.format(text.holes.name) or made.parties:
            return None
        first, whole, at = made.ref.removesuffix(declared.name), spelled(made), len(made.ref) + 4
        tail = whole[at + len(made.body) :]
        pieces = _HOLE.split(made.body.decode())
        order, between = [int(hole) for hole in pieces[1::2]], pieces[::2]
        if not whole.startswith(made.body, at) or sorted(order) != sorted(text.free):
            return None
        if any([after.startswith(":") for after in between[1:]]):
            return None  # it became a key
        uses = shared_uses(tuple(sorted(lowered.uses)))
        others = "\n".join((first, *between, tail.decode(), *uses))
        if _OURS in others and OURS.search(others):
            return None
        shared = self._packer.shared(made)
        return _Stencil(shared, first, b'["' + first.encode(), pieces, order, tail, self._packer.used(uses))

    def _declares(self, text: _Text) -> Declared | None:
        """What the text with words of ours declares, if it is one machine, of which nothing follows from its path."""
        beneath, lent = self._beneath(text)
        key = (beneath, text.skeleton, text.rest)
        if key not in self._declared:
            if len(self._declared) >= _MOST:
                self._declared.clear()
            self._declared[key] = self._read(text)
        declared = self._declared[key]
        return declared if declared is None or lent is None else _of_tenant(declared, lent)

    def _beneath(self, text: _Text) -> tuple[str, Any]:
        """What stands for the defaults but for the tenant that they lend, and that tenant."""
        key = (text.scope, text.holes.tenant)
        found = self._scopes.get(key)
        if found is None:
            given = self._defaults(text.file)
            lent = None if text.holes.tenant else given.metadata.get("tenant")
            if lent is not None:
                metadata = {name: value for name, value in given.metadata.items() if name != "tenant"}
                given = msgspec.structs.replace(given, metadata=metadata)
            found = self._scopes[key] = (repr(given), lent)
        return found

    def _read(self, text: _Text) -> Declared | None:
        given = self._defaults(text.file)
        chunks, findings = stream.cut(text.file, text.marked().encode())
        if findings or len(chunks) != 1:
            return None
        try:
            value = self._skeletons.read(chunks[0].text)
        except Refused:
            return None
        reading = document.declare(text.file, 0, value, lambda kind: given)
        if reading.findings or len(reading.declared) != 1:
            return None
        declared = reading.declared[0]
        return declared if _alone(declared) else None


def _alone(declared: Declared) -> bool:
    """Whether it is a machine by itself, told by its document alone."""
    if declared.kind != "Machine" or declared.prefix != ("spec",) or declared.renamed_from is not None:
        return False
    data = declared.spec.user_data
    return declared.spec.replicas is None and (data is None or data.file is None)


def _of_tenant(declared: Declared, tenant: Any) -> Declared | None:
    """The same machine of another tenant, which the defaults give."""
    if declared.tenant == tenant:
        return declared
    try:
        label(tenant)
    except (SpecError, TypeError):
        return None
    return msgspec.structs.replace(declared, tenant=tenant, ref=make_ref("Machine", declared.name, tenant))


def _stands(place: Place, parts: list[str], hole: int) -> bool:
    """Whether the name that was taken out stands in this hole."""
    at = 2 * hole + 1
    return len(parts[at]) == len(place.name) and sum(map(len, parts[:at])) + hole + 1 == place.at


def _words(text: _Text) -> dict[int, str]:
    """The JSON of the free words, by their holes. What is no text is not free. Raises Refused."""
    words = {hole: SPELLED[text.parts[2 * hole + 1]] for hole in text.holes.free}
    rest = text.parts[1::2]
    free = [hole for hole, word in words.items() if word[0] == '"']
    for hole in (*free, text.holes.name):
        rest[hole] = ""
    text.free, text.rest = tuple(free), tuple(rest)
    return words


def _holes(found: Understood) -> _Holes:
    free = tuple([hole for hole, path in enumerate(found.paths) if len(path) == 3 and path[:2] in _FREE])
    return _Holes(len(found.paths), found.paths.index(_NAME), free, "tenant" in found.value["metadata"])
