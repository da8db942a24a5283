"""A host made by hand with the ordinary client becomes documents, and nothing on it changes but the marks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reconciler.cli.exits import Exit
from tests.drivers.incus.daemons import Daemons, missing, running
from tests.drivers.incus.desk import Desk
from tests.drivers.incus.record import DATACENTER

pytestmark = pytest.mark.real


@pytest.fixture(scope="module", params=["incus", "lxd"])
def daemons(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    if why := missing(request.param):
        pytest.skip(f"NOT RUN on {request.param}: {why}")
    with running(request.param, f"a{request.param[0]}") as made:
        _by_hand(made, tmp_path_factory.mktemp("image") / "bb.tar.gz")
        yield made


def _by_hand(daemons: Daemons, image: Path) -> None:
    """What somebody set up over the years: a profile, a fixed address, limits, a data disk, a DHCP machine."""
    from drivers.incus.busybox import build

    build(image)
    run = daemons.client
    run("image", "import", str(image), "--alias", "bb")
    run("network", "create", "lan", "ipv4.address=10.88.0.1/24", "ipv4.nat=false", "ipv6.address=none")
    run("profile", "create", "web")
    run("profile", "set", "web", "limits.memory=96MiB")
    run("profile", "device", "add", "web", "root", "disk", "path=/", "pool=local", "size=128MiB")
    run("init", "bb", "www", "-p", "web")
    run("config", "device", "add", "www", "eth0", "nic", "network=lan", "name=eth0", "ipv4.address=10.88.0.20")
    run("config", "set", "www", "user.role=front")
    run("config", "set", "www", "boot.autostart.priority=5")
    run("storage", "volume", "create", "local", "store", "size=24MiB")
    run("init", "bb", "files")
    run("config", "set", "files", "limits.cpu.allowance=50ms/100ms")
    run("config", "device", "add", "files", "store", "disk", "pool=local", "source=store", "path=/srv")
    run("init", "bb", "roaming", "-n", "lan")
    for name in ("www", "files", "roaming"):
        run("start", name)


def _configuration(daemons: Daemons) -> dict[str, Any]:
    """All that people could see of the machines, but for our marks and what starting writes."""
    return {
        each["name"]: {
            "config": {key: value for key, value in each["config"].items() if not key.startswith("user.trueup.")},
            "devices": each["devices"],
            "profiles": each["profiles"],
            "status": each["status"],
        }
        for each in daemons.query("/1.0/instances?recursion=1")
    }


@pytest.mark.timeout(240)
def test_host_made_by_hand_is_adopted_and_only_marks_are_written(daemons: Daemons, tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.write("datacenter.yaml", DATACENTER.replace("SOCKET", daemons.socket()))
    desk.commit("a node")
    before = _configuration(daemons)

    told = desk.trueup("adopt", "old", "--tenant", "acme")
    written = (desk.repo / "adopted" / "old.yaml").read_text()
    assert "documents are in" in told
    assert "roaming" not in written, "its address comes from DHCP, so no document can say it"
    desk.trueup("validate")
    desk.commit("what is there")

    plan = desk.trueup("adopt", "old")
    assert "Machine/acme/www will be adopted" in plan
    digest = plan.split("trueup apply ")[1].split()[0]
    desk.trueup("apply", digest, "--yes")
    assert _configuration(daemons) == before
    after = desk.trueup("plan", "--detailed-exitcode")
    assert "adopt" not in after
    machines = desk.trueup("get", "machines")
    assert "www" in machines

    _held(daemons, desk)
    daemons.client("config", "set", "files", "limits.cpu.allowance=20ms/100ms")
    assert "cpu" in desk.trueup("drift"), "from now on it is looked after"


def _held(daemons: Daemons, desk: Desk) -> None:
    """Somebody makes another, and its document says otherwise: nobody makes one beside it, or touches it."""
    daemons.client("init", "bb", "late")
    daemons.client("config", "set", "late", "limits.memory=64MiB")
    text = desk.trueup("adopt", "old", "--tenant", "acme", "--print")
    assert "64Mi" in text
    desk.write("late.yaml", text.replace("64Mi", "65Mi"))
    desk.commit("what is there, but for its memory")
    before = _configuration(daemons)
    assert "it is not what its document says: /memory is" in desk.trueup("adopt", "old", code=Exit.BLOCKED)
    plan = desk.trueup("plan", code=Exit.BLOCKED)
    assert "old has a machine late already, which is not managed" in plan
    assert "trueup adopt old, or give one of the two another name" in plan
    desk.trueup("apply", "--yes", code=Exit.BLOCKED)
    assert _configuration(daemons) == before
    desk.write("late.yaml", text)
    desk.commit("as it is")
    digest = desk.trueup("adopt", "old").split("trueup apply ")[1].split()[0]
    desk.trueup("apply", digest, "--yes")
    assert _configuration(daemons) == before
    assert "late" not in desk.trueup("plan")
