"""People's handlers beside the loop.

On the virtual clock handlers are coroutines: that clock jumps on while a thread works, past any limit. What a plain
function is, a call in a thread, has a test of its own on a real clock.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest

from reconciler.core.desired import Policy
from reconciler.errors import UsageError
from reconciler.handlers import Handlers, load
from reconciler.runtime.handling import Handling
from tests.builders import GiB, machine
from tests.runtime.lab import Lab, on, until

pytestmark = pytest.mark.anyio
REPORT = Policy(follow="auto", drift="report")


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


@pytest.fixture
def registered(tmp_path: Path) -> Callable[[str], tuple[Handlers, list[Any]]]:
    """Handlers of a file with this text, in which `told` is a list that the test sees."""

    def made(text: str) -> tuple[Handlers, list[Any]]:
        path = tmp_path / "mine.py"
        path.write_text(
            f"from reconciler.handlers import *\nfrom reconciler.handlers import on, timer\ntold = []\n{text}"
        )
        found = load([path])
        functions = [each.function for each in (*found.handlers, *found.timers)]
        return found, functions[0].__globals__["told"]

    return made


def handling(handlers: Handlers, warned: list[str] | None = None) -> Handling:
    return Handling(handlers, warn=(warned if warned is not None else []).append)


async def test_what_is_created_and_updated_is_told_with_what_the_handler_asks_for(lab: Lab, registered: Any) -> None:
    handlers, told = registered("""
@on.created("Machine")
async def made(ref, after, **_):
    told.append(("created", ref, after["memory"]))

@on.updated("Machine", field="/memory")
async def grown(ref, differences):
    told.append(("updated", ref, differences[0].after))

@on.updated("Machine", field="/cpu")
async def never(ref):
    told.append("wrong")
""")
    lab.commit(machine("a"))
    async with lab.looping(handling=handling(handlers)):
        await until(lambda: told)
        lab.commit(machine("a", memory=2 * GiB))
        await until(lambda: len(told) == 2)
    assert told == [("created", "Machine/acme/a", GiB), ("updated", "Machine/acme/a", 2 * GiB)]


async def test_drift_is_told_once_and_again_when_it_is_another(lab: Lab, registered: Any) -> None:
    handlers, told = registered("""
@on.drifted("Machine")
async def drifted(ref, differences, reason):
    told.append((differences[0].before, reason))
""")
    lab.commit(on("a", "n1"), policy=REPORT)
    async with lab.looping(handling=handling(handlers)) as loop:
        await until(lambda: loop.status.ready)
        lab.fleet.drift("n1", "Machine/acme/a", "/memory", 5)
        await until(lambda: told)
        await anyio.sleep(3600)
        lab.fleet.drift("n1", "Machine/acme/a", "/memory", 6)
        await until(lambda: len(told) == 2)
    assert [before for before, _ in told] == [5, 6]
    assert "changed on the node" in told[0][1]


async def test_a_failed_change_is_told(lab: Lab, registered: Any) -> None:
    handlers, told = registered("""
@on.failed("Machine", ref="acme/*")
async def failed(ref, reason):
    told.append((ref, reason))
""")
    lab.fleet.fail("fail", verb="start", reason="no power")
    lab.commit(machine("a"))
    async with lab.looping(handling=handling(handlers)):
        await until(lambda: told)
    assert told[0] == ("Machine/acme/a", "no power")


async def test_a_handler_is_tried_again_with_patience_and_given_up_with_a_word(lab: Lab, registered: Any) -> None:
    handlers, told = registered("""
import time

@on.created("Machine", retries=2, backoff=10)
async def often(retry):
    told.append(("often", retry))
    raise RuntimeError("the wiki is down")

@on.created("Machine")
async def once(retry):
    told.append(("once", retry))
    raise PermanentError("never")

@on.created("Machine")
async def later(retry):
    told.append(("later", retry))
    if not retry:
        raise TemporaryError("not yet", delay=30)
