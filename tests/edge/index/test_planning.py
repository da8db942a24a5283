"""A planner that was laid down and taken up plans as one from scratch does, or says that it cannot (I9)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.desired import Lineage, NodeWant
from reconciler.core.ledger import Entry, Ledger, Record
from reconciler.core.plan import to_json
from reconciler.core.planner import Planner, Request, make_plan
from reconciler.core.refs import Ref
from reconciler.core.world import World
from reconciler.edge.index import planning
from reconciler.edge.index.resources import write_resources
from reconciler.edge.index.shelves import Doubt, Reader, Writer
from tests.builders import NOW, SHAPES, GiB, desired, image, machine, network
from tests.properties.test_fold import Deed, Site, deeds


def again(planner: Planner, folder: Path) -> Planner:
    """The planner, laid down and taken up."""
    with Writer(folder / "index") as writer:
        writer.whole = planning.write(planner, writer)
        planning.write_bindings(planner.world.ledger.bindings, writer)
        assert planner.world.desired is not None
        write_resources(planner.world.resources, writer)
    reader = Reader(folder / "index")
    return planning.read(reader, msgspec.msgpack.decode(reader.whole, type=planning.Whole), SHAPES)


class Kept(Site):
    """Its planner was laid down after some deeds; the ledger that scratch starts from goes on beside it."""

    declared: dict[str, NodeWant] | None = None
    """The nodes of when it was laid down."""

    def lay_down(self, folder: Path) -> None:
        self.plan()
        self.planner = again(self.planner, folder)
        self.declared = dict(self.nodes)

    def tell(self, changed: set[Ref] | None) -> None:
        """As the source does: nodes that did not change are the very ones that were taken up."""
        fresh = desired(*self.wanted.values(), nodes=self.nodes.values(), policy=self.policy)
        self.told, world = fresh, self.planner.world
        if self.declared == self.nodes:
            fresh = msgspec.structs.replace(fresh, nodes=world.nodes)
        world.take_desired(fresh, changed)

    def remember(self, *entries: Entry) -> None:
        before = self.records
        super().remember(*entries)
        if self.planner.world.ledger is not self.ledger:
            for number, entry in enumerate(entries, before + 1):
                self.ledger.fold(Record(number, self.now, entry))


@settings(deadline=None)
@given(st.lists(deeds(), max_size=12), st.lists(deeds(), max_size=6))
def test_what_was_laid_down_goes_on_as_if_it_had_not_been(
    tmp_path_factory: pytest.TempPathFactory, before: list[Deed], after: list[Deed]
) -> None:
    site = Kept()
    for deed in before:
        deed(site)
    site.lay_down(tmp_path_factory.mktemp("index"))
    try:
        for deed in after:
            deed(site)
        found = site.plan()
    except Doubt:
        return
    assert to_json(found) == to_json(site.scratch())


USUAL: dict[str, Deed] = {
    "nothing": lambda site: None,
    "an edit": lambda site: site.want(machine("web", memory=3 * GiB)),
    "a new machine": lambda site: site.want(machine("new", memory=GiB, nics=("Network/acme/app",))),
    "one removed": lambda site: site.drop(Ref("Machine/acme/db")),
    "a network": lambda site: site.want(network(mtu=9000)),
    "an image": lambda site: site.want(image(content="2")),
    "drift": lambda site: (site.drift("edge1", "/memory", GiB), site.look("edge1")),
    "an apply": lambda site: (site.want(machine("web", memory=3 * GiB)), site.apply(9), site.look_all()),
    "a lost node": lambda site: site.look("edge1", complete=False, problem="cut short"),
}


@pytest.mark.parametrize("name", USUAL)
def test_the_usual_is_told_without_a_doubt(tmp_path: Path, name: str) -> None:
    site = Kept()
    site.lay_down(tmp_path)
    USUAL[name](site)
    assert to_json(site.plan()) == to_json(site.scratch())


def test_addresses_of_a_large_network_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "_MANY", 1)
    site = Kept()
    site.want(*(machine(f"m{number}", memory=GiB, nics=("Network/acme/app",)) for number in range(4)))
    site.apply(99)
    site.look_all()
    site.lay_down(tmp_path)
    site.drop(Ref("Machine/acme/m1"))
    site.want(machine("new", memory=GiB, nics=("Network/acme/app",)))
    found = site.plan()
    assert to_json(found) == to_json(site.scratch())
    assert len(found.changes) == 2


def test_no_table_of_the_core_is_forgotten() -> None:
    """Whatever a planner holds is laid down, or made anew from what is."""
    world = World(SHAPES)
    made_anew = {
        "shapes", "ledger", "desired", "resources", "sights", "reports", "holders", "pools", "rooms", "_stale_rooms",
        "coming", "_own", "bindings", "facts", "_glances", "_proofs", "_closures", "_referred", "_moulds", "timers",
        "unmanaged", "_at_most", "_open", "_alone", "_compress", "_closing", "_glimpsed",
    }  # fmt: skip
    for owner, shelves, short in (
        (world, planning.WORLD, planning._World),
        (world.sights, planning.SIGHTS, planning._Sights),
        (world.ledger, {}, planning.Brief),
    ):
        kept: set[str] = {*shelves, *msgspec.structs.asdict(short(*[None] * len(short.__struct_fields__)))}  # type: ignore[arg-type]
        assert vars(owner).keys() == kept | (made_anew & vars(owner).keys())
    assert vars(world.ledger.bindings).keys() == planning.BINDINGS.keys() | {"single", "words", "_open"}
    assert vars(world.facts).keys() == {"rows", "_words"}
    assert vars(world.rooms).keys() == {"by_target", "_order", "_loads", "_moved"}
    assert vars(Planner(SHAPES)).keys() == {"world", "pending", "untold", "_now", "_peak"}


def test_a_plan_from_an_index_reads_only_what_it_needs(tmp_path: Path) -> None:
    site = Kept()
    site.lay_down(tmp_path)
    site.want(machine("web", memory=3 * GiB))
    site.plan()
    read: Any = dict.__len__
    assert read(site.planner.world.ledger.bindings.single) < len(site.ledger.bindings.single)


def test_scratch_is_what_the_property_compares_with() -> None:
    site = Kept()
    assert site.told is not None
    made = make_plan(site.told, site.reports.values(), Ledger(), SHAPES, Request(now=NOW, lineage=Lineage()))
    assert to_json(made) != to_json(site.scratch())
