"""A planner laid down in tables, and taken up again so that it looks up only what it is asked about.

Owns: which tables of the core go to disk, and as what. Must not go here: what they mean (core), the file (shelves).

Nothing of the core knows of this: it gets its own tables, some of which are shelves. What is as large as the fleet is a
shelf; what is short is kept whole; what follows from the rest is made anew. A walk through a shelf is a Doubt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from reconciler.core import bindings as binding_rows
from reconciler.core import facts as fact_rows
from reconciler.core.addresses import Holders, Pool
from reconciler.core.bindings import Bindings
from reconciler.core.desired import Demand, Desired, Drain, NodeWant, Policy, Revision
from reconciler.core.known import Taken
from reconciler.core.ledger import Binding, Ledger
from reconciler.core.observed import Report
from reconciler.core.placement import Room, Rooms
from reconciler.core.planner import Planner
from reconciler.core.refs import Ref, Target
from reconciler.core.shape import Shape
from reconciler.core.sights import Strangers
from reconciler.core.standing import Standing
from reconciler.core.timers import Timer, Timers
from reconciler.core.world import World
from reconciler.edge.checkpoint import Brief, word_of
from reconciler.edge.index.resources import resources_of
from reconciler.edge.index.shelves import Reader, Shelf, Tables

WORLD = {
    "nodes": NodeWant, "targets": NodeWant, "standings": Standing, "homes": dict[Ref, None],
    "needs": dict[Target, int], "_alike": dict[Ref, None], "_combinations": dict[tuple[Ref, ...], None],
}  # fmt: skip
SIGHTS = {
    "reports": Report, "_packed": bytes, "_loose": bytes, "_places": tuple[Target, ...], "_spread": dict[Target, None],
    "_bearers": Ref | tuple[Ref, ...], "_owners": dict[str, int],
}  # fmt: skip
BINDINGS = {"each": Binding, "spread": dict[Target, None], "past": int}
"""Tables that go to shelves, by the name of their attribute, with the kind of their values."""

_MANY = 1_000
"""Addresses of one network that are kept together; of a larger one each is an entry of its own."""
_FAR = 1 << 63
"""Numbers from which the packing has none."""


class _World(msgspec.Struct):
    troubled: dict[Target, str]
    unclaimed: set[Target]
    unlisted: set[Target]
    abandoned: set[Target]
    _generations: dict[int, int]
    _taken: dict[str, Taken] | None
    drains: dict[Target, Drain]
    renames: dict[Ref, set[Ref]]
    watchers: dict[Ref, set[Ref]]
    waiting: dict[Target, set[Ref]]
    dirty: set[Ref]
    dirty_at: dict[Target, set[Ref]]
    _now: float


class _Sights(msgspec.Struct):
    strangers: dict[Target, Strangers]
    _owned: dict[str, int]


class Whole(msgspec.Struct):
    """What is read back at once."""

    datacenter: str
    datacenter_id: str
    revision: Revision
    policy: Policy
    now: float
    undecided: list[tuple[Ref, Target | str]]
    """What was not at rest, or not remembered: it is decided again."""
    world: _World
    sights: _Sights
    ledger: Brief
    """Of outages only those that have not ended: no plan asks how long others were."""
    unmanaged: dict[Target, tuple[int, int, int]]
    order: list[tuple[float, Target]]
    """Targets by their load."""
    timers: list[Timer]


class _Holders(msgspec.Struct, array_like=True):
    """Addresses may be numbers beyond what the packing knows: those are written as text, to the base 16."""

    freed: str
    cursor: str | None
    count: int
    numbers: dict[int | str, Ref | tuple[Ref, ...]] | None


# -- laying down -----------------------------------------------------------------------------------------------------


def write(planner: Planner, writer: Tables) -> Whole:
    """Lay down its tables but the resources and bindings; what is to be kept whole is returned. Raises OSError."""
    world = planner.world
    desired, sights, ledger, rooms = world.desired, world.sights, world.ledger, world.rooms
    bindings = ledger.bindings
    assert desired is not None, "a planner that has planned has a revision"
    next(rooms.by_load(), None)  # in order
    if desired.policy.limits:
        _ = world.taken  # it is counted once somebody asks
    for name, owner, kinds in (("world", world, WORLD), ("sights", sights, SIGHTS)):
        for table in kinds:
            if table not in ("_packed", "_loose"):
                short = table in ("_places", "_bearers")
                writer.table(f"{name}.{table}", getattr(owner, table), short=short)
    writer.table("world.facts", world.facts.rows, short=True)
    writer.table("words", dict(enumerate(bindings.words.values)))
    writer.table("rooms", rooms.by_target)
    _write_holders(world, writer)
    packed, loose = sights.blocks()
    writer.long("sights._packed", packed)
    writer.long("sights._loose", loose)
    return Whole(
        desired.datacenter, desired.datacenter_id, desired.revision, desired.policy, planner._now,
        sorted({*planner.pending, *planner.untold}),
        _taken(_World, world), _taken(_Sights, sights), _remembered(ledger),
        {target: (took.memory, took.cpu, took.disk) for target, took in sights.unmanaged.items()
         if took.memory or took.cpu or took.disk},
        rooms._order, world.timers.entries,
    )  # fmt: skip


def write_bindings(bindings: Bindings, writer: Tables) -> None:
    """Theirs, but for the words, of which whoever wrote them may have more meanwhile. Raises OSError."""
    for table in BINDINGS:
        writer.table(f"bindings.{table}", getattr(bindings, table))
    writer.table("bindings.single", bindings.single, short=True)


def _taken(kind: type[Any], owner: object) -> Any:
    return kind(*(getattr(owner, name) for name in kind.__struct_fields__))


def _remembered(ledger: Ledger) -> Brief:
    found = Brief.of(ledger)
    found.outages = msgspec.structs.replace(ledger.outages, last={})
    return found


def _write_holders(world: World, writer: Tables) -> None:
    """Of a large network the next free address is looked for now, so that nobody has to walk there again."""

    def laid(network: Ref) -> _Holders:
        found, pool = world.holders[network], world.pools.get(network)
        few = len(found.by_number) <= _MANY
        if pool is not None and not few:
            pool.lowest()
        cursor = f"{pool.cursor:x}" if pool is not None else None
        numbers = {_told(number): holder for number, holder in found.by_number.items()} if few else None
        return _Holders(f"{found.freed:x}", cursor, len(found.by_number), numbers)

    writer.table("holders", world.holders, laid, block=1)
    large = {network: found.by_number for network, found in world.holders.items() if len(found.by_number) > _MANY}
    many = {(network, f"{number:x}"): number for network, numbers in large.items() for number in numbers}
    writer.table("numbers", many, lambda key: large[key[0]][many[key]])


def _told(number: int) -> int | str:
    return number if number < _FAR else f"{number:x}"


def _number(told: int | str) -> int:
    return told if isinstance(told, int) else int(told, 16)


# -- taking up -------------------------------------------------------------------------------------------------------


def read(reader: Reader, whole: Whole, shapes: Mapping[str, Shape]) -> Planner:
    """The planner as it stood. Raises Doubt."""
    planner = Planner(shapes)
    planner._now = whole.now
    world, sights, ledger = planner.world, planner.world.sights, planner.world.ledger
    bindings = ledger.bindings
    for name, owner, kinds in (("world", world, WORLD), ("sights", sights, SIGHTS), ("bindings", bindings, BINDINGS)):
        for table, kind in kinds.items():
            setattr(owner, table, Shelf.of(reader, f"{name}.{table}", kind))
    words = _words_of(reader)
    facts: Shelf[Ref, bytes] = Shelf.of(reader, "world.facts", bytes)
    single: Shelf[Ref, bytes] = Shelf.of(reader, "bindings.single", bytes)
    # the numbers in these rows are of the words that were laid down; here they get others
    world.facts.rows = Shelf(lambda ref: world.facts.packed(fact_rows.opened(facts[ref], words)), len(facts))
    bindings.single = Shelf(lambda ref: bindings.packed(binding_rows.opened(ref, single[ref], words)), len(single))
    world.resources = resources_of(reader)
    world.reports = sights.reports
    shorts: tuple[tuple[Any, Any], ...] = ((world, whole.world), (sights, whole.sights))
    for owner, found in shorts:
        for name in found.__struct_fields__:
            setattr(owner, name, getattr(found, name))
    sights.unmanaged = {target: Demand(*took) for target, took in whole.unmanaged.items()}
    whole.ledger.tell(ledger)
    world.timers = Timers(whole.timers)
    world.rooms = rooms = Rooms(())
    rooms.by_target, rooms._order = Shelf.of(reader, "rooms", Room), whole.order
    rooms._loads = {target: load for load, target in whole.order}
    _read_holders(world, reader)
    world.desired = Desired(
        whole.datacenter, whole.datacenter_id, whole.revision, whole.policy, world.nodes, world.resources
    )
    for ref, target in whole.undecided:
        if target:
            world.dirty_at.setdefault(Target(target), set()).add(ref)
        else:
            world.dirty.add(ref)
    return planner


def _words_of(reader: Reader) -> Shelf[int, Any]:
    """What the rows of bindings and facts have in common and name by number: texts, bytes, tuples and demands."""
    laid: Shelf[int, Any] = Shelf.of(reader, "words", Any)
    return Shelf(lambda number: word_of(laid[number]), len(laid))


def _read_holders(world: World, reader: Reader) -> None:
    known: Shelf[Ref, _Holders] = Shelf.of(reader, "holders", _Holders)

    def holders(network: Ref) -> Holders:
        found, made = known[network], Holders()
        made.freed = int(found.freed, 16)
        if found.numbers is not None:
            made.by_number = {_number(told): holder for told, holder in found.numbers.items()}
        else:
            numbers: Shelf[tuple[Ref, str], Any] = Shelf.of(reader, "numbers", Ref | tuple[Ref, ...])
            made.by_number = Shelf(lambda number: numbers[network, f"{number:x}"], found.count)
        return made

    def pool(network: Ref) -> Pool:
        resource, cursor = world.resources[network], known[network].cursor
        if resource.network is None or cursor is None:
            raise KeyError(network)
        made = Pool(resource.network, world.holders[network])
        made.cursor = int(cursor, 16)
        return made

    world.holders = Shelf(holders, len(known))
    world.pools = Shelf(pool, len(known))
