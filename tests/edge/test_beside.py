"""What is done beside the rest comes to what it would have come to here."""

from __future__ import annotations

import threading

import pytest

from reconciler.core.sights import at_once
from reconciler.edge.beside import begun, compress


def test_it_is_the_same() -> None:
    data = [bytes([number]) * 1000 * number for number in range(20)]
    begun = [compress(each) for each in data]
    assert [wait() for wait in begun] == [at_once(each)() for each in data]


def test_what_goes_wrong_is_raised_to_who_asks() -> None:
    wrong, right = begun(lambda: 1 // 0), begun(lambda: 1)
    assert right.result() == 1
    assert wrong.done()
    with pytest.raises(ZeroDivisionError):
        wrong.result()


def test_it_goes_on_beside_who_began_it() -> None:
    gate = threading.Event()
    waits = begun(lambda: gate.wait(30))
    assert not waits.done(within=0.01)
    gate.set()
    assert waits.result()
    assert waits.done()
