"""A node on plain files is looked at at once, by a thread that all nodes share; one that hangs is let go."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from drivers.local import LocalDriver, lookout
from reconciler.core.observed import Report
from reconciler.testing.conformance.expect import made
from reconciler.testing.scene import Scene
from tests.drivers.local.hand import Hand, LocalHarness
from tests.drivers.local.probe import needs

pytestmark = [pytest.mark.anyio, pytest.mark.real]


@pytest.fixture
def hand(tmp_path: Path) -> Iterator[Hand]:
    """A node of plain copies, not brought up yet."""
    needs("copy")
    hand = Hand(tmp_path, "copy")
    yield hand
    anyio.run(hand.open().tear_down)
    assert not hand.place.folder.exists()


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy this host is, a look is waited for."""
    monkeypatch.setattr("drivers.local.driver._PATIENCE", 60.0)
    monkeypatch.setattr("drivers.local.driver._QUICK", 60.0)


def at_once(driver: LocalDriver) -> Report:
    """Asked as by a command that has no event loop: one step of the coroutine."""
    assert driver.prompt()
    asking = driver.observe(began=7)
    try:
        asking.send(None)
    except StopIteration as done:
        (report,) = done.value
        assert isinstance(report, Report)
        return report
    asking.close()
    raise AssertionError("it waits")


async def _once(hand: Hand) -> None:
    """Somebody looks at it, and it is up from then on."""
    driver = hand.open()
    await driver.observe(began=1)
    await driver.close()


def namespaces() -> set[str]:
    """The mount namespaces that threads of ours are in."""
    tasks = [task for task in Path("/proc/self/task").iterdir() if task.exists()]
    return {os.readlink(task / "ns/mnt") for task in tasks}


@pytest.mark.usefixtures("unhurried")
async def test_what_is_seen_at_once_is_what_is_seen_patiently(hand: Hand) -> None:
    async with Scene(LocalHarness(hand)) as scene:
        await made(scene)
        patient, prompt = hand.open(), hand.open()
        patient._took = 100.0  # as if it had been slow
        assert not patient.prompt()
        (report,) = await patient.observe(began=7)
        assert at_once(prompt) == report
        await patient.close()


@pytest.mark.usefixtures("unhurried")
async def test_a_node_that_is_not_up_is_brought_up_first(hand: Hand) -> None:
    assert not hand.open().prompt()
    await _once(hand)
    assert at_once(hand.open()).complete
    hand.run("rm", "/run/zfs/trueup.up")
    again = hand.open()
    (report,) = await again.observe(began=7)
    assert isinstance(report, Report)
    assert report.complete
    hand.run("test", "-e", "/run/zfs/trueup.up")
    await again.close()


@pytest.mark.usefixtures("unhurried")
async def test_nobody_stays_in_the_namespace_and_who_asks_never_goes_there(hand: Hand) -> None:
    await _once(hand)
    here, folder = os.readlink("/proc/self/ns/mnt"), Path.cwd()
    at_once(hand.open())
    seen = lookout.look(hand.place.pin, lambda: os.readlink("/proc/thread-self/ns/mnt"), patience=5)
    assert seen != here
    until = time.monotonic() + 5
    while seen in namespaces():
        assert time.monotonic() < until, "a thread is in there still"
        await anyio.sleep(0.001)
    assert os.readlink("/proc/self/ns/mnt") == here
    assert Path.cwd() == folder


async def test_one_that_hangs_holds_nobody_up_and_is_asked_patiently(hand: Hand) -> None:
    async with Scene(LocalHarness(hand)) as scene:
        _, found = await made(scene)
        pipe = hand.place.zone(found.native_name) / "guest" / "authorized_keys"
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe)
        driver = hand.open()
        assert driver.prompt()
        reports: list[object] = []

        async def asks() -> None:
            reports.extend(await driver.observe(began=7))

        async with anyio.create_task_group() as group:
            start = time.monotonic()
            group.start_soon(asks)
            await anyio.sleep(0.01)
            assert time.monotonic() - start < 5, "the loop was held up"
            assert not driver.prompt()
            assert lookout.look(hand.place.pin, lambda: "another", patience=5) == "another"
            assert reports == []
            writer = os.open(pipe, os.O_RDWR)  # who waits goes on, and finds nothing in it
            pipe.unlink()
            os.close(writer)
        (report,) = reports
        assert isinstance(report, Report)
        assert report.complete
        await driver.close()


async def test_what_is_raised_there_is_raised_here_and_a_namespace_that_is_none_is_told(hand: Hand) -> None:
    await _once(hand)
    with pytest.raises(ZeroDivisionError):
        lookout.look(hand.place.pin, lambda: 1 // 0, patience=5)
    with pytest.raises(OSError, match="namespace"):
        lookout.look(hand.place.folder / "seccomp", lambda: None, patience=5)
    with pytest.raises(FileNotFoundError):
        lookout.look(hand.place.folder / "nothing", lambda: None, patience=5)
    with pytest.raises(lookout.Late):
        lookout.look(hand.place.pin, lambda: time.sleep(0.5), patience=0.01)
    assert lookout.look(hand.place.pin, lambda: 7, patience=5) == 7


@pytest.mark.usefixtures("unhurried")
def test_a_process_that_forked_looks_by_a_thread_of_its_own(hand: Hand) -> None:
    anyio.run(_once, hand)
    at_once(hand.open())
    child = os.fork()
    if child == 0:
        os._exit(lookout.look(hand.place.pin, lambda: 7, patience=5))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_a_command_looks_without_an_event_loop(hand: Hand) -> None:
    anyio.run(_once, hand)
    script = f"""
import sys
from pathlib import Path
from drivers.local import DRIVER, driver
from reconciler.core.desired import NodeWant
node = NodeWant("host", "local", "", nics={{"front": "none"}}, body={hand.node.body!r})
driver._PATIENCE = driver._QUICK = 60
opened = DRIVER.open(node, {{"state": {str(hand.state)!r}}})
assert opened.prompt()
try:
    opened.observe(began=1).send(None)
except StopIteration as done:
    print([report.complete for report in done.value], [name for name in ("anyio", "asyncio") if name in sys.modules])
"""
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert told.stdout == "[True] []\n", told.stderr
