"""From the plain value of a document to the things it declares, validated.

Owns: the envelope, the plural short form, defaults laid beneath, the records of `specs`.
Must not go here: anything that needs another document (lower.py, checks.py), messages of the models (mistakes.py).

A fast tier reads the records: it may only accept. What it refuses is read by the models, which know what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from reconciler.core.refs import Ref, make_ref
from reconciler.edge.load import wording
from reconciler.edge.load.defaults import EVERY, NOTHING, KindDefaults, Values, merged, stripped
from reconciler.edge.load.findings import CERTAIN, Doubt, Finding, Path
from specs.kinds import KINDS, PLURALS, Kind
from specs.plain import Metadata, SharedMetadata
from specs.spelled import read
from specs.values import API_VERSION

DefaultsFor = Callable[[str], KindDefaults]

READ_BY_OTHERS: dict[str, frozenset[str]] = {
    "Datacenter": frozenset({"nicTags"}),
    "Node": frozenset({"driver", "nics", "members", "capacity"}),
    "Network": frozenset({"nicTag", "vlan", "subnet", "range", "gateway", "reserved", "tenants"}),
    "NetworkPool": frozenset({"networks"}),
    "Package": frozenset({"memory", "cpu", "disk", "traits"}),
    "Image": frozenset({"source", "type", "requirements", "origin", "tenants"}),
    "Tenant": frozenset(),
    "Volume": frozenset({"node"}),
    "Machine": frozenset({"replicas"}),
    "FirewallRule": frozenset(),
}
"""Fields by which other documents are judged: where one of them is unknown, what names the thing is not."""


class Declared(msgspec.Struct, frozen=True):
    """One thing that a document declares, validated by itself. `spec` is the record of its kind."""

    kind: str
    ref: Ref
    name: str
    tenant: str | None
    spec: Any
    file: str
    index: int
    prefix: Path
    """Where its spec stands in the document: `("spec",)` or `("items", name)`."""
    tags: Values = {}
    renamed_from: str | None = None
    doubt: Doubt = CERTAIN
    """What of its spec counts for nothing, being wrong: something stands in for it."""
    nameless: bool = False
    """Its name is wrong: the ref is of our making, and nobody can name it."""

    def finding(self, path: Path, summary: str, fix: str = "") -> Finding:
        """A mistake in a field of its spec (`("nics", 0, "ip")`)."""
        return Finding(self.file, self.index, (*self.prefix, *path), summary, fix, ref=self.known_as)

    @property
    def known_as(self) -> str:
        """The ref as people know it."""
        return "" if self.nameless else self.ref

    def sure(self, *fields: str) -> bool:
        """Whether these fields of its spec are what was meant."""
        doubt = self.doubt
        return doubt is CERTAIN or not (doubt.lacking or any(path[0] in fields for path in doubt.unknown))

    @property
    def dubious(self) -> bool:
        """Whether others cannot be judged by it."""
        return self.nameless or not self.sure(*READ_BY_OTHERS[self.kind])

    def same(self, other: Declared) -> bool:
        """Whether others see no difference between the two."""
        return self.ref == other.ref and self.spec == other.spec and self.tags == other.tags


class Reading(msgspec.Struct):
    """What one document came to. `poisoned`: refs of which it is not known what they are, since something is wrong."""

    declared: list[Declared] = msgspec.field(default_factory=list)
    findings: list[Finding] = msgspec.field(default_factory=list)
    poisoned: set[Ref] = msgspec.field(default_factory=set)
    lost: list[str] = msgspec.field(default_factory=list)
    """Names that it gives to something, it cannot be told what."""
    unenveloped: bool = False
    """It has no apiVersion: no document of ours, unless somebody forgot it."""


Who = tuple[Metadata | None, bool, bool]
"""What a document is about, as far as that can be told: (metadata, whether its name is known, whether it is known
whose it is)."""


_AS_WRITTEN: Mapping[str, str] = MappingProxyType({})


class _Document:
    def __init__(self, file: str, index: int, defaults: DefaultsFor, doubt: Doubt) -> None:
        self.file, self.index, self.defaults, self.doubt = file, index, defaults, doubt
        self.out = Reading()

    def wrong(self, path: Path, summary: str, fix: str = "", *, key: bool = False) -> None:
        if self.doubt is CERTAIN or not (path and self.doubt.covers(path)):
            self.out.findings.append(Finding(self.file, self.index, path, summary, fix, "key" if key else "value"))

    def missing(self, path: Path, key: str, summary: str, fix: str) -> None:
        """Said only where all that was written has been read."""
        if not (self.doubt.lacks(path) or self.doubt.covers((*path, key))):
            self.wrong(path, summary, fix)

    def read(self, value: Any) -> Reading:
        if not isinstance(value, dict):
            if self.doubt is CERTAIN:
                self.wrong((), "a document is a map", "begin with apiVersion: " + API_VERSION)
            return self.out
        self._version(value)
        name = value.get("kind")
        kind = KINDS.get(name) if isinstance(name, str) else None
        plural = PLURALS.get(name) if isinstance(name, str) else None
        if self.out.unenveloped and kind is None and plural is None:
            return self.out
        if kind is None and plural is None:
            kind, plural = self._unknown_kind(value)
        if kind is not None:
            self._singular(kind, value)
        elif plural is not None:
            self._plural(plural, value)
        else:
            self._no_kind(value)
        return self.out

    def _version(self, value: Values) -> None:
        if "apiVersion" not in value:
            self.out.unenveloped = True
            fix = "files that are no documents are ones that a document names with {file: …}"
            self.missing((), "apiVersion", "apiVersion is missing", f"add apiVersion: {API_VERSION}; {fix}")
        elif value["apiVersion"] != API_VERSION:
            self.wrong(("apiVersion",), f"{value['apiVersion']!r} is not known", f"write {API_VERSION}")

    def _unknown_kind(self, value: Values) -> tuple[Kind | None, Kind | None]:
        """Tells it, and goes on with the kind that was probably meant."""
        known = ", ".join(KINDS)
        if "kind" not in value:
            self.missing((), "kind", "kind is missing", f"one of {known}, or a plural of one")
            return None, None
        if self.doubt.covers(("kind",)):
            return None, None
        near = wording.nearest(str(value["kind"]), [*KINDS, *PLURALS])
        self.wrong(
            ("kind",),
            f"{value['kind']!r} is no kind",
            (f"did you mean {near}? " if near else "") + f"There are {known}",
        )
        kind = KINDS.get(near or "") or PLURALS.get(near or "")
        if "items" not in value or "spec" in value:
            return kind, None
        return None, kind if kind is not None and kind.plural else None

    def _no_kind(self, value: Values) -> None:
        """What it may declare has a name, and that is all there is to tell."""
        metadata, items = value.get("metadata"), value.get("items")
        names = [metadata.get("name")] if isinstance(metadata, dict) else []
        names += items if isinstance(items, dict) else []
        self.out.lost += [name for name in names if isinstance(name, str)]

    def _keys(self, value: Values, allowed: tuple[str, ...]) -> Mapping[str, str]:
        """Tells unknown keys; returns {what was probably meant: as it is written}."""
        meant: Mapping[str, str] = _AS_WRITTEN
        for key in value:
            if key not in allowed:
                near = wording.nearest(str(key), allowed)
                hint = f"did you mean {near}?" if near else f"a document has {', '.join(allowed)}"
                self.wrong((key,), f"{key!r} is not a field here", hint, key=True)
                if near is not None and near not in value:
                    meant = {**meant, near: key}
        return meant

    def _singular(self, kind: Kind, value: Values) -> None:
        meant = self._keys(value, ("apiVersion", "kind", "metadata", "spec"))
        at, inner = meant.get("metadata", "metadata"), meant.get("spec", "spec")
        written = value.get(at)
        if written is not None and not isinstance(written, dict):
            self.wrong((at,), "metadata is a map", "metadata: {name: …}")
        elif written is None:
            self.missing((), "metadata", "metadata is missing", "metadata: {name: …}")
        defaults = self.defaults(kind.name)
        if isinstance(written, dict):
            given = _given(kind, defaults.metadata)
            who = self._who(kind, merged(given, written) if given else stripped(written), (at,), defaults)
        else:
            who = (None, False, kind.tenancy == "never")
        spec = value.get(inner)
        if spec is not None and not isinstance(spec, dict):
            self.wrong((inner,), "spec is a map", "spec: {FIELD: …}")
            self._unread(kind, who)
        elif spec is None and self.doubt.covers((inner,)):
            self._unread(kind, who)
        else:
            self._declare(kind, who, spec or {}, defaults, prefix=(inner,))

    def _unread(self, kind: Kind, who: Who) -> None:
        if who[0] is not None:
            self.out.poisoned.add(make_ref(kind.name, who[0].name, who[0].tenant))

    def _who(self, kind: Kind, values: Values, path: Path, defaults: KindDefaults) -> Who:
        """What it is called and whose it is, as far as that can be told. `path`: where the metadata stands."""
        try:
            metadata = read(Metadata, values)
        except msgspec.ValidationError:
            from reconciler.edge.load.doubt import strict

            strictly, found = strict(Metadata, values)
            if strictly is None:
                return self._who_in_doubt(kind, values, path, defaults, found)
            metadata = strictly
        if (
            kind.tenancy == "must"
            and metadata.tenant is not None
            and (not kind.host or wording.is_label(metadata.name))
        ):
            return metadata, True, True
        placed = self._whose(kind, metadata, path, lacking="metadata" in defaults.lacking)
        return _unowned(kind, metadata), True, placed

    def _who_in_doubt(
        self, kind: Kind, values: Values, path: Path, defaults: KindDefaults, found: list[wording.Explained]
    ) -> Who:
        from reconciler.edge.load.doubt import strict

        meant = {one.meant for one in found}
        for one in found:
            if one.about != "missing" or not (one.path[-1] in meant or self.doubt.lacks(path)):
                self._told(self._placed(path, one))
        bad = {one.path[0] for one in found} | meant
        good = {key: inner for key, inner in values.items() if key not in bad}
        metadata = strict(Metadata, {"name": "unnamed", **good})[0] or Metadata(name="unnamed")
        placed = self._whose(kind, metadata, path, lacking="tenant" in bad or "metadata" in defaults.lacking)
        return _unowned(kind, metadata), "name" not in bad, placed and "tenant" not in bad

    def _placed(self, path: Path, one: wording.Explained) -> wording.Explained:
        """An item's metadata stands apart from its name."""
        if path[0] != "items":
            return msgspec.structs.replace(one, path=(*path, *one.path))
        if one.path[:1] == ("name",):
            return msgspec.structs.replace(one, path=path, at="key")
        return msgspec.structs.replace(one, path=("metadata", *one.path))

    def _whose(self, kind: Kind, metadata: Metadata, path: Path, *, lacking: bool) -> bool:
        """Tells what a kind forbids. False if it is not known whose the thing is."""
        if kind.tenancy == "never" and metadata.tenant is not None:
            self.wrong((*path, "tenant"), f"a {kind.name} belongs to no tenant", "remove it")
        if kind.tenancy == "must" and metadata.tenant is None:
            if not lacking:
                fix = "tenant: NAME here or in the folder's _defaults.yaml"
                self.missing(path, "tenant", f"a {kind.name} needs a tenant", fix)
            return False
        if kind.host and not wording.is_label(metadata.name):
            self.wrong(
                path if path[0] == "items" else (*path, "name"),
                f"{metadata.name!r} is not a name that a host can bear", "a-z, 0-9 and dash",
            )  # fmt: skip
        if kind.name == "Tenant" and metadata.name == "datacenter":
            self.wrong((*path, "name"), "a tenant cannot be called datacenter", "references use that word")
        return True

    def _plural(self, kind: Kind, value: Values) -> None:
        meant = self._keys(value, ("apiVersion", "kind", "metadata", "items"))
        key = meant.get("items", "items")
        items = value.get(key)
        if items is None:
            self.missing((key,) if key in value else (), "items", "items is a map by name", "items: {NAME: {…}}")
            items = {}
        elif not isinstance(items, dict):
            self.wrong((key,), "items is a map by name", "items: {NAME: {…}}")
            items = {}
        defaults = self.defaults(kind.name)
        written = value.get("metadata")
        shared = written if isinstance(written, dict) else {}
        if written is not None and not isinstance(written, dict):
            self.wrong(("metadata",), "metadata is a map", "metadata: {tenant: …}")
        try:
            read(SharedMetadata, stripped(shared))
        except msgspec.ValidationError:
            from reconciler.edge.load.doubt import strict

            _, found = strict(SharedMetadata, stripped(shared), shared)
            for one in found:
                self._told(msgspec.structs.replace(one, path=("metadata", *one.path)))
            bad = {one.path[0] for one in found} | {one.meant for one in found}
            shared = {key: inner for key, inner in shared.items() if key not in bad}
            if "tenant" in bad:
                defaults = msgspec.structs.replace(defaults, lacking=defaults.lacking | {"metadata"})
        for name, spec in items.items():
            self._item(kind, name, spec, shared=shared, defaults=defaults)

    def _item(self, kind: Kind, name: Any, spec: Any, *, shared: Values, defaults: KindDefaults) -> None:
        path: Path = ("items", name)  # where it is misspelt, the nearest place is told
        given = _given(kind, merged(defaults.metadata, shared) if shared else defaults.metadata)
        who = self._who(kind, {**given, "name": name}, path, defaults)
        if spec is not None and not isinstance(spec, dict):
            self.wrong(path, "an item is a map", f"{name}: {{…}}")
            self._unread(kind, who)
        else:
            self._declare(kind, who, spec or {}, defaults, prefix=path)

    def _declare(self, kind: Kind, who: Who, spec: Values, defaults: KindDefaults, *, prefix: Path) -> None:
        values = merged(defaults.spec, spec) if defaults.spec else stripped(spec)
        metadata, named, placed = who
        if self.doubt is not CERTAIN or metadata is None or not (named and placed):
            self._declare_in_doubt(kind, who, values, defaults, prefix=prefix)
            return
        try:
            declared = read(kind.plain, values)
        except msgspec.ValidationError:
            from reconciler.edge.load.doubt import strict

            strictly, _ = strict(kind.plain, values)
            if strictly is None:
                self._declare_in_doubt(kind, who, values, defaults, prefix=prefix)
                return
            declared = strictly
        self.out.declared.append(
            Declared(
                kind.name,
                make_ref(kind.name, metadata.name, metadata.tenant),
                metadata.name,
                metadata.tenant,
                declared,
                self.file,
                self.index,
                prefix,
                metadata.tags,
                metadata.renamed_from,
            )
        )

    def _declare_in_doubt(self, kind: Kind, who: Who, values: Values, defaults: KindDefaults, *, prefix: Path) -> None:
        """Something is wrong, or was not read: a spec with stand-ins is judged by others and judges none."""
        from reconciler.edge.load.doubt import mended

        written, named, placed = who
        name = written.name if written is not None and named else f"?{self.file}:{self.index}:{prefix[-1]}"
        metadata = written or Metadata(name="unnamed")
        ref = make_ref(kind.name, name, metadata.tenant)
        spec, told, doubt = mended(kind, values, self.doubt.beneath(prefix), lacking="spec" in defaults.lacking)
        for one in told:
            self._told(msgspec.structs.replace(one, path=(*prefix, *one.path)), ref if named and placed else "")
        if spec is None or not placed:
            self.out.lost += [name] if named else []
            return
        declared = Declared(
            kind.name, ref, name, metadata.tenant, spec, self.file, self.index, prefix,
            tags=metadata.tags, renamed_from=metadata.renamed_from, doubt=doubt, nameless=not named,
        )  # fmt: skip
        self.out.declared.append(declared)
        if doubt is not CERTAIN and (declared.dubious or kind.name == "Machine"):
            self.out.poisoned.add(ref)

    def _told(self, found: wording.Explained, ref: str = "") -> None:
        if not self.doubt.covers(found.path):
            self.out.findings.append(
                Finding(self.file, self.index, found.path, found.summary, found.fix, found.at, ref)
            )


