"""The form of machines that are alike: made once, then filled with the name and the addresses of each.

Owns: taking a form with made-up words, and what follows from it for all machines of that form.
Must not go here: keeping moulds (known), whether a machine is at rest (resting).

A form is made by the driver's Shape, which may put anything in it. So moulds are taken only of drivers that promise to
show a machine's name and addresses just as they stand (`Capability.plainly`), and with words that occur in nothing else
of which the form is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from reconciler.core.binding import PLACES, Address
from reconciler.core.compare import takes_of, wanted_of
from reconciler.core.desired import NicWant, Resource
from reconciler.core.facts import Kind
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


class Pattern(msgspec.Struct, frozen=True):
    """What machines have in common that refer to the same and want the same interfaces and room, and how a form of
    theirs is asked for. Their interfaces want one network each, and name no address."""

    nics: tuple[NicWant, ...]
    networks: tuple[Ref, ...]
    names: frozenset[str]
    """Of these networks."""
    kind: Kind
    """With the networks in order of their refs."""
    order: tuple[int, ...]
    """Their places among the interfaces."""
    words: tuple[bytes, ...]
    """What a form shows of a made-up name, and of an address and a MAC on each interface."""
    context: NativeContext
    """With these addresses."""


class Mould(msgspec.Struct, frozen=True):
    """What machines alike have in common."""

    pattern: Pattern
    bare: bytes
    """Their canonical form, with a control character where it shows what is each one's own: the name, then address and
    MAC of each interface. Where they are at rest the ledger has the same (`Binding.sealed`)."""

    def held(self, resource: Resource, had: Held, words: Values) -> Held | None:
        """The addresses of a machine in the order of its interfaces; None if it is none of those, or has others."""
        pattern = self.pattern
        if resource.nics is not pattern.nics and resource.nics != pattern.nics:
            return None
        if resource.demand is not pattern.kind.demand and resource.demand != pattern.kind.demand:
            return None
        if tuple([words[each[0]] for each in had]) == pattern.networks:
            return had
        by_network = {words[each[0]]: each for each in had}
        found = [by_network[network] for network in pattern.networks if network in by_network]
        return found if len(found) == len(had) == len(pattern.networks) else None

    def form(self, ref: Ref, held: Held) -> bytes:
        """The canonical form of one of them."""
        form, place = self.bare.replace(PLACES[0], name_of(ref).encode()), 1
        for _, ip, mac, _ in held:
            form = form.replace(PLACES[place], ip.encode()).replace(PLACES[place + 1], mac.encode())
            place += 2
        return form


def pattern(resource: Resource, contexts: Contexts, needs: tuple[Ref, ...]) -> Pattern | None:
    """That of a machine; None if it is one of no mould. `contexts`: for such a machine with these addresses. `needs`:
    the networks and images that it needs on its target."""
    networks = tuple([nic.networks[0] for nic in resource.nics if _plain(nic)])
    names = frozenset(map(name_of, networks))
    if len(names) != len(resource.nics) or len(names) > _MOST or resource.parties:
        return None
    ends = enumerate(networks, _FIRST)
    addresses = tuple([Address(network, f"{_IP}.{end}", f"{_MAC}:{end}") for end, network in ends])
    context = contexts(resource, addresses)
    if any([_speaks(each.body) for each in context.references.values()]):
        return None
    order = tuple(sorted(range(len(networks)), key=networks.__getitem__))
    kind = Kind(resource.demand, tuple([networks[place] for place in order]), needs)
    words = (_NAMED, *[word.encode() for address in addresses for word in (address.ip, address.mac)])
    return Pattern(resource.nics, networks, names, kind, order, words, context)


def taken(resource: Resource, shape: Shape, pattern: Pattern, kept: Callable[[bytes], bytes]) -> Mould | None:
    """The mould of the form of a machine of this pattern; None if it is one that has none. `kept`: the object by which
    others know these bytes."""
    if _speaks(resource.body) or not shape.capability.plainly:
        return None
    named = msgspec.structs.replace(resource, ref=Ref(f"{resource.ref.rpartition('/')[0]}/{_NAME}"))
    form = wanted_of(named, shape, pattern.context)
    if (form.get("nics") or {}).keys() != pattern.names or takes_of(form, resource.demand) != resource.demand:
        return None
    bare = canonical(form)
    for place, word in zip(PLACES, pattern.words, strict=False):
        bare = bare.replace(word, place)
    return Mould(pattern, kept(bare))


def _speaks(body: bytes) -> bool:
    """Whether one of the made-up words occurs in it."""
    return _NAMED in body or _NUMBERED in body or _WIRED in body


def _plain(nic: NicWant) -> bool:
    return nic.ip is None and nic.mac is None and len(nic.networks) == 1
