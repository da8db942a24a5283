"""What can still be said of a document that is wrong in places.

Owns: which of its values count for nothing, and what stands in for them, so that all else is judged in the same run and
nothing is told that only follows from what was told already. Must not go here: finding mistakes, their wording.

None of this runs for a document without mistakes: it is here that the models are imported.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from reconciler.edge.load.findings import Doubt, Path, within
from reconciler.edge.load.mistakes import explain
from reconciler.edge.load.wording import Explained
from specs.kinds import Kind
from specs.models import model_of, plain_of
from specs.plain import Plain

STAND_INS: dict[str, dict[str, Any]] = {
    "Datacenter": {"id": "00000000-0000-0000-0000-000000000000"},
    "Node": {"driver": "local"},
    "Network": {"nicTag": "unknown", "subnet": "192.0.2.0/24"},
    "NetworkPool": {"networks": ["unknown"]},
    "Package": {"memory": "1Mi"},
    "Image": {"source": {"busybox": "static"}, "type": "rootfs"},
    "Tenant": {},
    "Volume": {"size": "1Mi"},
    "Machine": {"image": "unknown", "package": "unknown"},
    "FirewallRule": {"from": "any", "to": "any", "allow": ["any"]},
}
"""For the fields that every document of a kind must have: valid, and what follows from them is not told."""

_ELEMENTS = {
    "nics": {"network": "unknown"},
    "networks": "unknown",
    "tenants": "unknown",
    "machines": "unknown",
    "reserved": "192.0.2.1",
    "subnets": "192.0.2.0/24",
    "allow": "any",
    "forwards": {"listen": "192.0.2.1", "to": "unknown"},
    "ports": "tcp/1",
}
"""For one entry of a list, so that the others keep their places."""

_ROUNDS = 64

Record = TypeVar("Record", bound=Plain)


def strict(record: type[Record], values: Any, shown: Any = None) -> tuple[Record | None, list[Explained]]:
    """The record as its model reads it, or every mistake. `shown`: the values as written, where they are others."""
    model = model_of(record)
    try:
        return plain_of(model.model_validate(values)), []
    except ValidationError as wrong:
        return None, explain(wrong, model, values if shown is None else shown)


class Mended(NamedTuple):
    """A record with stand-ins (None if even that cannot be), the mistakes, and what of it is in doubt."""

    spec: Any
    told: list[Explained]
    doubt: Doubt


def mended(kind: Kind, values: dict[str, Any], doubt: Doubt, *, lacking: bool) -> Mended:
    """Judges the values as far as they go. `lacking`: defaults that were not read may have given what is missing."""
    lacks = Doubt(lacking=((),) if lacking else doubt.lacking)
    unknown = list(doubt.unknown)
    told: list[Explained] = []
    for path in doubt.unknown:
        values, _ = _replaced(kind, values, path)
    for _ in range(_ROUNDS):
        try:
            model = kind.model.model_validate(values)
        except ValidationError as wrong:
            found = explain(wrong, kind.model, values)
        else:
            return Mended(plain_of(model), told, Doubt(tuple(unknown), doubt.lacking))
        meant = [(*one.path[:-1], one.meant) for one in found if one.meant]
        told += [one for one in found if not _follows(one, [*unknown, *meant], lacks)]
        for one in found:
            values, replaced = _aside(kind, values, one)
            unknown += (one.path, *replaced)
        unknown += meant
        unknown = [path for path in dict.fromkeys(unknown) if path]
    return Mended(None, told, Doubt(tuple(unknown), doubt.lacking))


def _follows(one: Explained, unknown: Iterable[Path], lacks: Doubt) -> bool:
    """Whether this only follows from what is unknown or was not read."""
    if any(within(one.path, path) for path in unknown):
        return True
    if one.about in ("missing", "whole") and lacks.lacks(one.path):
        return True
    return one.about == "whole" and any(
        within(path, one.path) and (not one.fields or path[len(one.path)] in one.fields) for path in unknown
    )


def _aside(kind: Kind, values: dict[str, Any], one: Explained) -> tuple[dict[str, Any], list[Path]]:
    """The values with what is wrong put aside, and which paths those are."""
    if one.path:
        values, path = _replaced(kind, values, one.path, missing=one.about == "missing")
        return values, [path]
    paths: list[Path] = []
    for field in one.fields:
        if field not in values:
            continue
        values, path = _replaced(kind, values, (field,))
        paths.append(path)
    return values, paths


def _replaced(kind: Kind, values: Any, path: Path, *, missing: bool = False) -> tuple[Any, Path]:
    """The values with something sound, or nothing, in place of what stands at the path or around it."""
    standing = STAND_INS[kind.name]
    if not path:
        return dict(standing), path
    if len(path) == 1 and path[0] in standing:
        return {**values, path[0]: standing[str(path[0])]}, path
    parent = _at(values, path[:-1])
    if isinstance(parent, list):
        element = _ELEMENTS.get(str(path[-2]))
        if element is None:
            return _replaced(kind, values, path[:-1])
        return _put(values, path, element), path
    if not isinstance(parent, dict) or (missing and path[-1] not in parent and len(path) > 1):
        return _replaced(kind, values, path[:-1])
    return _put(values, path, None), path


def _at(values: Any, path: Path) -> Any:
    for part in path:
        if isinstance(values, list) and isinstance(part, int) and part < len(values):
            values = values[part]
        elif isinstance(values, dict):
            values = values.get(part)
        else:
            return None
    return values


def _put(values: Any, path: Path, new: Any) -> Any:
    """A copy with another value at the path; None takes a key away."""
    if not path:
        return new
    part = path[0]
    copy: Any = dict(values) if isinstance(values, dict) else list(values)
    if len(path) == 1 and new is None:
        copy.pop(part, None)
    else:
        copy[part] = _put(copy[part] if len(path) > 1 else None, path[1:], new)
    return copy
