"""Stored plans: found by the start of their digest, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.core.plan import Plan, plan_digest, to_json
from reconciler.edge.plans import PlanFiles, read_plan
from reconciler.errors import PlanMissing, StateUnusable

pytestmark = pytest.mark.anyio


def plan(tree: str) -> Plan:
    return Plan("dc", "id", tree, (), (), plan_digest("id", tree, ()), 1)


async def test_a_plan_is_found_by_the_start_of_its_digest(tmp_path: Path) -> None:
    store = PlanFiles(tmp_path / "plans")
    first, second = plan("a"), plan("b")
    await store.save(first)
    await store.save(second)
    await store.save(second)
    assert await store.find(first.digest) == first
    assert await store.find(second.digest[:8]) == second
    assert (tmp_path / "plans" / f"{first.digest}.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("prefix", ["", "abc", "../../etc/passwd", "*", "xyzw", "ABCD"])
async def test_what_names_no_plan_is_told(tmp_path: Path, prefix: str) -> None:
    store = PlanFiles(tmp_path)
    await store.save(plan("a"))
    with pytest.raises(PlanMissing, match="names no plan"):
        await store.find(prefix)


async def test_a_plan_that_is_not_stored_is_told(tmp_path: Path) -> None:
    with pytest.raises(PlanMissing, match="no stored plan begins with abcd"):
        await PlanFiles(tmp_path / "none").find("abcd")


async def test_a_start_that_fits_several_is_told(tmp_path: Path) -> None:
    store = PlanFiles(tmp_path)
    for name in ("abcd1", "abcd2"):
        (tmp_path / f"{name}.json").write_bytes(to_json(plan("a")))
    with pytest.raises(PlanMissing, match="2 stored plans begin with abcd: abcd1, abcd2"):
        await store.find("abcd")


async def test_the_oldest_plans_are_pruned(tmp_path: Path) -> None:
    store = PlanFiles(tmp_path, kept=3)
    plans = [plan(str(number)) for number in range(5)]
    for age, each in enumerate(plans):
        await store.save(each)
        os.utime(tmp_path / f"{each.digest}.json", (age, age))
    await store.save(plans[-1])
    assert {name.removesuffix(".json") for name in os.listdir(tmp_path)} == {each.digest for each in plans[2:]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no plan"),
        (b"{}", "no plan"),
        (b"\xff", "no plan"),
        (to_json(plan("a")).replace(b'"a"', b'"b"'), "edited"),
    ],
)
def test_a_file_that_is_no_plan_or_was_edited_is_told(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "p").write_bytes(content)
    with pytest.raises(PlanMissing, match=words):
        read_plan(tmp_path / "p")


def test_a_plan_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(PlanMissing, match="no such file"):
        read_plan(tmp_path / "p")
    with pytest.raises(PlanMissing, match="cannot be read"):
        read_plan(tmp_path)


async def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateUnusable, match="cannot be stored"):
        await PlanFiles(tmp_path / "file").save(plan("a"))


async def test_a_plan_that_another_process_prunes_meanwhile_is_passed_over(tmp_path: Path) -> None:
    """It is listed and then gone, as a link to nothing is."""
    store = PlanFiles(tmp_path, kept=1)
    (tmp_path / "gone.json").symlink_to("nowhere")
    await store.save(plan("a"))
    await store.save(plan("b"))
    assert (await store.find(plan("b").digest)) == plan("b")
    with pytest.raises(PlanMissing):
        await store.find(plan("a").digest)
