"""From the plain value of a document to the things it declares, validated.

Owns: the envelope, the plural short form, defaults laid beneath, the models of `specs`.
Must not go here: anything that needs another document (lower.py, checks.py), messages of the models (wording.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from pydantic import ValidationError

from reconciler.core.refs import Ref, make_ref
from reconciler.edge.load import wording
from reconciler.edge.load.defaults import EVERY, NOTHING, KindDefaults, Values, merged, stripped
from reconciler.edge.load.findings import Finding, Path
from specs.envelope import API_VERSION, Metadata, Model, SharedMetadata
from specs.kinds import KINDS, PLURALS, Kind

DefaultsFor = Callable[[str], KindDefaults]


class Declared(msgspec.Struct, frozen=True):
    """One thing that a document declares, validated by itself. `spec` is the model of its kind."""

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

    def finding(self, path: Path, summary: str, fix: str = "") -> Finding:
        """A mistake in a field of its spec (`("nics", 0, "ip")`)."""
        return Finding(self.file, self.index, (*self.prefix, *path), summary, fix, ref=self.ref)

    def same(self, other: Declared) -> bool:
        """Whether others see no difference between the two."""
        return self.ref == other.ref and self.spec == other.spec and self.tags == other.tags


class Reading(msgspec.Struct):
    """What one document came to. `poisoned`: refs that it would declare if it were right."""

    declared: list[Declared] = msgspec.field(default_factory=list)
    findings: list[Finding] = msgspec.field(default_factory=list)
    poisoned: set[Ref] = msgspec.field(default_factory=set)
    unenveloped: bool = False
    """It has no apiVersion: no document of ours, unless somebody forgot it."""


class _Document:
    def __init__(self, file: str, index: int, defaults: DefaultsFor) -> None:
        self.file, self.index, self.defaults = file, index, defaults
        self.out = Reading()

    def wrong(self, path: Path, summary: str, fix: str = "", *, key: bool = False) -> None:
        self.out.findings.append(Finding(self.file, self.index, path, summary, fix, "key" if key else "value"))

    def read(self, value: Any) -> Reading:
        if not isinstance(value, dict):
            self.wrong((), "a document is a map", "begin with apiVersion: " + API_VERSION)
            return self.out
        if "apiVersion" not in value:
            self.out.unenveloped = True
            self.wrong(
                (),
                "apiVersion is missing",
                f"add apiVersion: {API_VERSION}; files that are no documents are ones "
                "that a document names with {file: …}",
            )
            return self.out
        if value["apiVersion"] != API_VERSION:
            self.wrong(("apiVersion",), f"{value['apiVersion']!r} is not known", f"write {API_VERSION}")
        name = value.get("kind")
        kind = KINDS.get(name) if isinstance(name, str) else None
        plural = PLURALS.get(name) if isinstance(name, str) else None
        if kind is not None:
            self._singular(kind, value)
        elif plural is not None:
            self._plural(plural, value)
        else:
            self._unknown_kind(value)
        return self.out

    def _unknown_kind(self, value: Values) -> None:
        known = ", ".join(KINDS)
        if "kind" not in value:
            self.wrong((), "kind is missing", f"one of {known}, or a plural of one")
            return
        near = wording.nearest(str(value["kind"]), [*KINDS, *PLURALS])
        self.wrong(
            ("kind",),
            f"{value['kind']!r} is no kind",
            (f"did you mean {near}? " if near else "") + f"There are {known}",
        )

    def _keys(self, value: Values, allowed: tuple[str, ...]) -> None:
        for key in value:
            if key not in allowed:
                near = wording.nearest(str(key), allowed)
                hint = f"did you mean {near}?" if near else f"a document has {', '.join(allowed)}"
                self.wrong((key,), f"{key!r} is not a field here", hint, key=True)

    def _singular(self, kind: Kind, value: Values) -> None:
        self._keys(value, ("apiVersion", "kind", "metadata", "spec"))
        written = value.get("metadata")
        if not isinstance(written, dict):
            summary = "metadata is missing" if written is None else "metadata is a map"
            self.wrong(("metadata",) if written is not None else (), summary, "metadata: {name: …}")
            return
        spec = value.get("spec")
        if spec is not None and not isinstance(spec, dict):
            self.wrong(("spec",), "spec is a map", "")
            return
        defaults = self.defaults(kind.name)
        metadata = self._metadata(kind, written, defaults)
        if metadata is None:
            self._poison(kind, written.get("name"), written.get("tenant") or defaults.metadata.get("tenant"))
            return
        self._declare(kind, metadata, spec or {}, defaults, prefix=("spec",))

    def _metadata(self, kind: Kind, written: Values, defaults: KindDefaults) -> Metadata | None:
        given = defaults.metadata
        if kind.tenancy == "never" and "tenant" in given:
            given = {key: inner for key, inner in given.items() if key != "tenant"}
        values = merged(given, written) if given else stripped(written)
        try:
            metadata = Metadata.model_validate(values)
        except ValidationError as wrong:
            self._validation(wrong, Metadata, ("metadata",), values)
            return None
        return metadata if self._whose(kind, metadata, ("metadata",)) else None

    def _whose(self, kind: Kind, metadata: Metadata, path: Path) -> bool:
        if kind.tenancy == "never" and metadata.tenant is not None:
            self.wrong((*path, "tenant"), f"a {kind.name} belongs to no tenant", "remove it")
            return False
        if kind.tenancy == "must" and metadata.tenant is None:
            self.wrong(path, f"a {kind.name} needs a tenant", "tenant: NAME here or in the folder's _defaults.yaml")
            return False
        if kind.host and not wording.is_label(metadata.name):
            self.wrong(
                (*path, "name") if path[0] == "metadata" else path,
                f"{metadata.name!r} is not a name that a host can bear", "a-z, 0-9 and dash",
            )  # fmt: skip
            return False
        if kind.name == "Tenant" and metadata.name == "datacenter":
            self.wrong((*path, "name"), "a tenant cannot be called datacenter", "references use that word")
            return False
        return True

    def _plural(self, kind: Kind, value: Values) -> None:
        self._keys(value, ("apiVersion", "kind", "metadata", "items"))
        items = value.get("items")
        if not isinstance(items, dict):
            self.wrong(("items",) if "items" in value else (), "items is a map by name", "items: {NAME: {…}}")
            return
        defaults = self.defaults(kind.name)
        written = value.get("metadata")
        shared = written if isinstance(written, dict) else {}
        if written is not None and not isinstance(written, dict):
            self.wrong(("metadata",), "metadata is a map", "metadata: {tenant: …}")
        try:
            SharedMetadata.model_validate(stripped(shared))
        except ValidationError as wrong:
            self._validation(wrong, SharedMetadata, ("metadata",), shared)
            shared = {}
        for name, spec in items.items():
            self._item(kind, name, spec, shared=shared, defaults=defaults)

    def _item(self, kind: Kind, name: Any, spec: Any, *, shared: Values, defaults: KindDefaults) -> None:
        path: Path = ("items", name)
        if spec is not None and not isinstance(spec, dict):
            self.wrong(path, "an item is a map", f"{name}: {{…}}")
            return
        given = merged(defaults.metadata, shared) if shared else defaults.metadata
        if kind.tenancy == "never":
            given = {key: inner for key, inner in given.items() if key != "tenant"}
        try:
            metadata = Metadata.model_validate({**given, "name": name})
        except ValidationError as wrong:
            for found in wording.explain(wrong, Metadata, {**given, "name": name}):
                at = path if found.path[:1] == ("name",) else ("metadata", *found.path)
                key = found.path[:1] == ("name",)
                self.wrong(at, found.summary, found.fix, key=key)
            self._poison(kind, name, given.get("tenant"))
            return
        if self._whose(kind, metadata, path):
            self._declare(kind, metadata, spec or {}, defaults, prefix=path)

    def _declare(self, kind: Kind, metadata: Metadata, spec: Values, defaults: KindDefaults, *, prefix: Path) -> None:
        values = merged(defaults.spec, spec) if defaults.spec else stripped(spec)
        ref = make_ref(kind.name, metadata.name, metadata.tenant)
        try:
            model = kind.model.model_validate(values)
        except ValidationError as wrong:
            self._validation(wrong, kind.model, prefix, values, ref=ref)
            self.out.poisoned.add(ref)
            return
        self.out.declared.append(
            Declared(
                kind.name,
                ref,
                metadata.name,
                metadata.tenant,
                model,
                self.file,
                self.index,
                prefix,
                metadata.tags,
                metadata.renamed_from,
            )
        )

    def _validation(
        self, wrong: ValidationError, model: type[Model], prefix: Path, values: Values, *, ref: str = ""
    ) -> None:
        for found in wording.explain(wrong, model, values):
            self.out.findings.append(
                Finding(self.file, self.index, (*prefix, *found.path), found.summary, found.fix, found.at, ref)
            )

    def _poison(self, kind: Kind, name: Any, tenant: Any) -> None:
        if isinstance(name, str):
            self.out.poisoned.add(make_ref(kind.name, name, tenant if isinstance(tenant, str) else None))


def declare(file: str, index: int, value: Any, defaults: DefaultsFor) -> Reading:
    """What the document declares, or everything that is wrong with it by itself."""
    return _Document(file, index, defaults).read(value)


def check_defaults(file: str, value: Any) -> list[Finding]:
    """What is wrong with the value of a `_defaults.yaml` by itself. What fields hold is seen in the documents."""
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


def _check_kind_defaults(file: str, name: str, given: Values) -> list[Finding]:
    allowed = {"metadata": ["tenant", "tags"], "spec": []}
    if name == EVERY:
        del allowed["spec"]
    else:
        model = KINDS[name].model
        allowed["spec"] = [field.alias or own for own, field in model.model_fields.items()]
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
