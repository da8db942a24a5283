"""Invariant I10: a kill at any instant loses nothing; resuming neither repeats, leaks nor needs a human."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from reconciler.core.desired import Behaviour, Desired, Drain, Policy, Resource
from reconciler.core.refs import Ref
from tests.builders import GiB, image, machine, network
from tests.runtime import campaign
from tests.runtime.campaign import (
    Job,
    by_attempts,
    by_loop,
    cluster,
    copied,
    founded,
    live,
    picture,
    remembered,
    site,
)

POLICY = Policy(follow="auto", drift="heal", quarantine=3600)
NEWER = image("debian-13", content="2")
WEEK = 7 * 86400.0


def wanted(*machines: Resource) -> Desired:
    return site(image(), NEWER, network(), *machines, policy=POLICY)


def pair(**more: Any) -> tuple[Resource, ...]:
    return machine("a", **more), machine("b", body={"disks": {"data": {"size": GiB, "path": "/data"}}})


AWAY = Drain("move", "new fans")


def clustered(**drains: Drain) -> Desired:
    """Two machines, one of which runs, on a cluster."""
    machines = machine("a"), machine("b", body={"state": "stopped"})
    return site(image(), NEWER, network(), *machines, policy=POLICY, nodes=[cluster(**drains)])


SCENARIOS: dict[str, tuple[list[Desired], float]] = {
    "create": ([wanted(), wanted(*pair())], 0),
    "live update": ([wanted(*pair()), wanted(*pair(memory=2 * GiB))], 0),
    "restart": ([wanted(*pair()), wanted(*pair(body={"hostname": "other"}))], 0),
    "destroy": ([wanted(*pair()), wanted()], 0),
    "restore": ([wanted(*pair()), wanted(), wanted(*pair(), machine("c"))], 0),
    "rename": (
        [
            wanted(machine("a")),
            wanted(machine("z", body={"hostname": "a"}, behaviour=Behaviour(renamed_from=Ref("Machine/acme/a")))),
        ],
        0,
    ),
    "replace": (
        [
            wanted(machine("a")),
            wanted(machine("a", uses=NEWER, behaviour=Behaviour(replace=True))),
        ],
        0,
    ),
    "drain that moves": ([clustered(b=AWAY), clustered(a=AWAY)], 0),
    "drain that stops": ([clustered(b=AWAY), clustered(a=Drain("stop", "power works"), b=AWAY)], 0),
    "drain that is lifted": ([clustered(b=AWAY), clustered(a=Drain("stop", "power works"), b=AWAY), clustered()], 0),
    "purge": ([wanted(*pair()), wanted()], WEEK),
}


class Stage:
    """A scenario: the state before its last revision, and how all looks when nobody is killed."""

    def __init__(self, name: str, folder: Path) -> None:
        self.history, self.later = SCENARIOS[name]
        stopped = [node for node in self.history[-1].nodes.values() for member in node.members.values()
                   if member.drain is not None and member.drain.how == "stop"]  # fmt: skip
        self.by_loop: Job = partial(by_loop, holds=len(stopped))
        before = self.history if self.later else self.history[:-1]
        self.before = founded(folder / "before", before)
        self.folder = folder / "trial"
        copied(self.before, self.folder)
        self.points = live(self.folder, self.history, None, later=self.later) or 0
        self.picture, self.remembered = picture(self.folder), remembered(self.folder)

    def killed_at(self, *points: int, killed: Job = by_attempts, then: Job = by_attempts) -> bool:
        """Kill one process after the other at these points, then let one live. False: one outlived its point."""
        copied(self.before, self.folder)
        for point in points:
            if live(self.folder, self.history, point, later=self.later, job=killed) is not None:
                return False
        live(self.folder, self.history, None, later=self.later, job=then)
        return True

    def same(self) -> None:
        assert picture(self.folder) == self.picture
        assert remembered(self.folder) == self.remembered


@pytest.fixture(scope="module", params=list(SCENARIOS))
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(request.param, tmp_path_factory.mktemp("campaign"))


def spread(stage: Stage, count: int) -> list[int]:
    """So many of its points, evenly, the first and the last among them."""
    last = stage.points
    return sorted({1 + round(index * (last - 1) / (count - 1)) for index in range(count)})


def test_killed_once_it_ends_as_if_nothing_had_been(stage: Stage) -> None:
    assert stage.points > 5
    for point in spread(stage, 7):
        if stage.killed_at(point):
            stage.same()


def test_the_loop_takes_up_what_was_cut_short(stage: Stage) -> None:
    for point in spread(stage, 3):
        if stage.killed_at(point, then=stage.by_loop):
            stage.same()


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_killed_at_every_point_it_ends_as_if_nothing_had_been(stage: Stage) -> None:
    for point in range(1, stage.points + 1):
        if stage.killed_at(point):
            stage.same()


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_loop_killed_at_every_point_is_followed_by_one_that_ends_as_if_nothing_had_been(stage: Stage) -> None:
    for point in range(1, stage.points + 1, 2):
        if stage.killed_at(point, killed=stage.by_loop, then=stage.by_loop):
            stage.same()


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_killed_again_while_resuming_it_ends_as_if_nothing_had_been(stage: Stage) -> None:
    for point in spread(stage, 12):
        for again in (1, 2, 3, 4, 6, 9):
            if stage.killed_at(point, again):
                stage.same()


def test_the_campaign_compares_something(stage: Stage) -> None:
    assert stage.picture["done"]
    assert msgspec.to_builtins(campaign.NODES)
