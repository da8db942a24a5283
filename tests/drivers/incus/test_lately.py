"""What a server said a moment ago: asked once for all who wait, and anew for who comes later or after a change."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from trio.testing import MockClock

from drivers.incus.lately import RECENT, Lately

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": MockClock(autojump_threshold=0.0)}


class Slow:
    """A server that takes longer over an answer than an answer may be old."""

    def __init__(self) -> None:
        self.asked = 0
        self.lately = Lately(self._answer)

    async def _answer(self) -> int:
        self.asked += 1
        number = self.asked
        await anyio.sleep(3 * RECENT)
        return number


async def _together(slow: Slow, many: int) -> list[int]:
    said = []

    async def one() -> None:
        said.append(await slow.lately.get())

    async with anyio.create_task_group() as group:
        for _ in range(many):
            group.start_soon(one)
    return said


async def test_all_who_wait_have_one_answer_however_long_it_takes() -> None:
    slow = Slow()
    assert await _together(slow, 4) == [1, 1, 1, 1]


async def test_who_comes_when_the_answer_is_old_has_a_new_one() -> None:
    slow = Slow()
    await slow.lately.get()
    assert await _together(slow, 2) == [2, 2]


async def test_after_a_change_of_ours_nothing_older_is_good() -> None:
    slow = Slow()
    assert await slow.lately.get() == 1
    slow.lately.drop()
    assert await slow.lately.get() == 2


async def test_answer_begun_before_a_change_of_ours_is_not_kept() -> None:
    slow = Slow()
    async with anyio.create_task_group() as group:
        group.start_soon(slow.lately.get)
        await anyio.sleep(2.5 * RECENT)
        slow.lately.drop()
        assert await slow.lately.get() == 2
