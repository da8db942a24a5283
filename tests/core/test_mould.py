"""A form filled into a mould is the form that the driver makes; what has no mould is told by the form itself."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.incus.shape import IncusShape
from drivers.local.shape import LocalShape
from drivers.sim.shape import SimShape
from reconciler.core.binding import Address
from reconciler.core.compare import wanted_of
from reconciler.core.desired import NicWant, Resource
from reconciler.core.mould import Mould, pattern, taken
from reconciler.core.refs import Ref, Target
from reconciler.core.shape import NativeContext, Shape
from reconciler.core.values import Fields, canonical
from tests.builders import GiB, machine, network, node, resource

APP, DB = Ref("Network/acme/app"), Ref("Network/acme/db")
KNOWN = {APP: network("app"), DB: network("db", tenant="acme", subnet="10.0.2.0/24", vlan=7, mtu=9000)}
SHAPES: list[Shape] = [SimShape(), LocalShape(), IncusShape()]


def context(_: Resource, addresses: tuple[Address, ...], known: Mapping[Ref, Resource] = KNOWN) -> NativeContext:
    return NativeContext(node(), Target("edge1"), addresses, known)


def mould_of(one: Resource, shape: Shape = SHAPES[0], known: Mapping[Ref, Resource] = KNOWN) -> Mould | None:
    like = pattern(one, partial(context, known=known), one.references)
    return taken(one, shape, like, bytes) if like is not None else None


def words_of(addresses: tuple[Address, ...]) -> tuple[list[Any], tuple[tuple[int, str, str, bool], ...]]:
    """Addresses as the bindings keep them: with the networks by number."""
    words: list[Any] = [None, *{each.network: None for each in addresses}]
    return words, tuple([(words.index(each.network), each.ip, each.mac, False) for each in addresses])


def addresses_of(one: Resource, end: int) -> tuple[Address, ...]:
    return tuple(
        Address(nic.networks[0], f"10.0.{at}.{end}", f"02:00:00:00:{at:02x}:{end:02x}")
        for at, nic in enumerate(one.nics)
    )


def like(name: str, **more: Any) -> Resource:
    """A machine whose host is called as it is itself."""
    made = machine(name, **more)
    body = msgspec.json.decode(made.body)
    del body["hostname"]
    return msgspec.structs.replace(made, body=canonical(body))


names = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.dictionaries(names, st.one_of(texts, names), max_size=3),
        "userData": texts,
        "sshKeys": st.lists(texts, max_size=2),
        "resolvers": st.lists(st.sampled_from(["10.0.0.9", "192.0.2.10", "2001:db8::1"]), max_size=2),
        "disks": st.dictionaries(names, st.fixed_dictionaries({"size": st.integers(1, GiB)}), max_size=2),
        "state": st.sampled_from(["running", "stopped"]),
    },
)


@given(
    which=st.integers(0, len(SHAPES) - 1), first=names, second=names, body=bodies, end=st.integers(2, 250),
    nics=st.sampled_from([(), (APP,), (APP, DB), (DB, APP)]),
)  # fmt: skip
def test_the_form_of_each_is_the_mould_filled(
    which: int, first: str, second: str, body: Mapping[str, Any], end: int, nics: tuple[Ref, ...]
) -> None:
    shape, one, other = SHAPES[which], like(first, body=body, nics=nics), like(second, body=body, nics=nics)
    assert one.body == other.body
    mould = mould_of(one, shape)
    for each in (one, other) if mould is not None else ():
        assert mould is not None
        addresses = addresses_of(each, end)
        words, held = words_of(addresses)
        found = mould.held(each, held[::-1], words)
        assert found is not None
        assert tuple(found) == held
        assert mould.form(each.ref, found) == canonical(wanted_of(each, shape, context(each, addresses)))


def test_machines_of_one_mould_want_the_same_networks_and_take_the_same() -> None:
    one = like("one", nics=(APP, DB))
    mould = mould_of(one)
    assert mould is not None
    words, held = words_of(addresses_of(one, 9))
    assert mould.held(like("two", nics=(APP, DB)), held, words) == held
    assert mould.held(one, held[::-1], words) == [*held]
    for others in (held[:1], held[:1] * 2, (*held, (0, "10.0.9.9", "", False))):
        assert mould.held(one, others, words) is None
    assert mould.held(like("two", nics=(DB, APP)), held, words) is None
    assert mould.held(like("two", nics=(APP, DB), memory=2 * GiB), held, words) is None


class Silent(SimShape):
    """Promises nothing."""

    capability = msgspec.structs.replace(SimShape.capability, plainly=False)


@pytest.mark.parametrize(
    "one",
    [
        like("told", ips={APP: "10.0.1.9"}),
        msgspec.structs.replace(like("pool"), nics=(NicWant((APP, DB), primary=True),)),
        msgspec.structs.replace(like("mac"), nics=(NicWant((APP,), mac="02:00:00:00:00:01"),)),
        msgspec.structs.replace(like("twice"), nics=(NicWant((APP,)), NicWant((Ref("Network/app"),)))),
        like("word", body={"metadata": {"about": "mould-q7x"}}),
        like("sizes", body={"memory": 2 * GiB}),
        msgspec.structs.replace(like("party"), parties=(Ref("Machine/acme/told"),)),
    ],
    ids=lambda each: each.ref,
)
def test_others_have_no_mould(one: Resource) -> None:
    assert mould_of(like("plain")) is not None
    assert mould_of(one) is None


class Blind(SimShape):
    """Shows no interface."""

    def native(self, resource: Resource, context: NativeContext) -> Fields:
        return {key: value for key, value in super().native(resource, context).items() if key != "nics"}


def test_there_is_none_where_the_driver_promises_nothing_or_shows_no_address() -> None:
    assert mould_of(like("plain"), Silent()) is None
    assert mould_of(like("plain"), Blind()) is None
    assert mould_of(like("plain", nics=()), Blind()) is not None


def test_more_interfaces_than_there_are_words_for_have_none() -> None:
    known = {Ref(f"Network/acme/n{at}"): network(f"n{at}", tenant="acme") for at in range(16)}
    for count in (15, 16):
        one = like("plain", nics=tuple(known)[:count])
        assert (mould_of(one, known=known) is not None) == (count == 15)


def test_a_word_of_a_network_is_no_address() -> None:
    known = {APP: resource(APP, {**msgspec.json.decode(KNOWN[APP].body), "gateway": "192.0.2.1"})}
    assert mould_of(like("plain"), known=known) is None


def test_machines_of_other_text_share_a_pattern_and_no_mould() -> None:
    """What a form is asked for with is made once; each text makes a form of its own."""
    one, other = like("one"), like("two", body={"metadata": {"about": "another"}})
    asked: list[Resource] = []

    def contexts(of: Resource, addresses: tuple[Address, ...]) -> NativeContext:
        asked.append(of)
        return context(of, addresses)

    shared = pattern(one, contexts, one.references)
    assert shared is not None
    for each in (one, other):
        mould = taken(each, SHAPES[0], shared, bytes)
        assert mould is not None
        words, held = words_of(addresses_of(each, 9))
        found = mould.held(each, held, words)
        assert found is not None
        assert mould.form(each.ref, found) == canonical(
            wanted_of(each, SHAPES[0], context(each, addresses_of(each, 9)))
        )
    assert asked == [one]
