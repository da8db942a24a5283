"""One member of a cluster emptied by `drain: {how: move}` in git, and by `incus cluster evacuate`.

Owns: the specs, the two timings on the same machines. Must not go here: bringing the cluster up.
"""

from __future__ import annotations

import time
from pathlib import Path

from tests.benchmarks.incus_ansible import SPECS
from tests.drivers.incus.daemons import Daemons
from tests.drivers.incus.desk import Desk

_NODE = 'spec: {driver: incus, address: "unix:SOCKET", storage: {pool: local}, nics: {internal: none}}'


def specs(daemons: Daemons, count: int, drained: int | None = None) -> str:
    members = ", ".join(
        f"{daemons.member(number)}: {{{'drain: {how: move, reason: new fans}' if number == drained else ''}}}"
        for number in (1, 2, 3)
    )
    node = _NODE.replace("nics:", f"members: {{{members}}}, nics:")
    text = SPECS.replace(_NODE, node).replace("name: here", "name: inc")
    return text.replace("SOCKET", daemons.socket()).replace("COUNT", str(count))


def compare(daemons: Daemons, folder: Path, count: int) -> tuple[float, float, int]:
    """Seconds of ours and of theirs, whole processes, and how many machines left the member. Theirs comes first, and
    is taken back with `restore`; ours finds the machines as they were."""
    desk = Desk(folder)
    desk.write("all.yaml", specs(daemons, count))
    desk.commit("all")
    desk.trueup("apply", "--yes")
    member = daemons.member(3)
    here = _on(daemons, member)
    start = time.perf_counter()
    daemons.client("cluster", "evacuate", member, "--force")
    theirs = time.perf_counter() - start
    assert not _on(daemons, member), "it was evacuated"
    daemons.client("cluster", "restore", member, "--force")
    assert _on(daemons, member) == here, "it was restored"
    (desk.repo / "all.yaml").write_text(specs(daemons, count, drained=3))
    desk.commit("drain one")
    start = time.perf_counter()
    desk.trueup("apply", "--yes")
    ours = time.perf_counter() - start
    assert not _on(daemons, member), "it was drained"
    running = [each for each in daemons.query("/1.0/instances?recursion=1") if each["status"] == "Running"]
    assert len(running) == count, f"{len(running)} of {count} run"
    return ours, theirs, len(here)


def _on(daemons: Daemons, member: str) -> set[str]:
    return {each["name"] for each in daemons.query("/1.0/instances?recursion=1") if each["location"] == member}
