"""The same 50 containers by `trueup` and by a playbook: made, and then nothing to do for either.

Owns: finding Ansible, the playbooks, the timings. Must not go here: bringing the host up.
"""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from tests.benchmarks import incus_site
from tests.benchmarks.peers import found
from tests.benchmarks.rows import tell
from tests.drivers.incus.daemons import Daemons

NAME = "ansible-playbook"


class NotInstalled(Exception):
    """There is no Ansible here, and none to be had: one sentence."""


def program() -> str:
    """`ansible-playbook` of the peers or the PATH, else of an environment that is made once and kept in the cache of
    who runs this."""
    there = found(NAME)
    if there is not None:
        return there
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    venv = cache / "trueup-bench" / "ansible"
    if not (venv / "bin" / NAME).exists():
        tell(f"installing Ansible into {venv}, once: some minutes")
        shutil.rmtree(venv, ignore_errors=True)
        for argv in (
            [sys.executable, "-m", "venv", str(venv)],
            [str(venv / "bin/pip"), "install", "-q", "--disable-pip-version-check", "ansible"],
        ):
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
                raise NotInstalled(f"ansible is not on the PATH and cannot be installed: {last}")
    return str(venv / "bin" / NAME)


def _playbook(folder: Path, daemons: Daemons, count: int, **made: Any) -> Path:
    """`made`: what a container that is not there yet is made of. JSON is YAML."""
    asked = {"url": f"unix:{daemons.socket()}", "name": "m-{{ item }}", "state": "started", **made}
    asked.setdefault("config", {"limits.memory": "64MiB"})
    task = {"community.general.lxd_container": asked, "loop": f"{{{{ range(1, {count} + 1) | list }}}}"}
    play = {"hosts": "localhost", "gather_facts": False, "connection": "local", "tasks": [task]}
    path = folder / "play.yaml"
    path.write_bytes(msgspec.json.encode([play]))
    return path


def _played(ansible: str, play: Path, changed: int) -> float:
    """Seconds of a playbook, which must have found so many of its tasks to change something. In a session of its own:
    it leaves workers behind when it is interrupted."""
    start = time.perf_counter()
    playing = subprocess.Popen(
        [ansible, str(play)],
        env={**os.environ, "HOME": str(play.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = playing.communicate()
    except BaseException:
        os.killpg(playing.pid, signal.SIGKILL)
        playing.wait()
        raise
    assert playing.returncode == 0, f"{NAME}: {said[-2000:]}"
    assert f"changed={changed} " in said, said[-500:]
    return time.perf_counter() - start


def nothing_to_do(daemons: Daemons, folder: Path, count: int, ansible: str) -> tuple[float, float, float]:
    """Median seconds of `trueup plan`, of the first one, which knows of no other, and of the playbook."""
    desk = incus_site.desk(daemons, folder, count)
    tell(f"making {count} machines")
    desk.trueup("apply", "--yes", patience=incus_site.PATIENCE)
    play = _playbook(folder, daemons, count)
    fresh: list[float] = []
    ours: list[float] = []
    theirs: list[float] = []
    for turn in range(3):
        tell(f"nothing to do, round {turn + 1} of 3")
        (folder / "state" / "still").unlink(missing_ok=True)
        for times, rounds in ((fresh, 1), (ours, 3)):
            for _ in range(rounds):
                start = time.perf_counter()
                desk.trueup("plan", "--detailed-exitcode")
                times.append(time.perf_counter() - start)
        theirs.append(_played(ansible, play, changed=0))
    return statistics.median(ours), statistics.median(fresh), statistics.median(theirs)


def created(daemons: Daemons, folder: Path, count: int, ansible: str) -> tuple[float, float]:
    """Seconds of `trueup apply`, which makes the network and the image, too, and of the playbook on the same host,
    which finds both."""
    desk = incus_site.desk(daemons, folder, count)
    tell(f"trueup apply makes {count} machines")
    start = time.perf_counter()
    desk.trueup("apply", "--yes", patience=incus_site.PATIENCE)
    ours = time.perf_counter() - start
    model = daemons.query("/1.0/instances/m-1")
    own = ("volatile.", "image.", "user.")
    config = {key: value for key, value in model["config"].items() if not key.startswith(own)}
    assert config["limits.memory"] == "64MiB"
    devices = dict(model["devices"])
    nic = next(name for name, device in devices.items() if device["type"] == "nic")
    devices[nic] = {"type": "nic", "network": devices[nic]["network"], "ipv4.address": "10.88.0.{{ item + 20 }}"}
    source = {"type": "image", "fingerprint": model["config"]["volatile.base_image"]}
    incus_site.clear(daemons)
    play = _playbook(folder, daemons, count, profiles=[], config=config, devices=devices, source=source)
    tell(f"{NAME} makes {count} machines")
    theirs = _played(ansible, play, changed=1)
    there = daemons.query("/1.0/instances?recursion=1")
    assert sum(each["status"] == "Running" for each in there) == count
    return ours, theirs
