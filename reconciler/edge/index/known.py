"""What is known of a tree, by this process or by another, to be laid down beside a planner.

Owns: that either is laid down alike. Must not go here: as what (documents), the planner (planning).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from reconciler.core.desired import Revision
from reconciler.core.refs import Ref
from reconciler.edge.index.shelves import Part, Tables, Writer

if TYPE_CHECKING:
    from reconciler.edge.load.records import Records


class Documents(NamedTuple):
    """What the loader knows, and which of it names a secret."""

    records: Records
    revision: Revision
    secretive: frozenset[Ref]

    def lay(self, writer: Tables) -> msgspec.Raw:
        """Lay it down; what is to be kept whole is returned. Raises OSError."""
        from reconciler.edge.index import documents

        return msgspec.Raw(msgspec.msgpack.encode(documents.write(self.records, writer)))

    def laid(self, more: Callable[[Tables], object] = bool) -> Laid:
        """The same, for another process to take. `more`: lays down what else that is to take."""
        tables = Tables()
        whole = self.lay(tables)
        more(tables)
        return Laid(tables.part(), whole, self.secretive)


class Laid(msgspec.Struct, frozen=True):
    """What another process knows that has read the tree."""

    part: Part
    whole: msgspec.Raw
    secretive: frozenset[Ref]

    def lay(self, writer: Writer) -> msgspec.Raw:
        """As that of Documents."""
        writer.take(self.part)
        return self.whole
