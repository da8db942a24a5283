"""Planning again after one change: what it costs must follow the change, not the fleet.

Compared with itself: `Planner.plan` after one machine's document changed, in a fleet of 1,000 machines (10 nodes) and
in one of 20,000 (200 nodes). Nothing of git, YAML or a node is in it. A second row tells what the planner keeps of a
machine at rest, reports, ledger and desired resources included.
"""

from __future__ import annotations

import gc
import itertools
import tracemalloc

from reconciler.core.desired import Desired
from reconciler.core.ledger import Bound, Claimed, Covered, Entry, Ledger, Record, Settled
from reconciler.core.observed import Report
from reconciler.core.planner import Planner, make_plan
from reconciler.core.refs import Target
from tests.benchmarks.rows import Measured, Row, interleaved
from tests.builders import SHAPES, Fleet, GiB, desired, image, machine, network, node, report, request

PER_NODE = 100


def names(machines: int) -> list[tuple[str, str]]:
    """Machine and node."""
    return [(f"m{number}", f"n{number // PER_NODE}") for number in range(machines)]


def wanted(machines: int) -> Desired:
    net = network(subnet="10.0.0.0/8", first="10.1.0.0", last="10.250.0.0", gateway="10.0.0.1")
    here = [machine(name, memory=GiB // 4, cpu=None) for name, _ in names(machines)]
    return desired(image(), net, *here, nodes=[node(each) for each in sorted({on for _, on in names(machines)})])


def settled(machines: int) -> tuple[Desired, list[Report], list[Record]]:
    """A fleet at rest: its first plan came true."""
    site = wanted(machines)
    targets = sorted(site.nodes)
    plan = make_plan(site, [report(each) for each in targets], Ledger(), SHAPES, request())
    fleet = Fleet(*targets)
    fleet.journal(*(Claimed(Target(each), f"guid-{each}") for each in targets))
    fleet.apply(plan)
    return site, fleet.reports(), fleet.records


def resting(machines: int) -> Planner:
    site, reports, records = settled(machines)
    kept: tuple[type[Entry], ...] = (Bound, Claimed, Covered, Settled)  # type: ignore[assignment]
    planner = Planner(SHAPES, Ledger(record for record in records if isinstance(record.entry, kept)))
    planner.world.take_desired(site)
    for each in reports:
        planner.take_report(each)
    assert not planner.plan(request()).changes
    return planner


def again(planner: Planner) -> None:
    """One document changes, and the plan is made."""
    site = planner.world.desired
    assert site is not None
    size = next(_SIZES)
    fresh = machine("m7", memory=size, cpu=None)
    site.resources[fresh.ref] = fresh  # type: ignore[index]
    planner.world.take_desired(site, {fresh.ref})
    assert len(planner.plan(request()).changes) == 1


_SIZES = itertools.cycle((GiB, 2 * GiB))


def growth() -> Measured:
    few, many = resting(1_000), resting(20_000)
    small, large = interleaved([lambda: again(few), lambda: again(many)], rounds=41)
    return Measured(large / small, f"{small * 1000:.2f} ms of 1,000 machines, {large * 1000:.2f} ms of 20,000")


def memory() -> Measured:
    machines = 5_000
    gc.collect()
    tracemalloc.start()
    planner = resting(machines)
    gc.collect()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert planner.world.facts
    return Measured(used / machines / 1024, f"{machines} machines at rest, all tables included")


ROWS = [
    Row("planner again, 20,000 against 1,000 machines", 2.0, "×", growth, "`Planner.plan` after one change"),
    Row("planner memory of a machine at rest", 3.0, "KiB", memory, "resources, reports, ledger and indexes"),
]
