"""One node on this host for the tests of a module, with a scene to make changes in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import anyio
import pytest

from tests.drivers.local.probe import needs

# before anything imports them: their assertions read best when pytest rewrites them
pytest.register_assert_rewrite("reconciler.testing.scene", "reconciler.testing.conformance")

from reconciler.testing.scene import Scene  # noqa: E402
from tests.drivers.local.hand import Hand, LocalHarness  # noqa: E402


@pytest.fixture(scope="module")
def hand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hand]:
    needs()
    hand = Hand(tmp_path_factory.mktemp("local"))
    yield hand
    anyio.run(hand.open().tear_down)


@pytest.fixture
async def scene(hand: Hand) -> AsyncIterator[Scene]:
    async with Scene(LocalHarness(hand)) as scene:
        yield scene
