"""What is compressed beside the rest is what would be compressed here."""

from __future__ import annotations

from reconciler.core.sights import at_once
from reconciler.edge.beside import compress


def test_it_is_the_same() -> None:
    data = [bytes([number]) * 1000 * number for number in range(20)]
    begun = [compress(each) for each in data]
    assert [wait() for wait in begun] == [at_once(each)() for each in data]