def _unowned(kind: Kind, metadata: Metadata) -> Metadata:
    """Without the tenant that such a thing cannot have: that was told."""
    if kind.tenancy == "never" and metadata.tenant is not None:
        return msgspec.structs.replace(metadata, tenant=None)
    return metadata


def _given(kind: Kind, metadata: Values) -> Values:
    """What defaults give to the metadata of a kind."""
    if kind.tenancy == "never" and "tenant" in metadata:
        return {key: inner for key, inner in metadata.items() if key != "tenant"}
    return metadata


def declare(file: str, index: int, value: Any, defaults: DefaultsFor, doubt: Doubt = CERTAIN) -> Reading:
    """What the document declares, and everything that is wrong with it by itself. `doubt`: what of it was not read."""
    return _Document(file, index, defaults, doubt).read(value)


def check_defaults(file: str, value: Any) -> list[Finding]:
    """What is wrong with the value of a `_defaults.yaml` by itself: `path` leads to it. What fields hold is seen in the
    documents."""
    if not isinstance(value, dict):
        return [Finding(file, 0, (), "defaults are a map by kind", "Machine: {spec: {…}}")] if value is not None else []
    findings = []
    for name, given in value.items():
        if name != EVERY and name not in KINDS:
            near = wording.nearest(str(name), [EVERY, *KINDS])
            hint = f"did you mean {near}?" if near else f"there are {EVERY}, {', '.join(KINDS)}"
            findings.append(Finding(file, 0, (name,), f"{name!r} is no kind", hint, "key"))
        elif not isinstance(given, dict):
            findings.append(Finding(file, 0, (name,), "defaults of a kind are a map", "{metadata: {…}, spec: {…}}"))
        else:
            findings += _check_kind_defaults(file, name, given)
    return findings


