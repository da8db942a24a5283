"""Where in git a change comes from: the places that a plan tells beside its lines.

Owns: asking the loader for provenance, for as many changes as a page shows. Must not go here: provenance itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from reconciler.core.plan import Action, Cause, Change, Plan
from reconciler.core.refs import Ref, kind_of, make_ref, name_of, tenant_of
from reconciler.core.render.fold import fold, place_in_page
from reconciler.core.values import segments
from reconciler.edge.git import Repository
from reconciler.edge.git.command import run as git
from reconciler.edge.source import GitSource
from reconciler.errors import TrueupError

Path = tuple[str | int, ...]

PACKAGED = frozenset(
    {"memory", "swap", "cpu", "cpuShares", "vcpus", "threads", "ioPriority", "ioRead", "ioWrite", "disk"}
)
_SHOWN = 200
"""Each place is read again from the text, 0.1 ms and more: beyond this many groups, places are left out."""


def places_of(source: GitSource, plan: Plan) -> dict[str, str]:
    """`REF` and `REF:/path` to `packages.yaml:6`, for the head of each folded group."""
    groups = fold(sorted(plan.changes, key=place_in_page))[:_SHOWN]
    asked = {key: (group[0].ref, path) for group in groups for key, path in _asked(group[0])}
    told = source.apart.places(list(asked.values())) if source.apart is not None and asked else None
    if told is None:
        told = [place(source, ref, path) for ref, path in asked.values()]
    return {key: where for key, where in zip(asked, told, strict=True) if where}


def removals_of(repository: Repository, plan: Plan, *, since: str, root: str) -> dict[str, str]:
    """`REF:removed` to where a document was, and who removed it: `shop/ci.yaml:3, Alice, 10a6544`. For people alone:
    it is looked for by its name in the files that changed since."""
    refs = [change.ref for change in plan.changes if change.action is Action.DESTROY][:_SHOWN]
    if not refs or plan.commit is None or not repository.has_commit(since):
        return {}
    found: dict[str, str] = {}
    try:
        before = repository.tree(since, root)
        for change in repository.difference.between(before, plan.tree):
            old = repository.objects.read(change.before).decode(errors="replace") if change.before else ""
            new = repository.objects.read(change.after).decode(errors="replace") if change.after else ""
            here = {ref: line for ref in refs if (line := _line_of(ref, old)) and not _line_of(ref, new)}
            who = (
                _who(repository, f"{since}..{plan.commit}", f"{root}/{change.path}" if root else change.path)
                if here
                else ""
            )
            found |= {f"{ref}:removed": f"{change.path}:{line}{who}" for ref, line in here.items()}
    except TrueupError:
        return found
    return found


def _line_of(ref: Ref, text: str) -> int:
    """The line that names the thing in a document, 0 if none does: `name: ci`, or `ci:` in a table."""
    name = re.escape(name_of(ref))
    pattern = re.compile(rf"\bname: *[\"']?{name}[\"']?(?=[ ,}}\n]|$)|^ +[\"']?{name}[\"']?:", re.MULTILINE)
    match = pattern.search(text)
    return text.count("\n", 0, match.start()) + 1 if match else 0


def _who(repository: Repository, span: str, path: str) -> str:
    told = git(repository.folder, ("log", "-1", "--format=%an, %h", "--abbrev=7", span, "--", f":(top,literal){path}"))
    text = told.decode(errors="replace").strip()
    return f", {text}" if text else ""


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


def told(source: GitSource, ref: Ref, path: Sequence[str | int]) -> tuple[str, str]:
    """How a field of a document came to be, `written` or `defaulted`, and `file:line`; empty where nobody wrote it."""
    try:
        found = source.loader.provenance(ref, tuple(path))
    except TrueupError:
        found = None
    if found is None or found.how == "published":
        return "", ""
    return {"authored": "written", "defaulted": "defaulted"}[found.how], f"{found.file}:{found.line}"


def _spellings(source: GitSource, ref: Ref, path: Path) -> Iterator[tuple[Ref, Path]]:
    """The field as it is, else what brought it: a size comes with the package."""
    yield ref, path
    if path and path[0] in PACKAGED and kind_of(ref) == "Machine":
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
