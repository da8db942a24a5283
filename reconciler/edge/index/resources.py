"""Resources laid down, and taken up one by one: what things alike have in common lies there once.

Owns: their two tables. Must not go here: who has them (the planner's world, the loader's records).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from reconciler.core.desired import Resource
from reconciler.core.refs import Ref
from reconciler.edge.index.shelves import Doubt, Reader, Shelf, Tables
from reconciler.edge.remembered import kinds_of


class _Resource(msgspec.Struct, array_like=True):
    """`kind`: the number of what it is but for its ref and digest."""

    digest: str
    kind: int


def write_resources(resources: Mapping[Ref, Resource], writer: Tables) -> None:
    """Raises OSError."""
    kinds, of = kinds_of(resources.values())
    laid = zip([one.digest for one in resources.values()], of, strict=True)
    rows = dict(zip(resources, laid, strict=True))
    writer.table("resources", rows, short=True)
    writer.table("kinds", dict(enumerate(kinds)))


def resources_of(reader: Reader) -> Shelf[Ref, Resource]:
    """What `write_resources` laid down."""
    rows: Shelf[Ref, _Resource] = Shelf.of(reader, "resources", _Resource)
    kinds: Shelf[int, Resource] = Shelf.of(reader, "kinds", Resource)

    def resource(ref: Ref) -> Resource:
        row = rows[ref]
        if row.kind not in kinds:
            raise Doubt(f"what {ref} is does not lie there")
        return msgspec.structs.replace(kinds[row.kind], ref=ref, digest=row.digest)

    return Shelf(resource, len(rows))
