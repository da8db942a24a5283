"""What of the kit goes other ways where each tenant has a project of its own; all of it is in test_incus_projects."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from reconciler.testing.conformance import (  # noqa: F401
    test_copied_marks_do_not_count,
    test_created_machine_is_what_was_predicted,
    test_data_disk_is_added_and_grows,
    test_destroyed_machine_lies_in_quarantine_and_comes_back,
    test_plan_of_a_new_machine_leaves_nothing_to_plan,
    test_replaced_machine_gives_its_place_and_its_disks_to_the_new_one,
    test_volume_is_purged_when_its_time_is_over_and_not_before,
    test_volume_is_shared_and_grown_and_outlives_its_machines,
)
from tests.drivers.incus.daemons import missing, running
from tests.drivers.incus.harness import ProjectHarness

pytestmark = [pytest.mark.anyio, pytest.mark.real]


@pytest.fixture(scope="module", params=["incus", "lxd"])
def harness(request: pytest.FixtureRequest) -> Iterator[ProjectHarness]:
    kind = request.param
    if why := missing(kind):
        pytest.skip(f"NOT RUN on {kind}: {why}")
    with running(kind, f"j{kind[0]}") as daemons:
        made = ProjectHarness(daemons)
        try:
            yield made
        finally:
            made.close()
