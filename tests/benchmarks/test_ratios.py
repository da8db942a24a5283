"""What a change costs follows the change: ratios at small sizes, with slack enough not to flake.

Not times but ratios of work done in turn in one process, the best of several rounds: what else the machine does can
only make a round slower. What a fresh command looks at is counted. The published figures are `make bench`'s.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from reconciler.cli.main import main
from reconciler.core.desired import Desired, Resource
from reconciler.core.planner import Planner
from reconciler.core.refs import Ref
from reconciler.edge.index.shelves import Reader
from tests.benchmarks import fleets
from tests.builders import NOW, SHAPES, Fleet, GiB, desired, image, machine, network, node, request

SMALL, LARGE = 400, 4_000
ROUNDS = 7


class Site:
    """A fleet at rest, and a planner that knows it."""

    def __init__(self, machines: int) -> None:
        self.nodes = [node(f"n{number:03d}") for number in range(machines // 20)]
        nets = [network(f"net{number}", subnet=f"10.{number}.0.0/24") for number in range(machines // 200)]
        self.wanted: dict[Ref, Resource] = {each.ref: each for each in (image(), *nets)}
        for number in range(machines):
            net = nets[number % len(nets)].ref
            one = machine(f"m{number}", memory=GiB // 2, cpu=100, nics=(net,))
            self.wanted[one.ref] = one
        fleet = Fleet(*(each.name for each in self.nodes))
        fleet.apply(fleet.plan(self.desired(), now=NOW))
        self.planner = Planner(SHAPES, fleet.ledger())
        self.tell(None)
        for report in fleet.reports():
            self.planner.take_report(report)
        assert self.plan() == 0, "it is at rest"

    def desired(self) -> Desired:
        made = desired(nodes=self.nodes)
        return msgspec.structs.replace(made, resources=self.wanted)

    def tell(self, changed: set[Ref] | None) -> None:
        self.planner.world.take_desired(self.desired(), changed)

    def plan(self) -> int:
        return len(self.planner.plan(request()).changes)

    def change(self, one: Resource | None, ref: Ref) -> int:
        if one is None:
            del self.wanted[ref]
        else:
            self.wanted[ref] = one
        self.tell({ref})
        return self.plan()

    def edit(self) -> int:
        ref = Ref("Machine/acme/m7")
        old = self.wanted[ref]
        fresh = machine("m7", memory=GiB, cpu=100, nics=[nic.networks[0] for nic in old.nics])
        changes = self.change(fresh, ref)
        self.change(old, ref)
        return changes

    def add(self) -> int:
        fresh = machine("fresh", memory=GiB // 2, cpu=100, nics=("Network/acme/net0",))
        changes = self.change(fresh, fresh.ref)
        self.change(None, fresh.ref)
        return changes


def best(deed: Callable[[], int], expected: int) -> float:
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        assert deed() == expected
        times.append(time.process_time() - start)
    return min(times)


@pytest.fixture(scope="module")
def sites() -> tuple[Site, Site]:
    """A small and a large one. Whoever changes something puts it back."""
    return Site(SMALL), Site(LARGE)


def test_planning_one_change_again_does_not_follow_the_fleet(sites: tuple[Site, Site]) -> None:
    few, many = sites
    for name in ("edit", "add"):
        small, large = best(getattr(few, name), 1), best(getattr(many, name), 1)
        assert large <= 3 * small, f"{name}: {small * 1000:.2f} ms of {SMALL}, {large * 1000:.2f} ms of {LARGE}"


def test_a_plan_of_nothing_costs_nothing(sites: tuple[Site, Site]) -> None:
    few, many = sites
    assert best(many.plan, 0) <= 3 * best(few.plan, 0) + 0.001


def looked_at(here: fleets.Fleet, monkeypatch: pytest.MonkeyPatch) -> int:
    """Blocks of the index that a fresh plan of one changed document reads."""
    for name, value in here.environment.items():
        monkeypatch.setenv(name, value)
    plan = ["-C", str(here.folder), "plan"]
    assert main(plan) == 0
    path = fleets.machines(here.folder, 1)[0]
    text = fleets.git(here.folder, "show", f"HEAD:{path}") + "\n"
    fleets.commit(here.folder, {path: re.sub(r"package: \w+", "package: l", text)})
    found: list[int] = []
    read = Reader._read

    def counted(reader: Reader, place: Any, start: int, end: int) -> dict[Any, Any]:
        found.append(start)
        return read(reader, place, start, end)

    with monkeypatch.context() as patched:
        patched.setattr(Reader, "_read", counted)
        assert main(plan) == 0
    return len(found)


def test_a_fresh_plan_of_one_change_looks_at_as_much_of_a_large_index_as_of_a_small_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRUEUP_BENCH", str(tmp_path))
    few, many = (looked_at(fleets.copy(tmp_path / f"{size}", size), monkeypatch) for size in (300, 3_000))
    assert "1 to change" in capsys.readouterr().out
    assert 0 < many <= 2 * few, f"{few} blocks of 300 machines, {many} of 3,000"
