"""Planning as a fold: whatever happens, in whatever order it is told, the plan is the one made from scratch (I9)."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import combinations, permutations
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.addresses import several
from reconciler.core.blocks import Unpacked
from reconciler.core.desired import FIRST, Affinity, Behaviour, Constraints, Desired, Drain, Lineage, Policy, Resource
from reconciler.core.glimpse import Glimpse
from reconciler.core.ledger import Accepted, Claimed, Entry, Held, Ledger, Paused, Record, Resumed
from reconciler.core.observed import Object, Report, Told
from reconciler.core.plan import to_json
from reconciler.core.planner import Planner, Request, make_plan
from reconciler.core.refs import Ref, Target, Uid, node_of
from reconciler.core.resting import LOOSE, glimpsed
from reconciler.core.values import canonical, digest, plain, replaced
from reconciler.core.world import World
from reconciler.testing.rehearsal import drained
from tests.builders import NOW, SHAPES, Fleet, GiB, desired, image, machine, network, resource, volume
from tests.properties.life import nodes_of

NAMES = ("web", "web-1", "web-2", "db", "cache", "job")
TARGETS = ("edge1", "inc/a", "inc/b")
NODES = ("edge1", "inc")
Spelling = Callable[[Object], bytes]
"""How an object is written in JSON."""
DRAINS = (None, Drain("move", "new fans"), Drain("stop", "power"))


def _spaced(found: Object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(found), indent=1)


def _unread(report: Report, spelling: Spelling) -> Told:
    return Told.of(msgspec.structs.replace(report, objects=()), tuple(map(spelling, report.objects)))


class Site:
    """What is wanted, seen and remembered, with a planner that is told of every change as it comes."""

    def __init__(self) -> None:
        self.now = NOW
        self.nodes = nodes_of(TARGETS)
        self.policy = Policy()
        self.wanted: dict[Ref, Resource] = {each.ref: each for each in (image(), network(), network("db"))}
        self.fleet = Fleet(*TARGETS)
        self.reports: dict[Target, Report] = {}
        self.records = 0
        self.ledger = Ledger()
        self.planner = Planner(SHAPES, self.ledger, open_at_most=1)
        self.told: Desired | None = None
        self.tell(set(self.wanted))
        self.look_all()
        for name in ("web", "db", "job"):
            self.want(machine(name, memory=2 * GiB))
        self.apply(99)
        self.look_all()

    # -- deeds, each told to the planner by itself

    def tell(self, changed: set[Ref] | None) -> None:
        fresh = desired(*self.wanted.values(), nodes=self.nodes.values(), policy=self.policy)
        self.planner.world.take_desired(fresh, changed)
        self.told = fresh

    def want(self, *resources: Resource) -> None:
        for one in resources:
            self.wanted[one.ref] = one
        self.tell({one.ref for one in resources})

    def drop(self, ref: Ref) -> None:
        """What something refers to cannot go: the loader would say so."""
        used = any(ref in one.references for one in self.wanted.values())
        if not used and self.wanted.pop(ref, None) is not None:
            self.tell({ref})

    def drop_node(self, name: str) -> None:
        """Its Node document is removed; nobody asks it any more."""
        if self.nodes.pop(name, None) is not None:
            self.tell(set())
            for target in (target for target in TARGETS if node_of(target) == name):
                self.reports.pop(Target(target), None)
                self.planner.world.drop_report(Target(target))

    def add_node(self, name: str) -> None:
        self.nodes.setdefault(name, nodes_of(TARGETS)[name])
        self.tell(set())
        self.look_all()

    def drain(self, target: str, drain: Drain | None) -> None:
        if node_of(target) in self.nodes:
            self.nodes[node_of(target)] = drained(self.nodes[node_of(target)], target, drain)
            self.tell(set())

    def set_node(self, name: str, **fields: Any) -> None:
        if name in self.nodes:
            self.nodes[name] = msgspec.structs.replace(self.nodes[name], **fields)
            self.tell(set())

    def look(self, target: str, **more: Any) -> None:
        if node_of(target) not in self.nodes:
            return
        found = next(each for each in self.fleet.reports() if each.target == target)
        found = msgspec.structs.replace(found, began=self.records, **more)
        found = msgspec.structs.replace(found, digest=digest([found.digest, sorted(more)]))
        self.reports[found.target] = found
        self.planner.take_report(found)

    def rule(self, policy: Policy) -> None:
        self.policy = policy
        self.tell(set())

    def look_all(self) -> None:
        for target in TARGETS:
            self.look(target)

    def remember(self, *entries: Entry) -> None:
        for entry in entries:
            self.records += 1
            self.planner.world.take_record(Record(self.records, self.now, entry))

    def apply(self, count: int) -> None:
        """Carry out the first changes of the plan; the nodes are not looked at."""
        plan = self.plan()
        self.fleet.records.clear()
        self.fleet.journal(*plan.entries)
        for change in plan.changes[:count]:
            try:
                self.fleet.take(change, now=self.now)
            except AssertionError:
                continue
        self.remember(*(record.entry for record in self.fleet.records))

    def drift(self, target: str, path: str, value: Any) -> None:
        here = self.fleet.objects[Target(target)]
        for key in sorted(here)[:1]:
            fields = replaced(here[key].fields, path, value)
            found = msgspec.structs.replace(here[key], fields=fields, digest="")
            here[key] = msgspec.structs.replace(found, digest=digest(msgspec.to_builtins(found)))

    def lose(self, target: str) -> None:
        here = self.fleet.objects[Target(target)]
        for key in sorted(here)[:1]:
            del here[key]

    # -- what it comes to

    def request(self) -> Request:
        return Request(now=self.now, lineage=Lineage(accepted=True))

    def plan(self) -> Any:
        return self.planner.plan(self.request())

    def scratch(self) -> Any:
        assert self.told is not None
        return make_plan(self.told, self.reports.values(), self.ledger, SHAPES, self.request())


Deed = Callable[[Site], object]


def machines() -> st.SearchStrategy[Resource]:
    def make(name: str, memory: int, nics: tuple[str, ...], more: dict[str, Any]) -> Resource:
        return machine(name, memory=memory * GiB, nics=nics, **more)

    more = st.fixed_dictionaries(
        {},
        optional={
            "protected": st.booleans(),
            "mounts": st.just(("Volume/acme/shop",)),
            "behaviour": st.builds(
                Behaviour,
                drift=st.sampled_from([None, "heal"]),
                renamed_from=st.sampled_from([None, FIRST, Ref("Machine/acme/web"), Ref("Machine/acme/web-1")]),
            ),
            "constraints": st.builds(
                Constraints,
                node=st.sampled_from([None, "edge1", "inc/a", "inc"]),
                spread=st.sampled_from([None, Affinity((Ref("Machine/acme/db"), Ref("Machine/acme/job")), hard=True)]),
            ),
        },
    )
    nics = st.sampled_from([(), ("Network/acme/app",), ("Network/acme/app", "Network/acme/db")])
    return st.builds(make, st.sampled_from(NAMES), st.integers(1, 40), nics, more)


def guarded(name: str) -> Resource:
    """The network `db` with a firewall that tells of a machine's addresses."""
    who = Ref(f"Machine/acme/{name}")
    bare = network("db")
    body = {**plain(bare.body), "firewall": [{"from": [who], "to": None, "allow": ["any"]}]}
    return resource(bare.ref, body, network=bare.network, parties=(who,))


