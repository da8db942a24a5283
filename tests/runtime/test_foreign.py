"""What a driver's or a handler's code raises that would end more than itself: a cancellation that nobody asked for ends
a task silently, and the group that it is in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from reconciler.core.refs import Target
from reconciler.runtime import nodes
from reconciler.runtime.events import StepEnded
from reconciler.runtime.foreign import BrokeLoose, contained
from reconciler.runtime.hints import Hints, Patience
from reconciler.runtime.loop import Settings
from reconciler.runtime.nodes import Nodes
from reconciler.runtime.rounds import Cadence
from tests.builders import machine, node
from tests.runtime.lab import Lab, on, until
from tests.runtime.test_handling import handling, registered

__all__ = ["registered"]
pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


async def test_an_end_that_nobody_asked_for_is_an_ordinary_error() -> None:
    for error in (asyncio.CancelledError(), SystemExit(3), BaseExceptionGroup("", [SystemExit(3)])):
        with pytest.raises(BrokeLoose), contained:
            raise error
    with pytest.raises(ValueError, match="as ever"), contained:
        raise ValueError("as ever")
    with pytest.raises(KeyboardInterrupt), contained:
        raise KeyboardInterrupt


async def test_who_is_cancelled_is_cancelled() -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        with contained:
            await anyio.sleep(1)
        raise AssertionError("it went on")
    assert scope.cancelled_caught
    with pytest.raises(TimeoutError), contained, anyio.fail_after(0.01):
        await anyio.sleep(1)


async def test_handlers_that_break_loose_are_tried_again_and_end_nobody(lab: Lab, registered: Any) -> None:
    handlers, told = registered("""
import asyncio, sys

@on.created("Machine", retries=1, backoff=0.05)
async def cancels(retry):
    told.append(("cancels", retry))
    raise asyncio.CancelledError

@on.created("Machine", retries=1, backoff=0.05)
def leaves(retry):
    told.append(("leaves", retry))
    sys.exit(3)

@timer(0.05)
async def ticks():
    told.append("tick")
    raise asyncio.CancelledError
""")
    warned: list[str] = []
    lab.commit(machine("a"))
    async with lab.looping(handling=handling(handlers, warned)):
        await until(lambda: ("leaves", 1) in told and told.count("tick") > 2, within=20)
    assert [each for each in told if each != "tick"] == [("cancels", 0), ("cancels", 1), ("leaves", 0), ("leaves", 1)]
    assert "Handler cancels failed 2 times for Machine/acme/a: BrokeLoose: CancelledError" in warned
    assert "Handler leaves failed 2 times for Machine/acme/a: BrokeLoose: SystemExit: 3" in warned


async def test_a_handler_that_would_end_the_process_holds(lab: Lab, registered: Any) -> None:
    handlers, _ = registered("""
import sys

@on.planned("Machine")
def guard():
    sys.exit(3)
