"""Where in git a change comes from: the places that a plan tells beside its lines.

Owns: asking the loader for provenance, for as many changes as a page shows. Must not go here: provenance itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reconciler.core.plan import Action, Cause, Change, Plan
from reconciler.core.refs import Ref, kind_of, make_ref, tenant_of
from reconciler.core.render.fold import fold
from reconciler.core.values import segments
from reconciler.edge.source import GitSource
from reconciler.errors import TrueupError

Path = tuple[str | int, ...]

_PACKAGED = frozenset({"memory", "swap", "cpu", "cpuShares", "vcpus", "threads", "ioPriority", "disk"})
_SHOWN = 200
"""Each place is read again from the text, 0.1 ms and more: beyond this many groups, places are left out."""


def places_of(source: GitSource, plan: Plan) -> dict[str, str]:
    """`REF` and `REF:/path` to `packages.yaml:6`, for the head of each folded group."""
    found: dict[str, str] = {}
    for group in fold(plan.changes)[:_SHOWN]:
        for key, path in _asked(group[0]):
            where = place(source, group[0].ref, path)
            if where:
                found[key] = where
    return found


def _asked(change: Change) -> Iterator[tuple[str, Path]]:
    if change.action in (Action.CREATE, Action.RESTORE, Action.REPLACE):
        yield change.ref, ()
    for difference in change.differences:
        if difference.cause is not Cause.DRIFT:
            yield f"{change.ref}:{difference.path}", tuple(segments(difference.path))


def place(source: GitSource, ref: Ref, path: Sequence[str | int]) -> str:
    """`file:line` of a field, or empty where nobody wrote it, or it cannot be told."""
    try:
        for asked, inner in _spellings(source, ref, tuple(path)):
            found = source.loader.provenance(asked, inner)
            if found is not None and (found.how != "published" or not path):
                return f"{found.file}:{found.line}"
    except TrueupError:
        return ""
    return ""


def _spellings(source: GitSource, ref: Ref, path: Path) -> Iterator[tuple[Ref, Path]]:
    """The field as it is, else what brought it: a size comes with the package."""
    yield ref, path
    if path and path[0] in _PACKAGED and kind_of(ref) == "Machine":
        package = package_of(source, ref)
        if package is not None:
            yield package, path
        yield ref, ("package",)


def package_of(source: GitSource, ref: Ref) -> Ref | None:
    """The package that a machine's document names, the tenant's own before the datacenter's."""
    declared = source.loader.declared(ref)
    name = getattr(declared.spec, "package", None) if declared is not None else None
    if not isinstance(name, str):
        return None
    scope, _, bare = name.rpartition("/")
    scopes = [scope if scope != "datacenter" else None] if scope else [tenant_of(ref), None]
    refs = [make_ref("Package", bare, each) for each in scopes]
    return next((each for each in refs if source.loader.entry(each) is not None), None)
