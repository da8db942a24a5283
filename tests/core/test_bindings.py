"""Bindings kept as rows of bytes are the bindings that were put in."""

from __future__ import annotations

from reconciler.core.binding import Address, Binding
from reconciler.core.bindings import Bindings
from reconciler.core.refs import Ref, Target, Uid
from reconciler.core.words import Words

APP, WEB, DEB = Ref("Network/acme/app"), Ref("Machine/acme/web"), Ref("Image/deb")
EDGE, HUB = Target("edge1"), Target("hub/a")


def filled() -> Bindings:
    """A machine in its second life, and a network and an image on two targets."""
    made = Bindings()
    address = Address(APP, "10.0.1.9", "02:00:00:00:00:01")
    for one in (
        Binding(WEB, Uid("u-web"), 2, EDGE, (address,), (1, 2, 3), b'{"memory":1}', "r1", protected=True),
        *(Binding(ref, Uid(f"u-{ref}"), 1, target, sealed=b"{}") for ref in (APP, DEB) for target in (EDGE, HUB)),
    ):
        made[one.ref, one.target] = one
    return made


def test_rows_and_words_alone_tell_every_binding_again() -> None:
    known = filled()
    each = [(ref, known.packed(binding)) for (ref, _), binding in known.each.items()]
    again = Bindings.from_rows(Words.of(known.words.values[1:]), each, known.past)
    again.single = dict(known.single)
    assert dict(again) == dict(known)
    assert again.words.values == known.words.values
    assert again.incarnations == known.incarnations
    assert again.spread == known.spread


def test_a_ref_is_bound_wherever_it_was_put_until_it_is_taken_out_of_there() -> None:
    known = filled()
    assert [set(known.targets(ref)) for ref in (WEB, APP, Ref("Machine/acme/db"))] == [{EDGE}, {EDGE, HUB}, set()]
    del known[WEB, EDGE]
    del known[APP, EDGE]
    assert [set(known.targets(ref)) for ref in (WEB, APP)] == [set(), {HUB}]
    del known[APP, HUB]
    assert set(known.refs) == {DEB}
    assert known.incarnation(WEB) == 2, "the next one of the name is its third life"