""")
    warned: list[str] = []
    lab.commit(machine("a"))
    async with lab.looping(handling=handling(handlers, warned)):
        await until(lambda: ("later", 1) in told)
    assert told == [("often", 0), ("often", 1), ("often", 2), ("once", 0), ("later", 0), ("later", 1)]
    assert [line.partition(":")[0] for line in warned] == [
        "Handler often failed 3 times for Machine/acme/a",
        "Handler once gave Machine/acme/a up",
    ]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_plain_function_is_called_in_a_thread_and_tried_again(lab: Lab, registered: Any) -> None:
    handlers, told = registered("""
import threading

@on.created("Machine", retries=1, backoff=0.05)
def made(ref, retry):
    told.append((ref, retry, threading.current_thread() is threading.main_thread()))
    if not retry:
        raise RuntimeError("the wiki is down")
""")
    lab.commit(machine("a"))
    async with lab.looping(handling=handling(handlers)):
        await until(lambda: len(told) == 2, within=60)
    assert told == [("Machine/acme/a", 0, False), ("Machine/acme/a", 1, False)]


async def test_a_slow_handler_holds_up_neither_the_loop_nor_others(lab: Lab, registered: Any) -> None:
    handlers, told = registered("""
import anyio

@on.created("Machine", ref="acme/a", timeout=9e9)
async def slow(ref):
    told.append(ref)
    await anyio.sleep(9e8)

@on.created("Machine", ref="acme/b")
async def quick(ref):
    told.append(ref)
""")
    lab.commit(machine("a"))
    async with lab.looping(handling=handling(handlers)) as loop:
        await until(lambda: told)
        lab.commit(machine("a"), machine("b"))
        await until(lambda: len(told) == 2 and loop.status.ready)
    assert told == ["Machine/acme/a", "Machine/acme/b"]


async def test_a_planned_handler_holds_a_change_and_says_why_and_a_broken_one_holds_too(
    lab: Lab, registered: Any
) -> None:
    handlers, told = registered("""
@on.planned("Machine", ref="acme/a")
def freeze(ref, before):
    if not told:
        return "the books are being closed"

@on.planned("Machine", ref="acme/b")
def broken(ref):
    raise KeyError(ref)
""")
    lab.commit(machine("a"), machine("b"), machine("c"))
    async with lab.looping(handling=handling(handlers)) as loop:
        await until(lambda: lab.machines())
        await anyio.sleep(600)
        assert set(lab.machines()) == {"Machine/acme/c"}
        assert "the books are being closed" in loop.status.stalled[0]
        assert "broken failed" in loop.status.stalled[0]
        told.append("closed")
        loop.converge()
        await until(lambda: set(lab.machines()) == {"Machine/acme/a", "Machine/acme/c"})


async def test_timers_tick_and_never_overlap(lab: Lab, registered: Any) -> None:
    handlers, told = registered("""
import anyio

@timer("10m")
async def tick():
    told.append(anyio.current_time())
    await anyio.sleep(30)
""")
    lab.commit(machine("a"))
    async with lab.looping(handling=handling(handlers)):
        await until(lambda: len(told) == 3, within=4000)
    assert [round(b - a) for a, b in pairwise(told)] == [630, 630]


def test_handlers_are_never_loaded_from_the_specs_repository(tmp_path: Path) -> None:
    (tmp_path / "dc").mkdir()
    mine = tmp_path / "dc" / "mine.py"
    mine.write_text("raise SystemError('it ran')")
    (tmp_path / "link.py").symlink_to(mine)
    for path in (mine, tmp_path / "link.py"):
        with pytest.raises(UsageError, match="no code of a specs repository"):
            load([path], outside=tmp_path / "dc")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nosuchmodule", "ModuleNotFoundError"),
        ("from reconciler.handlers import on\n@on.exploded('Machine')\ndef f(): ...", "there is no event 'exploded'"),
        ("from reconciler.handlers import on\n@on.planned()\nasync def f(): ...", "cannot be async"),
        ("from reconciler.handlers import timer\n@timer('soon')\ndef f(): ...", "no length of time"),
    ],
)
def test_a_file_of_handlers_that_cannot_be_loaded_is_told(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(UsageError, match="mine") as told:
        load([tmp_path / "mine.py"])
    assert said in told.value.message
