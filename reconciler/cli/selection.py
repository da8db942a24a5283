"""What people mean by a name: refs in short, kinds in any number, tags.

Owns: from words on the command line to refs. Must not go here: looking things up on nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reconciler.core.desired import Desired, Resource
from reconciler.core.refs import Ref, kind_of, short
from reconciler.core.values import plain
from reconciler.errors import UsageError

KINDS = (
    "Machine",
    "Network",
    "NetworkPool",
    "Image",
    "Node",
    "Package",
    "Tenant",
    "Datacenter",
    "Volume",
    "FirewallRule",
)


def kind_named(word: str) -> str:
    """`machines`, `Machine` and `machine` are Machine. Raises UsageError."""
    plain_word = word.lower()
    for kind in KINDS:
        if plain_word in (kind.lower(), f"{kind.lower()}s"):
            return kind
    from difflib import get_close_matches

    near = get_close_matches(plain_word, [kind.lower() for kind in KINDS], n=1)
    raise UsageError(
        f"there is no kind {word!r}",
        hint=f"did you mean {near[0]}?" if near else f"kinds are {', '.join(kind.lower() for kind in KINDS)}",
    )


def full_ref(name: str) -> Ref:
    """`acme/web-1` is Machine/acme/web-1; a kind in front, in any case, is taken. Raises UsageError."""
    parts = name.split("/")
    if not all(parts) or len(parts) > 3:
        raise UsageError(f"{name!r} is no ref", hint="write tenant/name for a machine, or Kind/tenant/name")
    known = next((kind for kind in KINDS if kind.lower() == parts[0].lower()), None)
    if known is not None and len(parts) > 1:
        return Ref("/".join([known, *parts[1:]]))
    if len(parts) == 2:
        return Ref(f"Machine/{name}")
    raise UsageError(f"{name!r} is no ref", hint="write tenant/name for a machine, or Kind/name: Node/edge1")


def existing(desired: Desired, name: str, declared: Iterable[str] = ()) -> Ref:
    """The ref of something that is in git; `declared`: refs of what is no Resource (packages, tenants). Raises
    UsageError with what is near."""
    ref = full_ref(name)
    others = {*(f"Node/{node}" for node in desired.nodes), *declared}
    if ref in desired.resources or ref in others:
        return ref
    from difflib import get_close_matches

    near = get_close_matches(ref, [*desired.resources, *others], n=1, cutoff=0.7)
    raise UsageError(
        f"git has no {ref}", hint=f"did you mean {short(near[0])}?" if near else f"trueup get {kind_of(ref).lower()}"
    )


def chosen(desired: Desired, words: Sequence[str], remembered: Iterable[Ref] = ()) -> frozenset[Ref]:
    """The refs that --only names: refs (also `remembered` ones, of what is in git no more), replicated groups, and tags
    as key=value. Raises UsageError for a name that nothing has."""
    refs: set[Ref] = set()
    for word in words:
        if "=" in word:
            refs |= _tagged(desired, word)
            continue
        ref = full_ref(word)
        group = {each for each, resource in desired.resources.items() if _in_group(resource.behaviour.update, ref)}
        refs |= group or {ref if ref in set(remembered) else existing(desired, word)}
    return frozenset(refs)


def _in_group(update: object, ref: Ref) -> bool:
    return getattr(update, "group", None) == ref


def _tags(resource: Resource) -> Mapping[str, Any]:
    if b'"tags"' not in resource.body:
        return {}
    found: Mapping[str, Any] = plain(resource.body).get("tags") or {}
    return found


def _tagged(desired: Desired, word: str) -> set[Ref]:
    key, _, value = word.partition("=")
    found = {ref for ref, resource in desired.resources.items() if str(_tags(resource).get(key)) == value}
    if not found:
        raise UsageError(f"nothing in git has the tag {word}", hint="tags stand in metadata: tags: {role: web}")
    return found