def deeds() -> st.SearchStrategy[Deed]:
    names = st.sampled_from([Ref(f"Machine/acme/{name}") for name in NAMES])
    targets, nodes = st.sampled_from(TARGETS), st.sampled_from(NODES)
    return st.one_of(
        st.builds(lambda one: lambda site: site.want(network("db"), volume(), one), machines()),
        st.builds(lambda one: lambda site: site.want(network("db"), volume(), one), machines()),
        st.builds(lambda ref: lambda site: site.drop(ref), names),
        st.builds(lambda size: lambda site: site.want(volume(size=size * GiB)), st.integers(1, 3)),
        st.just(lambda site: site.drop(Ref("Volume/acme/shop"))),
        st.builds(lambda count: lambda site: site.apply(count), st.integers(1, 9)),
        st.just(lambda site: (site.apply(99), site.look_all())),
        st.builds(lambda target: lambda site: site.look(target), targets),
        st.builds(lambda target: lambda site: site.look(target), targets),
        st.builds(lambda target: lambda site: site.look(target, complete=False, problem="cut short"), targets),
        st.builds(lambda target: lambda site: site.look(target, identity=None, problem="no answer"), targets),
        st.builds(
            lambda target, value: lambda site: site.drift(target, "/memory", value * GiB), targets, st.integers(1, 3)
        ),
        st.builds(lambda target: lambda site: site.lose(target), targets),
        st.builds(lambda on, why: lambda site: site.set_node(on, cordon=why), nodes, st.sampled_from([None, "?"])),
        st.builds(lambda target, how: lambda site: site.drain(target, how), targets, st.sampled_from(DRAINS)),
        st.builds(lambda target, how: lambda site: site.drain(target, how), targets, st.sampled_from(DRAINS)),
        st.builds(lambda mtu: lambda site: site.want(network(mtu=mtu)), st.sampled_from([1500, 9000])),
        st.builds(lambda low: lambda site: site.want(network(first=low)), st.sampled_from(["10.0.1.20", "10.0.1.40"])),
        st.builds(lambda content: lambda site: site.want(image(content=content)), st.sampled_from(["1", "2"])),
        st.just(lambda site: site.drop(Ref("Network/acme/db"))),
        st.just(lambda site: site.want(network("db"))),
        st.builds(lambda name: lambda site: site.want(guarded(name)), st.sampled_from(["web", "db", "job"])),
        st.builds(lambda ref: lambda site: site.remember(Paused(ref, site.now + 50, "rest")), names),
        st.builds(lambda ref: lambda site: site.remember(Resumed(ref)), names),
        st.builds(lambda ref: lambda site: site.remember(Held(ref, "mine", "")), names),
        st.just(lambda site: site.remember(Accepted("x"))),
        st.builds(lambda more: lambda site: setattr(site, "now", site.now + more), st.sampled_from([10.0, 700_000.0])),
        st.builds(lambda name: lambda site: site.drop_node(name), nodes),
        st.builds(lambda name: lambda site: site.add_node(name), nodes),
        st.builds(
            lambda share: lambda site: site.rule(Policy(reserve={"memory": share})), st.sampled_from([0.0, 0.9])
        ),
        st.builds(
            lambda target, identity: lambda site: site.remember(Claimed(Target(target), identity)),
            targets, st.sampled_from(["guid-edge1", "another"]),
        ),
        st.just(lambda site: site.plan()),
    )  # fmt: skip


