"""The runtime runs on trio's virtual clock: a day of waiting takes no time."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import MockClock

from tests.runtime.worlds import World


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": MockClock(autojump_threshold=0.0)}


@pytest.fixture
def world() -> World:
    return World()
