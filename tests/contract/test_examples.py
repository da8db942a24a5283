"""Every example tree loads without a mistake and gives the plan that lies beside it, on simulated nodes.

`TRUEUP_WRITE_GOLDEN=1` writes the plans anew: read the difference before you commit it.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from drivers.incus.shape import IncusShape
from drivers.local.shape import LocalShape
from drivers.sim.shape import SimShape
from reconciler.core.desired import Revision
from reconciler.core.ledger import Ledger
from reconciler.core.observed import Capacity
from reconciler.core.planner import make_plan
from reconciler.core.render.plan import plan_text
from reconciler.core.shape import Capability
from reconciler.core.standing import declared_targets
from reconciler.edge.load import FolderTree, load
from tests.builders import NOW, GiB, report, request

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TREES = sorted(path.parent.relative_to(EXAMPLES) for path in EXAMPLES.rglob("datacenter.yaml"))
REVISION = Revision("0" * 40, "example", "main", "", "example")


def twin(driver: str) -> SimShape:
    """A simulated node that takes what the driver takes."""
    shape = SimShape()
    capabilities = {"local": LocalShape.capability, "incus": IncusShape.capability, "smartos": SMARTOS}
    shape.capability = capabilities.get(driver, shape.capability)
    return shape


SMARTOS = Capability(
    kinds=frozenset({"Machine", "Image"}),
    image_types=frozenset({"zone-dataset", "lx-dataset", "zvol"}),
    brands=frozenset({"zone", "lx", "vm"}),
    fields=frozenset({"snapshots"}),
)
"""As the sheets tell it; its driver is still to come."""


def test_there_are_examples() -> None:
    assert {"quickstart", "site/ams1"} <= {str(tree) for tree in TREES}


@pytest.mark.parametrize("tree", TREES, ids=str)
def test_an_example_gives_the_plan_beside_it(tree: Path) -> None:
    wanted = load(FolderTree(EXAMPLES / tree), None, REVISION)
    capacity = Capacity(128 * GiB, 32_000, 4000 * GiB)
    reports = [report(target, claimed=False, capacity=capacity) for target in declared_targets(wanted.nodes)]
    shapes = {node.driver: twin(node.driver) for node in wanted.nodes.values()}
    plan = make_plan(wanted, reports, Ledger(), shapes, request(now=NOW))
    assert plan.proved, plan.problems
    text = plan_text(msgspec.structs.replace(plan, observed_at=NOW))
    # The digest covers every argument of every step: it tells of the inside, not of what people read.
    text = text.replace(plan.digest[:8], "0" * 8)
    golden = EXAMPLES / tree / "plan.txt"
    if os.environ.get("TRUEUP_WRITE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()
