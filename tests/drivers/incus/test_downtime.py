"""How long a move stopped a machine, as trueup tells it, beside what is seen from outside: on real clusters."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.drivers.incus.daemons import Daemons, missing, running
from tests.drivers.incus.desk import TRUEUP, Desk

pytestmark = pytest.mark.real

_SPECS = """\
apiVersion: trueup/v1
kind: Datacenter
metadata: {name: lab}
spec: {id: 8a1d8f6e-35c1-4f0d-9c3b-2b6c1f0e7a14, nicTags: {internal: {}}}
---
apiVersion: trueup/v1
kind: Node
metadata: {name: inc}
spec:
  driver: incus
  address: "unix:SOCKET"
  storage: {pool: local}
  nics: {internal: none}
  members: MEMBERS
---
apiVersion: trueup/v1
kind: Tenant
metadata: {name: t}
spec: {}
---
apiVersion: trueup/v1
kind: Network
metadata: {name: lan}
spec: {nicTag: internal, subnet: 10.88.0.0/24, range: 10.88.0.10-10.88.0.200, gateway: 10.88.0.1}
---
apiVersion: trueup/v1
kind: Image
metadata: {name: bb}
spec: {source: {busybox: static}, type: rootfs}
---
apiVersion: trueup/v1
kind: Package
metadata: {name: s}
spec: {memory: 64Mi, cpu: 0.02}
---
apiVersion: trueup/v1
kind: Machine
metadata: {name: web, tenant: t}
spec: {image: bb, package: s, nics: [lan], ready: {exec: [sh, -c, "ps | grep -q '[s]COMMAND'"], within: 12s}}
"""
COMMAND = "sleep 765431"
"""What serves in the machine."""
WARMING = 1.0
"""Seconds from the machine's start until it serves."""
LOOK = 0.02
SLACK = 2.5
"""Seconds that trueup may tell more than is seen: it counts from before it asks for the stop until it knows it ready,
and on the way it waits for two daemons that share this host's processors."""


class Watch(threading.Thread):
    """Sees from the host whether the process is there that serves in the machine. `gone`, `back`: unix seconds of the
    last time that it stopped being seen, and of the first time that it was seen again."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._command = COMMAND.replace(" ", "\0").encode() + b"\0"
        self._over = threading.Event()
        self.gone = self.back = 0.0
        self.left = threading.Event()

    def run(self) -> None:
        seen = 0.0
        while not self._over.is_set():
            found = next((pid for pid in os.listdir("/proc") if pid.isdigit() and self._is(pid)), None)
            if found is not None and self.left.is_set() and not self.back:
                self.back = time.time()
            while found is not None and self._is(found) and not self._over.is_set():
                seen = time.time()
                time.sleep(LOOK)
            if seen and not self.left.is_set() and not self._over.is_set():
                self.gone = seen
                self.left.set()
            time.sleep(LOOK)

    def _is(self, pid: str) -> bool:
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes() == self._command
        except OSError:
            return False

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    @property
    def seconds(self) -> float:
        return self.back - self.gone


@pytest.fixture(scope="module", params=["incus", "lxd"])
def daemons(request: pytest.FixtureRequest) -> Iterator[Daemons]:
    if why := missing(request.param):
        pytest.skip(f"NOT RUN on {request.param}: {why}")
    with running(request.param, f"d{request.param[0]}", members=2) as made:
        yield made


@pytest.fixture(scope="module")
def desk(daemons: Daemons, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """One machine, which serves a while after its start, on any of two members."""
    desk = Desk(tmp_path_factory.mktemp("desk"))
    specs = _SPECS.replace("SOCKET", daemons.socket()).replace("COMMAND", COMMAND.removeprefix("s"))
    desk.write("all.yaml", specs.replace("MEMBERS", _members(daemons, "")))
    desk.commit("all")
    desk.trueup("apply", "--yes", code=6)  # nobody serves yet
    script = f"printf '#!/bin/sh\\nsleep {WARMING:g}\\nexec {COMMAND}\\n' >/etc/rc.local; chmod +x /etc/rc.local; sync"
    daemons.client("exec", "web", "--", "sh", "-c", script)
    daemons.client("restart", "web", "--force")
    desk.trueup("apply", "--yes")
    return desk


def _members(daemons: Daemons, drained: str) -> str:
    names = [daemons.member(number) for number in (1, 2)]
    said = {name: "{drain: {how: move, reason: new fans}}" if name == drained else "{}" for name in names}
    return "{" + ", ".join(f"{name}: {more}" for name, more in said.items()) + "}"


def _drain(desk: Desk, daemons: Daemons) -> tuple[str, str]:
    """Where the machine is, and where it has to go."""
    there = daemons.query("/1.0/instances/web")["location"]
    (to,) = {daemons.member(number) for number in (1, 2)} - {there}
    lines = (desk.repo / "all.yaml").read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("  members:"))
    lines[at] = f"  members: {_members(daemons, there)}"
    desk.write("all.yaml", "\n".join(lines) + "\n")
    desk.commit("drain it")
    return f"inc/{there}", f"inc/{to}"


def _explained(desk: Desk) -> Any:
    return json.loads(desk.trueup("explain", "t/web", "--json"))


def _agree(told: float, seen: float) -> None:
    print(f"told {told:.2f} s, seen {seen:.2f} s")
    assert seen > WARMING, "the machine was stopped"
    assert seen - 2 * LOOK <= told <= seen + SLACK


@pytest.mark.timeout(300)
def test_a_move_tells_how_long_it_stopped_the_machine(daemons: Daemons, desk: Desk) -> None:
    source, target = _drain(desk, daemons)
    with Watch() as watch:
        said = desk.trueup("apply", "--yes", "--json").splitlines()
        summary = json.loads(said[-1])
    (down,) = summary["downtimes"]
    assert (down["ref"], down["source"], down["target"]) == ("Machine/t/web", source, target)
    _agree(down["seconds"], watch.seconds)
    assert down["predicted"] > 0
    events = [json.loads(line) for line in said[:-1]]
    assert [event["verb"] for event in events if event.get("down")] == ["ready"]
    found = _explained(desk)
    assert found["outage"]["until"] - found["outage"]["since"] == pytest.approx(down["seconds"])
    assert (found["outage"]["source"], found["outage"]["target"], found["down_since"]) == (source, target, None)

    source, target = _drain(desk, daemons)
    with Watch() as watch:
        page = desk.trueup("apply", "--yes")
    assert f"moved {source} → {target}, down " in page
    outage = _explained(desk)["outage"]
    _agree(outage["until"] - outage["since"], watch.seconds)


@pytest.mark.timeout(300)
def test_a_controller_that_is_killed_goes_on_counting_from_the_stop_before(daemons: Daemons, desk: Desk) -> None:
    source, target = _drain(desk, daemons)
    with Watch() as watch:
        first = subprocess.Popen(
            [TRUEUP, "-C", str(desk.repo), "apply", "--yes"], env=desk.environment, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert watch.left.wait(60)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        time.sleep(3)
        assert _explained(desk)["down_since"] == pytest.approx(watch.gone, abs=SLACK)
        desk.trueup("apply", "--yes")
    outage = _explained(desk)["outage"]
    assert (outage["source"], outage["target"]) == (source, target)
    assert watch.seconds > 3 + WARMING
    _agree(outage["until"] - outage["since"], watch.seconds)