@settings(deadline=None)
@given(st.lists(deeds(), max_size=25))
def test_a_plan_by_and_by_is_the_plan_from_scratch(happened: list[Deed]) -> None:
    site = Site()
    for deed in happened:
        deed(site)
    assert to_json(site.plan()) == to_json(site.scratch())


@settings(deadline=None)
@given(st.lists(deeds(), max_size=15))
def test_planning_after_every_deed_changes_nothing(happened: list[Deed]) -> None:
    site = Site()
    for deed in happened:
        deed(site)
        site.plan()
    assert to_json(site.plan()) == to_json(site.scratch())


@settings(deadline=None)
@given(st.lists(deeds(), max_size=15))
def test_the_order_of_reports_changes_nothing(happened: list[Deed]) -> None:
    site = Site()
    for deed in happened:
        deed(site)
    assert site.told is not None
    forward = make_plan(site.told, site.reports.values(), site.ledger, SHAPES, site.request())
    backward = make_plan(site.told, list(site.reports.values())[::-1], site.ledger, SHAPES, site.request())
    assert to_json(forward) == to_json(backward)


Tampering = Callable[[dict[Target, Report]], object]


def tamperings() -> st.SearchStrategy[Tampering]:
    """What somebody did to what nodes show: things doubled, renamed, given to others, put away, cut short."""
    targets = st.sampled_from([Target(name) for name in TARGETS])
    refs = st.sampled_from([Ref(f"Machine/acme/{name}") for name in NAMES])
    marks = st.fixed_dictionaries(
        {},
        optional={
            "ref": refs,
            "datacenter": st.just("another"),
            "uid": st.sampled_from([Uid("00000000-0000-0000-0000-00000000000a"), Uid("x")]),
            "quarantined_until": st.just(NOW + 60),
            "protected": st.booleans(),
        },
    )
    return st.one_of(
        st.builds(lambda source, to, more: lambda seen: _doubled(seen, source, to, more), targets, targets, marks),
        st.builds(lambda target, more: lambda seen: _told(seen, target, **more), targets, st.sampled_from([
            {"complete": False, "problem": "cut short"}, {"identity": None, "problem": "no answer"}, {"claim": None},
            {"cannot": {"vm": "no room"}},
        ])),
    )  # fmt: skip


def _doubled(seen: dict[Target, Report], source: Target, to: Target, more: dict[str, Any]) -> None:
    """Things of one target are on the other too, under other marks."""
    if source in seen and to in seen:
        copies = tuple(
            msgspec.structs.replace(each, native_id=f"{each.native_id}-2", marks=msgspec.structs.replace(marks, **more))
            for each in seen[source].objects
            if (marks := each.marks) is not None and each.kind == "Machine"
        )
        _told(seen, to, objects=(*seen[to].objects, *copies))


def _told(seen: dict[Target, Report], target: Target, **more: Any) -> None:
    if target in seen:
        seen[target] = msgspec.structs.replace(seen[target], **more)


