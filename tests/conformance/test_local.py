"""The `local` driver passes the conformance kit, on the real thing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from drivers.local.storage.choose import probe
from reconciler.testing.conformance import *  # noqa: F403
from tests.drivers.local.hand import Hand, LocalHarness
from tests.drivers.local.probe import needs

pytestmark = [pytest.mark.anyio, pytest.mark.real]


@pytest.fixture(scope="module")
def hand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hand]:
    """One instance for the whole kit: its machines have names of their own."""
    needs(probe())
    hand = Hand(tmp_path_factory.mktemp("local"))
    yield hand
    anyio.run(hand.open().tear_down)
    assert not Path(hand.place.folder).exists()


@pytest.fixture
def harness(hand: Hand) -> LocalHarness:
    return LocalHarness(hand)
