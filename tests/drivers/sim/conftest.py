"""A simulated fleet in a temporary file, and one node of it opened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.sim.world import World


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "fleet.db"


@pytest.fixture
def world(file: Path) -> Iterator[World]:
    with World(file) as world:
        yield world