@settings(deadline=None)
@given(
    st.lists(deeds(), max_size=12),
    st.lists(tamperings(), max_size=4),
    st.permutations(TARGETS),
    st.sets(st.sampled_from(TARGETS)),
    st.dictionaries(st.sampled_from(TARGETS), st.sampled_from([canonical, msgspec.json.encode, _spaced])),
)
def test_what_others_looked_at_gives_the_same_plan(
    happened: list[Deed], tampered: list[Tampering], order: list[str], away: set[str], unread: dict[str, Spelling]
) -> None:
    site = Site()
    for deed in happened:
        deed(site)
    seen = dict(site.reports)
    for tampering in tampered:
        tampering(seen)
    _as_from_scratch(site, seen, order, away, unread)


@pytest.mark.parametrize("order", list(permutations(TARGETS)))
@pytest.mark.parametrize("more", [{}, {"ref": Ref("Machine/acme/new")}, {"datacenter": "another"}, {"uid": Uid("x")}])
def test_who_is_there_twice_is_not_at_rest_whoever_looked(order: tuple[str, ...], more: dict[str, Any]) -> None:
    site = Site()
    seen = dict(site.reports)
    assert {target for target, report in seen.items() if _glimpse(site, report).resting is not None} == set(TARGETS)
    for report in seen.values():
        told = _glimpse(site, _unread(report, canonical))
        assert msgspec.structs.replace(told, whole=b"") == msgspec.structs.replace(_glimpse(site, report), whole=b"")
        assert Unpacked(told.whole).objects == report.objects
        assert _glimpse(site, _unread(report, _spaced)) == Glimpse(report, None)
    _doubled(seen, Target("edge1"), Target("inc/a"), more)
    for count in range(len(TARGETS) + 1):
        for away in combinations(TARGETS, count):
            _as_from_scratch(site, dict(seen), order, away)


def _glimpse(site: Site, report: Report | Told, loose: int = LOOSE) -> Glimpse:
    """As another process makes it, over a pipe."""
    assert site.told is not None
    there = Planner(SHAPES, site.ledger)
    there.world.take_desired(site.told)
    return msgspec.msgpack.decode(msgspec.msgpack.encode(glimpsed(there.world, report, loose=loose)), type=Glimpse)


def _as_from_scratch(
    site: Site,
    seen: dict[Target, Report],
    order: Sequence[str],
    away: Collection[str],
    unread: Mapping[str, Spelling] = {},
) -> None:
    """Taken in this order, those that are `away` as glimpses, and some with `unread` objects that are spelled so; and
    then looked at once more, something gone."""
    assert site.told is not None
    here = Planner(SHAPES, site.ledger)
    here.world.take_desired(site.told)
    for target in [Target(name) for name in order if name in seen]:
        told = _unread(seen[target], unread[target]) if target in unread else seen[target]
        if target in away:
            here.take_glimpse(_glimpse(site, told, loose=LOOSE if target.startswith("edge") else 0))
        else:
            here.take_report(told)
    whole = make_plan(site.told, seen.values(), site.ledger, SHAPES, site.request())
    assert to_json(here.plan(site.request())) == to_json(whole)
    _same_tables(here.world, _at_length(site, seen.values()))
    packed, loose = here.world.sights.blocks()
    assert not packed.keys() & loose.keys()
    blocks = {target: zlib.decompress(data) for target, data in packed.items()} | dict(loose)
    assert {at: Unpacked(data).objects for at, data in blocks.items()} == {at: one.objects for at, one in seen.items()}
    for target, report in seen.items():
        assert here.world.sights.objects(target) == report.objects
        less = msgspec.structs.replace(report, digest=f"{report.digest}-2", objects=report.objects[1:])
        here.take_report(_unread(less, unread[target]) if target in unread else less)
        seen[target] = less
    whole = make_plan(site.told, seen.values(), site.ledger, SHAPES, site.request())
    assert to_json(here.plan(site.request())) == to_json(whole)


def _at_length(site: Site, reports: Iterable[Report]) -> World:
    """Nothing was told quickly: each machine's facts are made of all that is known of it."""
    assert site.told is not None
    world = World(SHAPES, site.ledger)
    world.take_desired(site.told)
    for report in reports:
        world.take_report(report)
    world.refresh()
    return world


def _same_tables(one: World, other: World) -> None:
    """What machines take from the world is the same, and so is what follows from it for others."""
    assert _tables(one) == _tables(other)


def _tables(world: World) -> list[Any]:
    """In no order that means anything, and without what is empty."""
    holders = [
        (network, number, holder)
        for network, found in world.holders.items()
        for number, known in found.by_number.items()
        for holder in several(known)
    ]
    return [
        dict(world.facts),
        {target: refs for target, refs in world.homes.items() if refs},
        {ref: counts for ref, counts in world.needs.items() if counts},
        sorted(holders),
        world.rooms.by_target,
        world.taken,
        {number: sorted(several(refs)) for number, refs in world.sights._bearers.items()},
        {ref: sorted(places) for ref, places in world.sights._places.items()},
        world.sights._owners,
    ]