def part_of(path: Path) -> tuple[str, str]:
    """The (kind, part) that may be lacking where something is wrong at this path of a `_defaults.yaml`."""
    kind = path[0] if path and path[0] in KINDS else EVERY
    part = path[1] if len(path) > 1 and path[1] in ("metadata", "spec") else EVERY
    return str(kind), str(part)


def _check_kind_defaults(file: str, name: str, given: Values) -> list[Finding]:
    allowed = {"metadata": ["tenant", "tags"], "spec": []}
    if name == EVERY:
        del allowed["spec"]
    else:
        allowed["spec"] = list(KINDS[name].plain.__struct_encode_fields__)
    findings = []
    for part, values in given.items():
        if part not in allowed:
            hint = (
                "every kind has its own fields: name the kind" if part == "spec" else f"there are {', '.join(allowed)}"
            )
            findings.append(Finding(file, 0, (name, part), f"{part!r} is not a field here", hint, "key"))
        elif not isinstance(values, dict):
            findings.append(Finding(file, 0, (name, part), f"{part} is a map", "{…}"))
        else:
            for field in values:
                if field not in allowed[part]:
                    near = wording.nearest(str(field), allowed[part])
                    hint = f"did you mean {near}?" if near else f"there are {', '.join(allowed[part])}"
                    findings.append(
                        Finding(file, 0, (name, part, field), f"{field!r} is not a field here", hint, "key")
                    )
    return findings


__all__ = ["NOTHING", "Declared", "DefaultsFor", "Reading", "check_defaults", "declare"]
