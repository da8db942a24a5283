"""The form of machines that are alike: made once, then filled with the name and the addresses of each.

Owns: taking a form with made-up words, and what follows from it for all machines of that form.
Must not go here: keeping moulds (known), whether a machine is at rest (resting).

A form is made by the driver's Shape, which may put anything in it. So moulds are taken only of drivers that promise to
show a machine's name and addresses just as they stand (`Capability.plainly`), and with words that occur in nothing else
of which the form is made.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from reconciler.core.binding import Address, bare, pairs
from reconciler.core.compare import takes_of, wanted_of
from reconciler.core.desired import Demand, NicWant, Resource
from reconciler.core.refs import Ref, kind_of, make_ref, name_of, tenant_of
from reconciler.core.shape import NativeContext, Shape
from reconciler.core.values import canonical

Contexts = Callable[[Resource, tuple[Address, ...]], NativeContext]

_NAME, _IP, _MAC = "mould-q7x", "192.0.2", "02:5e:10:00:01"
"""The made-up words: of an address and a MAC all but the end."""
_WORDS = (_NAME.encode(), _IP.encode(), _MAC.encode())
_PLACES = [bytes((place,)) for place in range(32)]
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

    def addresses(self, resource: Resource, had: tuple[Address, ...]) -> tuple[Address, ...] | None:
        """The addresses of a machine in the order of its interfaces; None if it is none of those, or has others."""
        if resource.nics != self.nics or resource.demand != self.demand or len(had) != len(self.networks):
            return None
        if tuple([address.network for address in had]) == self.networks:
            return had
        held = {address.network: address for address in had}
        found = tuple([held[network] for network in self.networks if network in held])
        return found if len(found) == len(had) else None

    def form(self, ref: Ref, addresses: tuple[Address, ...]) -> bytes:
        """The canonical form of one of them."""
        form, place = self.bare.replace(_PLACES[0], name_of(ref).encode()), 1
        for address in addresses:
            form = form.replace(_PLACES[place], address.ip.encode())
            form = form.replace(_PLACES[place + 1], address.mac.encode())
            place += 2
        return form


def taken(resource: Resource, shape: Shape, contexts: Contexts, needs: tuple[Ref, ...]) -> Mould | None:
    """The mould of a machine's form; None if it is one that has none. `contexts`: for the machine under another name,
    with these addresses."""
    networks = tuple([nic.networks[0] for nic in resource.nics if _plain(nic)])
    names = {name_of(network) for network in networks}
    if len(names) != len(resource.nics) or len(names) > _MOST or resource.parties or not shape.capability.plainly:
        return None
    ref = make_ref(kind_of(resource.ref), _NAME, tenant_of(resource.ref))
    ends = enumerate(networks, _FIRST)
    addresses = tuple([Address(network, f"{_IP}.{end}", f"{_MAC}:{end}") for end, network in ends])
    named = msgspec.structs.replace(resource, ref=ref)
    context = contexts(named, addresses)
    if any(word in each.body for each in (resource, *context.references.values()) for word in _WORDS):
        return None
    form = wanted_of(named, shape, context)
    if set(form.get("nics") or ()) != names or takes_of(form, resource.demand) != resource.demand:
        return None
    return Mould(resource.nics, resource.demand, networks, bare(canonical(form), ref, pairs(addresses)), needs)


def _plain(nic: NicWant) -> bool:
    return nic.ip is None and nic.mac is None and len(nic.networks) == 1
