"""The `local` driver on its other storages: every change there is, on btrfs and on plain copies."""

from __future__ import annotations

from collections.abc import Iterator

import anyio
import pytest

from reconciler.testing.conformance.life import *  # noqa: F403
from reconciler.testing.conformance.volumes import *  # noqa: F403
from tests.drivers.local.hand import Hand, LocalHarness
from tests.drivers.local.probe import needs

pytestmark = [pytest.mark.anyio, pytest.mark.real]


@pytest.fixture(scope="module", params=["btrfs", "copy"])
def hand(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hand]:
    needs(request.param)
    hand = Hand(tmp_path_factory.mktemp(request.param), request.param)
    yield hand
    anyio.run(hand.open().tear_down)
    assert not hand.place.folder.exists()


@pytest.fixture
def harness(hand: Hand) -> LocalHarness:
    return LocalHarness(hand)
