"""Where in git a change comes from: the places that a plan tells beside its lines.

Owns: asking the loader for provenance, for as many changes as a page shows. Must not go here: provenance itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reconciler.core.plan import Action, Cause, Change, Plan
from reconciler.core.refs import Ref
from reconciler.core.render.fold import fold
from reconciler.core.values import segments
from reconciler.edge.source import GitSource
from reconciler.errors import TrueupError

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


def _asked(change: Change) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    if change.action in (Action.CREATE, Action.RESTORE, Action.REPLACE):
        yield change.ref, ()
    for difference in change.differences:
        if difference.cause is not Cause.DRIFT:
            yield f"{change.ref}:{difference.path}", tuple(segments(difference.path))


def place(source: GitSource, ref: Ref, path: Sequence[str | int]) -> str:
    """`file:line` of a field, or empty where nobody wrote it, or it cannot be told."""
    try:
        for asked in _spellings(ref, tuple(path)):
            found = source.loader.provenance(*asked)
            if found is not None and (found.how != "published" or not path):
                return f"{found.file}:{found.line}"
    except TrueupError:
        return ""
    return ""


def _spellings(ref: Ref, path: tuple[str | int, ...]) -> Iterator[tuple[Ref, tuple[str | int, ...]]]:
    """The field as it is, else the reference that brought it: a size comes with the package."""
    yield ref, path
    if path and path[0] in ("memory", "swap", "cpu", "cpuShares", "vcpus", "threads", "ioPriority", "disk"):
        yield ref, ("package",)
