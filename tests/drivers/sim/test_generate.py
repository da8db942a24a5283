"""A generated site: the repository and the fleet tell the same story."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from drivers.sim import DRIVER
from drivers.sim.generate.site import Machine, Site
from reconciler.core.desired import Desired, Revision
from reconciler.core.ledger import Ledger
from reconciler.core.observed import Report
from reconciler.core.plan import Action, Plan
from reconciler.core.planner import make_plan
from reconciler.core.rules import Request
from reconciler.edge.load.loader import load
from reconciler.edge.load.tree import MemoryTree

pytestmark = pytest.mark.anyio


def wanted(site: Site) -> Desired:
    tree = MemoryTree(dict(site.files()))
    return load(tree, {"sim": DRIVER.shape.capability}, Revision(commit="c", tree="t"))


async def planned(out: Path, desired: Desired) -> Plan:
    reports: list[Report] = []
    for node in desired.nodes.values():
        driver = DRIVER.open(node, {"root": str(out)})
        reports += [report for report in await driver.observe(began=1) if isinstance(report, Report)]
        await driver.close()
    return make_plan(desired, reports, Ledger(), {"sim": DRIVER.shape}, Request(1.79e9))


@pytest.mark.parametrize(("machines", "nodes", "per_file"), [(1, 1, 1), (530, 13, 1), (530, 45, 100)])
async def test_generated_fleet_is_converged(tmp_path: Path, machines: int, nodes: int, per_file: int) -> None:
    DRIVER.generate(tmp_path, print, machines=machines, nodes=nodes, per_file=per_file)
    desired = wanted(Site(machines, nodes, per_file=per_file))
    assert Counter(ref.partition("/")[0] for ref in desired.resources)["Machine"] == machines
    plan = await planned(tmp_path, desired)
    assert (plan.changes, plan.holds, plan.problems, plan.unmanaged) == ((), (), (), 0)


async def test_share_that_differs_is_planned_as_updates(tmp_path: Path) -> None:
    numbers = {"machines": 600, "nodes": 20, "differing": 0.05}
    DRIVER.generate(tmp_path, print, **numbers)
    plan = await planned(tmp_path, wanted(Site(**numbers)))  # type: ignore[arg-type]
    assert 15 < len(plan.changes) < 50
    assert {change.action for change in plan.changes} == {Action.UPDATE}
    assert {each.path for change in plan.changes for each in change.differences} == {"/memory"}


def test_same_seed_gives_the_same_site() -> None:
    assert list(Site(300, 7, seed=4).files()) == list(Site(300, 7, seed=4).files())
    assert list(Site(300, 7, seed=4).files()) != list(Site(300, 7, seed=5).files())


def test_documents_are_as_long_and_as_much_alike_as_peoples() -> None:
    site = Site(10_000, 100)
    made = [Machine(site, number) for number in range(site.machines)]
    texts = [machine.document() for machine in made]
    assert 18 <= sum(text.count("\n") for text in texts) / len(texts) <= 20
    assert 340 <= sum(map(len, texts)) / len(texts) <= 370
    nameless = {(each.tenant, text.replace(each.name, "")) for each, text in zip(made, texts, strict=True)}
    assert 0.15 <= len(nameless) / len(texts) <= 0.3


@pytest.mark.parametrize(("machines", "per_file"), [(1_000_000, 1), (1_000_000, 100)])
def test_no_folder_is_crowded(machines: int, per_file: int) -> None:
    folders: Counter[str] = Counter()
    site = Site(machines, 10_000, per_file=per_file)
    folders.update(path.rpartition("/")[0] for path, _ in site._tenant(0))
    folders["tenants"] = site.tenants
    assert max(folders.values()) <= 256


def test_numbers_that_make_no_site_are_refused() -> None:
    with pytest.raises(ValueError, match="one machine or more"):
        Site(0, 1)
    with pytest.raises(ValueError, match="more than the networks"):
        Site(100_000_000, 1)