""")
    lab.commit(machine("a"))
    async with lab.looping(handling=handling(handlers)) as loop:
        await until(lambda: any("guard failed: SystemExit: 3" in each for each in loop.status.stalled), within=20)
    assert not lab.machines()


async def test_a_node_whose_driver_breaks_loose_is_unread_and_the_others_go_on(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, broken = lab.opening, anyio.Event()

    def opened(wanted: Any) -> Any:
        driver = opening(wanted)
        observe = driver.observe

        async def loose(**how: Any) -> Any:
            if broken.is_set() and wanted.name == "n1":
                raise asyncio.CancelledError
            return await observe(**how)

        monkeypatch.setattr(driver, "observe", loose)
        return driver

    monkeypatch.setattr(lab, "opening", opened)
    lab.commit(on("a", "n2"))
    async with lab.looping(Settings(cadence=Cadence(poll=0.1))) as loop:
        await until(lambda: loop.status.ready, within=10)
        broken.set()
        loop.converge()
        await until(lambda: loop.status.nodes[0].problem == "BrokeLoose: CancelledError", within=10)
        lab.commit(on("a", "n2"), on("b", "n2"))
        await until(lambda: len(lab.machines()) == 2, within=10)


async def test_a_step_whose_driver_breaks_loose_ends_unconfirmed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    opening, calls = lab.opening, []

    def opened(wanted: Any) -> Any:
        driver = opening(wanted)
        apply = driver.apply

        async def loose(step: Any, context: Any) -> Any:
            calls.append(step.verb)
            if calls.count("create") == 1 and step.verb == "create":
                raise asyncio.CancelledError
            return await apply(step, context)

        monkeypatch.setattr(driver, "apply", loose)
        return driver

    monkeypatch.setattr(lab, "opening", opened)
    lab.commit(machine("a"))
    async with lab.looping() as loop:
        await until(lambda: lab.machines() and loop.status.ready, within=60)
    ended = [each for each in lab.told(StepEnded) if each.status == "unconfirmed"]
    assert [each.verb for each in ended] == ["create"]
    assert ended[0].reason == "its driver broke off: BrokeLoose: CancelledError"


@pytest.mark.parametrize("method", ["apply", "observe"])
async def test_a_driver_that_gives_nothing_concerns_its_node_alone(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    opening, broken = lab.opening, anyio.Event()

    def opened(wanted: Any) -> Any:
        driver = opening(wanted)
        asked = getattr(driver, method)

        async def nothing(*about: Any, **more: Any) -> Any:
            found = await asked(*about, **more)
            return None if broken.is_set() and wanted.name == "n1" else found

        monkeypatch.setattr(driver, method, nothing)
        return driver

    monkeypatch.setattr(lab, "opening", opened)
    lab.commit(on("a", "n2"))
    async with lab.looping(Settings(cadence=Cadence(poll=0.1))) as loop:
        await until(lambda: loop.status.ready, within=20)
        broken.set()
        lab.commit(on("a", "n2"), on("b", "n1"), on("c", "n2"))
        loop.converge()
        await until(lambda: "Machine/acme/c" in lab.machines(), within=20)
        if method == "observe":
            await until(lambda: "TypeError" in str(loop.status.nodes[0].problem), within=20)


@pytest.mark.parametrize("how", ["hangs", "breaks loose"])
async def test_a_driver_that_does_not_close_holds_up_neither_the_source_nor_the_end(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    opening = lab.opening

    async def never() -> None:
        if how == "breaks loose":
            raise asyncio.CancelledError
        await anyio.sleep_forever()

    def opened(wanted: Any) -> Any:
        driver = opening(wanted)
        monkeypatch.setattr(driver, "close", never)
        return driver

    monkeypatch.setattr(lab, "opening", opened)
    monkeypatch.setattr(nodes, "CLOSING", 0.1, raising=False)
    lab.commit(machine("a"))
    with anyio.fail_after(30):
        async with lab.looping(Settings(cadence=Cadence(poll=0.1))) as loop:
            await until(lambda: loop.status.ready, within=20)
            lab.names = ["n1"] if lab.machines()["Machine/acme/a"] == "n1" else ["n2"]
            lab.commit(machine("a"))
            await until(lambda: len(loop.status.nodes) == 1, within=20)
            lab.commit(machine("a"), machine("b"))
            await until(lambda: len(lab.machines()) == 2, within=20)


class Telling:
    """A driver's listening that breaks, in a task of its own, while its first hint is being taken in."""

    times = 0

    async def watch(self) -> AsyncIterator[Target]:
        async with anyio.create_task_group() as group:
            group.start_soon(self._breaks)
            self.times += 1
            yield Target("n1")
            await anyio.sleep_forever()

    async def _breaks(self) -> None:
        await anyio.sleep(0.01)
        raise OSError("the connection is gone")


async def test_listening_that_breaks_is_begun_again() -> None:
    driver: Any = Telling()
    hinted: list[str] = []
    hints = Hints(Nodes(lambda _: driver), hinted.extend, Patience(between=0.1, retry=0.01, longest=0.02))
    async with anyio.create_task_group() as group:
        hints.declare({"n1": node("n1")})
        group.start_soon(hints.run)
        await until(lambda: driver.times > 2, within=10)
        group.cancel_scope.cancel()
    assert set(hinted) == {"n1"}
