"""The example for a cluster, carried out as written by the command line, on real clusters."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.incus.overview import overview
from tests.drivers.incus.daemons import Daemons, missing, running
from tests.drivers.incus.desk import Desk

pytestmark = pytest.mark.real
EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "incus-cluster"


@pytest.fixture(scope="module", params=["incus", "lxd"])
def daemons(request: pytest.FixtureRequest) -> Iterator[Daemons]:
    if why := missing(request.param):
        pytest.skip(f"NOT RUN on {request.param}: {why}")
    with running(request.param, f"x{request.param[0]}", members=3) as made:
        yield made


def _example(folder: Path, daemons: Daemons) -> Desk:
    """The example with the daemons' own sockets and members."""
    desk = Desk(folder)
    shutil.copytree(EXAMPLE, desk.repo, dirs_exist_ok=True)
    nodes = (desk.repo / "nodes.yaml").read_text()
    nodes = re.sub(r"address: \S+", f"address: unix:{daemons.socket()}", nodes)
    nodes = re.sub(r"  identity:\n(    .*\n)+", "", nodes)
    for number, name in enumerate("abc", start=1):
        nodes = nodes.replace(f"    {name}: ", f"    {daemons.member(number)}: ")
    desk.write("nodes.yaml", nodes)
    desk.edit("shop/machines.yaml", "inc/a", f"inc/{daemons.member(1)}")
    desk.commit("as it began")
    return desk


def _machines(daemons: Daemons) -> dict[str, tuple[str, str]]:
    listed = daemons.query("/1.0/instances?recursion=1")
    return {each["name"]: (each["status"], each["location"]) for each in listed}


@pytest.mark.timeout(300)
def test_cluster_becomes_what_the_example_says_and_stays_so(daemons: Daemons, tmp_path: Path) -> None:
    desk = _example(tmp_path, daemons)
    desk.trueup("apply", "--yes")
    made = _machines(daemons)
    assert {name: status for name, (status, _) in made.items()} == {
        "db": "Running",
        "web-1": "Running",
        "web-2": "Running",
        "web-3": "Running",
    }
    assert len({made[f"web-{number}"][1] for number in (1, 2, 3)}) == 3, "spread over the members"
    desk.trueup("plan", "--detailed-exitcode")
    assert overview(f"unix:{daemons.socket()}") is None, "a cluster is asked once"

    daemons.client("config", "set", "web-2", "limits.memory=100MiB")
    assert "memory" in desk.trueup("drift")
    desk.trueup("heal", "--all", "--yes")
    assert daemons.query("/1.0/instances/web-2")["config"]["limits.memory"] == "64MiB"

    desk.edit("shop/machines.yaml", "replicas: 3", "replicas: 2")
    desk.commit("two are enough")
    assert "web-3" in desk.trueup("apply", "--yes")
    after = _machines(daemons)
    assert "web-3" not in after
    assert sum(name.startswith("q-") for name in after) == 1, "it lies in quarantine"

    one = next(name for name in ("web-1", "web-2") if after[name][1] != after["db"][1])
    member, free = after[one][1], made["web-3"][1]
    desk.edit("nodes.yaml", f"{member}: {{", f"{member}: {{drain: {{how: move, reason: new fans}}, ")
    desk.commit("drain one")
    assert f"Machine/shop/{one} will be moved" in desk.trueup("plan")
    desk.trueup("apply", "--yes")
    assert _machines(daemons)[one] == ("Running", free), "the one member that has none of the group"
    desk.trueup("plan", "--detailed-exitcode")
    desk.git("revert", "--no-edit", "HEAD")
    desk.trueup("plan", "--detailed-exitcode")

    desk.edit("nodes.yaml", f"{after['db'][1]}: {{", f"{after['db'][1]}: {{drain: {{how: stop, reason: power}}, ")
    desk.commit("stop one")
    desk.trueup("apply", "--yes", code=3)
    assert _machines(daemons)["db"][0] == "Stopped"
    assert "stopped:" in desk.trueup("get", "machines")
    desk.git("revert", "--no-edit", "HEAD")
    desk.trueup("apply", "--yes")
    assert _machines(daemons)["db"] == after["db"]
