"""Asking the kernel for single links: what is there, what is not, and that nothing else is read."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from drivers.local.netlink import Netlink


@pytest.fixture
def netlink() -> Iterator[Netlink]:
    with Netlink() as opened:
        yield opened


def test_a_link_is_found_by_its_name(netlink: Netlink) -> None:
    found = netlink.named("lo")
    assert found is not None
    assert (found.name, found.index) == ("lo", socket.if_nametoindex("lo"))
    assert set(netlink.links()) == {name for _, name in socket.if_nameindex()}


@pytest.mark.parametrize("name", ["", "tu-is-not-here", "a-name-longer-than-any-link-has"])
def test_a_link_that_is_not_there_is_none_and_the_next_question_is_answered(netlink: Netlink, name: str) -> None:
    assert netlink.named(name) is None
    found = netlink.named("lo")
    assert found is not None
    assert found.name == "lo"


def test_a_link_that_is_gone_has_no_addresses(netlink: Netlink) -> None:
    assert netlink.addresses(2**31 - 1) == []
    assert netlink.named("lo") is not None


@pytest.mark.real
def test_addresses_are_those_of_the_link_alone_and_another_name_of_it_does_not_count() -> None:
    script = """
import subprocess
from drivers.local.netlink import Netlink
for line in ("link set lo up", "link add one type bridge", "link add two type bridge",
             "addr add 10.213.0.1/24 dev one", "addr add fd00:1::1/64 dev one", "addr add 10.213.1.1/24 dev two",
             "link property add dev one altname other"):
    subprocess.run(["ip", *line.split()], check=True)
with Netlink() as netlink:
    one, two = netlink.named("one"), netlink.named("two")
    print(sorted(netlink.addresses(one.index)), netlink.addresses(two.index), netlink.named("other"))
    print(netlink.addresses(1))
"""
    told = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert told.stdout == "['10.213.0.1/24', 'fd00:1::1/64'] ['10.213.1.1/24'] None\n[]\n", told.stderr
