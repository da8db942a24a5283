"""The form of machines that are alike: made once, then filled with the name and the addresses of each.

Owns: taking a form with made-up words, and what follows from it for all machines of that form.
Must not go here: keeping moulds (known), whether a machine is at rest (resting).

A form is made by the driver's Shape, which may put anything in it. So moulds are taken only of drivers that promise to
show a machine's name and addresses just as they stand (`Capability.plainly`), and with words that occur in nothing else
of which the form is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import msgspec

from reconciler.core.binding import PLACES, Address
from reconciler.core.compare import takes_of, wanted_of
from reconciler.core.desired import Demand, NicWant, Resource
from reconciler.core.refs import Ref, name_of
from reconciler.core.shape import NativeContext, Shape
from reconciler.core.values import canonical
from reconciler.core.words import Values

Contexts = Callable[[Resource, tuple[Address, ...]], NativeContext]
Held = Sequence[tuple[int, str, str, bool]]
"""Addresses as a row of the bindings has them: the number of the network, address, MAC, whether it is authored."""

_NAME, _IP, _MAC = "mould-q7x", "192.0.2", "02:5e:10:00:01"
"""The made-up words: of an address and a MAC all but the end."""
_NAMED, _NUMBERED, _WIRED = (word.encode() for word in (_NAME, _IP, _MAC))
_MOST = 15
"""Interfaces whose words these tell apart, the name among them."""
_FIRST = 10
"""The ends are of two digits: no word stands in another."""


class Mould(msgspec.Struct, frozen=True):
    """What machines alike have in common. Their interfaces want one network each, and name no address."""

    nics: tuple[NicWant, ...]
    demand: Demand
    networks: tuple[Ref, ...]
    bare: bytes
    """Their canonical form, with a control character where it shows what is each one's own: the name, then address and
    MAC of each interface. Where they are at rest the ledger has the same (`Binding.sealed`)."""
    needs: tuple[Ref, ...]
    """The networks and images that they need on their target."""

    def held(self, resource: Resource, had: Held, words: Values) -> Held | None:
        """The addresses of a machine in the order of its interfaces; None if it is none of those, or has others."""
        if resource.nics is not self.nics and resource.nics != self.nics:
            return None
        if resource.demand is not self.demand and resource.demand != self.demand:
            return None
        if tuple([words[each[0]] for each in had]) == self.networks:
            return had
        by_network = {words[each[0]]: each for each in had}
        found = [by_network[network] for network in self.networks if network in by_network]
        return found if len(found) == len(had) == len(self.networks) else None

    def form(self, ref: Ref, held: Held) -> bytes:
        """The canonical form of one of them."""
        form, place = self.bare.replace(PLACES[0], name_of(ref).encode()), 1
        for _, ip, mac, _ in held:
            form = form.replace(PLACES[place], ip.encode()).replace(PLACES[place + 1], mac.encode())
            place += 2
        return form


def taken(
    resource: Resource,
    shape: Shape,
    contexts: Contexts,
    needs: tuple[Ref, ...],
    kept: Callable[[bytes], bytes],
) -> Mould | None:
    """The mould of a machine's form; None if it is one that has none. `contexts`: for the machine under another name,
    with these addresses. `kept`: the object by which others know these bytes."""
    made_up = _made_up(resource.nics)
    if made_up is None or resource.parties or not shape.capability.plainly:
        return None
    networks, names, addresses, words = made_up
    ref = Ref(f"{resource.ref.rpartition('/')[0]}/{_NAME}")
    named = msgspec.structs.replace(resource, ref=ref)
    context = contexts(named, addresses)
    if _speaks(resource.body) or any([_speaks_still(each.body) for each in context.references.values()]):
        return None
    form = wanted_of(named, shape, context)
    if (form.get("nics") or {}).keys() != names or takes_of(form, resource.demand) != resource.demand:
        return None
    bare = canonical(form)
    for place, word in zip(PLACES, words, strict=False):
        bare = bare.replace(word, place)
    return Mould(resource.nics, resource.demand, networks, kept(bare), needs)


MadeUp = tuple[tuple[Ref, ...], frozenset[str], tuple[Address, ...], list[bytes]]


@lru_cache(maxsize=1024)
def _made_up(nics: tuple[NicWant, ...]) -> MadeUp | None:
    """Of interfaces that want one network each, all of other names: the networks, these names, an address on each, and
    what a form is to show of all that."""
    networks = tuple([nic.networks[0] for nic in nics if _plain(nic)])
    names = frozenset(map(name_of, networks))
    if len(names) != len(nics) or len(names) > _MOST:
        return None
    ends = enumerate(networks, _FIRST)
    addresses = tuple([Address(network, f"{_IP}.{end}", f"{_MAC}:{end}") for end, network in ends])
    words = [_NAMED, *[word.encode() for address in addresses for word in (address.ip, address.mac)]]
    return networks, names, addresses, words


def _speaks(body: bytes) -> bool:
    """Whether one of the made-up words occurs in it."""
    return _NAMED in body or _NUMBERED in body or _WIRED in body


_speaks_still = lru_cache(maxsize=1024)(_speaks)
"""Of what many machines refer to."""


def _plain(nic: NicWant) -> bool:
    return nic.ip is None and nic.mac is None and len(nic.networks) == 1
