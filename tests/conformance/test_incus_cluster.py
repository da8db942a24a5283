"""A member of a cluster passes what of the kit is different there: what members share, and forwarded calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import pytest

from reconciler.testing.conformance import (  # noqa: F401
    moves,
    test_a_move_by_a_stale_controller_is_refused_at_either_end,
    test_a_move_is_refused_where_its_precondition_does_not_hold,
    test_a_volume_goes_with_the_one_machine_that_mounts_it,
    test_address_is_good_for_another_where_its_machine_has_been,
    test_another_datacenters_step_is_refused,
    test_created_machine_is_what_was_predicted,
    test_data_disk_is_added_and_grows,
    test_destroyed_machine_lies_in_quarantine_and_comes_back,
    test_image_in_use_is_not_destroyed,
    test_killed_before_or_after_each_step_of_a_move_resumes,
    test_machine_moves_stopped_and_what_changed_is_written_on_the_way,
    test_machine_moves_with_its_data_disks,
    test_machine_moves_with_its_identity_and_all_that_it_is,
    test_network_comes_changes_and_goes,
    test_node_is_claimed_once_and_for_one_datacenter,
    test_plan_of_a_new_machine_leaves_nothing_to_plan,
    test_planned_drain_moves_what_lives_there,
    test_planned_drain_stops_what_lives_there_until_it_is_lifted,
    test_replaced_machine_gives_its_place_and_its_disks_to_the_new_one,
    test_report_is_dated_whole_and_the_same_twice,
    test_stale_fence_is_refused,
    test_unused_image_comes_and_goes,
)
from reconciler.testing.harness import Harness
from tests.drivers.incus.daemons import missing, running
from tests.drivers.incus.harness import IncusHarness, ProjectHarness

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.timeout(600)]


@pytest.fixture(scope="module", params=["incus", "lxd"])
def harness(request: pytest.FixtureRequest) -> Iterator[IncusHarness]:
    kind = request.param
    if why := missing(kind):
        pytest.skip(f"NOT RUN on {kind}: {why}")
    with running(kind, f"c{kind[0]}", members=3) as daemons:
        made = IncusHarness(daemons, members=3)
        try:
            yield made
        finally:
            made.close()


@pytest.mark.parametrize(
    "fact",
    [moves.test_machine_moves_with_its_data_disks, moves.test_a_volume_goes_with_the_one_machine_that_mounts_it],
    ids=["disks", "volume"],
)
async def test_machine_in_a_tenants_project_moves_with_what_it_mounts(
    harness: IncusHarness, fact: Callable[[Harness], Awaitable[None]]
) -> None:
    if harness.daemons.kind == "lxd":
        pytest.skip("a cluster of LXD 5.0 cannot give tenants projects")
    made = ProjectHarness(harness.daemons, members=3)
    try:
        await fact(made)
    finally:
        made.close()


@pytest.mark.long
async def test_a_move_with_a_volume_that_is_cut_short_leaves_one_of_each(harness: IncusHarness) -> None:
    await moves.test_a_move_with_a_volume_that_is_cut_short_leaves_one_of_each(harness)


@pytest.mark.long
async def test_cancelled_during_each_step_of_a_move_resumes(harness: IncusHarness) -> None:
    await moves.test_cancelled_during_each_step_of_a_move_resumes(harness)
