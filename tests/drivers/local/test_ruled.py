"""What a look reads of our tables over a socket: the same as nftables prints, of one moment, or left to nftables."""

from __future__ import annotations

import ipaddress
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.local.ruled import Unclear, intervals
from tests.drivers.local.probe import needs

NETS = [ipaddress.ip_network(text) for text in ("10.0.0.0/8", "0.0.0.0/1", "240.0.0.0/4", "192.168.1.0/24")]
SUBNETS = st.lists(
    st.sampled_from(NETS).flatmap(
        lambda net: st.integers(net.prefixlen, 32).flatmap(
            lambda bits: st.integers(0, 2 ** (bits - net.prefixlen) - 1).map(
                lambda at: ipaddress.IPv4Network((int(net.network_address) + (at << (32 - bits)), bits))
            )
        )
    ),
    max_size=6,
)


def apart(subnets: list[ipaddress.IPv4Network]) -> list[ipaddress.IPv4Network]:
    found: list[ipaddress.IPv4Network] = []
    for subnet in subnets:
        if not any(subnet.overlaps(other) for other in found):
            found.append(subnet)
    return found


def kernels(subnets: list[ipaddress.IPv4Network]) -> list[tuple[bytes, bool]]:
    """Elements as the kernel lists them: the first address of each, and the first beyond it, if there is one."""
    found = [(int(subnet.network_address), False) for subnet in subnets]
    found += [(int(subnet.broadcast_address) + 1, True) for subnet in subnets]
    return [(value.to_bytes(4, "big"), ends) for value, ends in found if value < 2**32]


@given(SUBNETS, st.randoms())
def test_intervals_are_the_subnets_they_were_made_of(subnets: list[ipaddress.IPv4Network], order: object) -> None:
    subnets = apart(subnets)
    elements = kernels(subnets)
    order.shuffle(elements)  # type: ignore[attr-defined]
    assert intervals(elements, 4) == {str(net).removesuffix("/32") for net in subnets}
    assert intervals([*elements, (bytes(4), True)], 4) == intervals(elements, 4), "an end of nothing"


@pytest.mark.parametrize(
    "elements", [[(1, False), (4, True)], [(4, False), (5, False), (6, True)], [(3, False)]], ids=str
)
def test_what_is_no_list_of_subnets_is_left_to_nftables(elements: list[tuple[int, bool]]) -> None:
    with pytest.raises(Unclear):
        intervals([(value.to_bytes(4, "big"), ends) for value, ends in elements], 4)


SCRIPT = """
import subprocess, threading
from pathlib import Path
from drivers.local.firewall import Bridge, Firewall, Port
from drivers.local.nft import FirewallFailed, Nft
from drivers.local.place import Place

place = Place(Path("/somewhere"))
firewall, other = Firewall(place, Nft()), Firewall(Place(Path("/elsewhere")), Nft())
printed = []
read = firewall.read
firewall.read = lambda: printed.append(1) or read()

def nft(text):
    Nft().run(text.replace("T", place.table))

def same(what, *, asked=0):
    printed.clear()
    seen = firewall.seen()
    assert seen == read(), (what, seen, read())
    assert len(printed) == asked, (what, printed)
    return seen
"""


def in_a_network_of_its_own(script: str) -> None:
    needs()
    told = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", SCRIPT + script],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr


@pytest.mark.real
def test_it_is_what_nftables_prints() -> None:
    in_a_network_of_its_own("""
assert same("nothing", asked=1) is None
bridges = [Bridge("tuone", "10.9.0.0/24"), Bridge("tutwo"), Bridge("tuthree", "10.9.1.0/24"),
           Bridge("tusix", "fd01::/64"), Bridge("tulast", "240.0.0.0/4"), Bridge("tuself", "10.10.0.7/32")]
firewall.lay([], [])
assert same("no network").bridges == frozenset()
firewall.lay(bridges, [Port("tvport", "02:00:00:00:00:01", "10.9.0.2/28")])
other.lay([Bridge("tuother", "10.77.0.0/16")], [])
seen = same("networks")
assert seen.bridges == {bridge.name for bridge in bridges}
assert seen.nat == {"10.9.0.0/24", "10.9.1.0/24", "fd01::/64", "240.0.0.0/4", "10.10.0.7"}
assert firewall.others() and other.others()
firewall.remove_bridge("tuone", "10.9.0.0/24")
assert "tuone" not in same("one less").bridges
many = [Bridge(f"tu{number}", f"10.{number}.0.0/16") for number in range(150)]
firewall.lay(many, [])
assert len(same("many").nat) == 150
other.remove()
assert other.others() and not firewall.others()
""")


@pytest.mark.real
def test_what_only_nftables_tells_is_told_by_it() -> None:
    in_a_network_of_its_own("""
firewall.lay([Bridge("tuone"), Bridge("tutwo")], [])
same("plain")
firewall.add_bridge(Bridge("tuone", guard=("accept",)))
assert same("a guard", asked=1).guards["tuone"]
nft('delete element inet T guards { "tuone" }')
assert same("a guard that nothing passes", asked=1).guards == {"tuone": ""}
nft("delete chain inet T to_tuone")
same("none")
nft("add chain inet T in_tutwo")
assert same("forwards", asked=1).inward.keys() == {"tutwo"}
nft("delete chain inet T in_tutwo")
nft("add chain inet T other\\nadd element inet T listens4 { 192.0.2.1 : jump other }")
same("somebody's own", asked=1)
nft("delete element inet T listens4 { 192.0.2.1 }")
nft("add element inet T nat4 { 10.0.0.1-10.0.0.6 }")
same("no subnet", asked=1)
nft("flush chain bridge T from_zones\\ndelete chain bridge T from_zones")
assert same("half of it gone", asked=1) is None
firewall.lay([], [])
nft("delete table inet T")
assert same("the other half gone", asked=1) is None
""")


@pytest.mark.real
def test_it_is_of_one_moment_however_often_rules_change() -> None:
    in_a_network_of_its_own("""
firewall.lay([Bridge("tuone", "10.1.0.0/16")], [])
ways = [("tuone", "10.1.0.0/16", "tutwo", "10.2.0.0/16"), ("tutwo", "10.2.0.0/16", "tuone", "10.1.0.0/16")]
turn = '''delete element inet T bridges { "%s" }\\ndelete element inet T nat4 { %s }
add element inet T bridges { "%s" }\\nadd element inet T nat4 { %s }'''
ended = threading.Event()

def change():
    own, number = Nft(), 0
    while not ended.is_set():
        own.run((turn % ways[number % 2]).replace("T", place.table))
        number += 1

changing = threading.Thread(target=change)
changing.start()
try:
    seen = [(passing.bridges, passing.nat) for passing in (firewall.seen() for _ in range(400))]
finally:
    ended.set()
    changing.join()
whole = [(frozenset({"tuone"}), frozenset({"10.1.0.0/16"})), (frozenset({"tutwo"}), frozenset({"10.2.0.0/16"}))]
assert all(each in whole for each in seen), [each for each in seen if each not in whole]
assert all(each in seen for each in whole), "nothing changed meanwhile"
""")
