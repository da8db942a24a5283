"""What a move that was cut short leaves behind on LXD is told apart from the machine."""

from __future__ import annotations

import pytest

from drivers.incus.node import HALVES, is_half, without_halves
from drivers.incus.records import Instance

UID, OTHER = "39470e8a-ce60-5130-9ef4-99be193a8bb5", "1f6f2f0e-8a9c-5d55-9f0f-0a3b5c7d9e01"


def instance(name: str, uid: str | None = UID) -> Instance:
    return Instance(name, said=None if uid is None else {"volatile.uuid": uid})


@pytest.mark.parametrize("prefix", HALVES)
def test_beside_the_first_one_the_copy_is_nothing_yet(prefix: str) -> None:
    both = [instance("web"), instance(f"{prefix}{UID}"), instance("db", OTHER)]
    assert [each.name for each in without_halves(both)[0]] == ["web", "db"]


def test_alone_the_copy_is_the_machine() -> None:
    alone = [instance(f"lxd-move-of-{UID}"), instance("db", OTHER)]
    assert without_halves(alone) == (alone, [])


def test_while_something_cannot_be_read_nobody_knows() -> None:
    kept, doubts = without_halves([instance(f"lxd-move-of-{UID}"), instance("web", None)])
    assert [each.name for each in kept] == ["web"]
    assert doubts == [f"lxd-move-of-{UID} may be half of a move, and its other half could not be read"]


def test_a_name_alone_makes_no_half() -> None:
    assert not is_half(instance(f"lxd-move-of-{OTHER}"))
    assert not is_half(Instance("lxd-move-of-", said={}))
