"""One member of a cluster emptied by `drain: {how: move}` in git, and by `incus cluster evacuate`.

Owns: the specs, the two timings on the same machines. Must not go here: bringing the cluster up.
"""

from __future__ import annotations

import time
from pathlib import Path

from tests.benchmarks import incus_site
from tests.benchmarks.rows import tell
from tests.drivers.incus.daemons import Daemons

MEMBERS = (1, 2, 3)


def _node(daemons: Daemons, drained: int | None = None) -> str:
    members = ", ".join(
        f"{daemons.member(number)}: {{{'drain: {how: move, reason: new fans}' if number == drained else ''}}}"
        for number in MEMBERS
    )
    return incus_site.NODE.replace("nics:", f"members: {{{members}}}, nics:")


def compare(daemons: Daemons, folder: Path, count: int) -> tuple[float, float, int]:
    """Seconds of ours and of theirs, whole processes, and how many machines left the member. Theirs comes first, and
    is taken back with `restore`; ours finds the machines as they were."""
    desk = incus_site.desk(daemons, folder, count, _node(daemons))
    tell(f"making {count} machines on {len(MEMBERS)} members")
    desk.trueup("apply", "--yes", patience=incus_site.PATIENCE)
    member = daemons.member(MEMBERS[-1])
    here = _on(daemons, member)
    tell(f"incus cluster evacuate moves {len(here)}")
    start = time.perf_counter()
    daemons.client("cluster", "evacuate", member, "--force")
    theirs = time.perf_counter() - start
    assert not _on(daemons, member), "it was evacuated"
    tell("and restores them")
    daemons.client("cluster", "restore", member, "--force")
    assert _on(daemons, member) == here, "it was restored"
    desk.write(incus_site.FILE, incus_site.specs(daemons, count, _node(daemons, drained=MEMBERS[-1])))
    desk.commit("drain one")
    tell(f"trueup apply moves {len(here)}")
    start = time.perf_counter()
    desk.trueup("apply", "--yes", patience=incus_site.PATIENCE)
    ours = time.perf_counter() - start
    assert not _on(daemons, member), "it was drained"
    running = [each for each in daemons.query("/1.0/instances?recursion=1") if each["status"] == "Running"]
    assert len(running) == count, f"{len(running)} of {count} run"
    return ours, theirs, len(here)


def _on(daemons: Daemons, member: str) -> set[str]:
    return {each["name"] for each in daemons.query("/1.0/instances?recursion=1") if each["location"] == member}
