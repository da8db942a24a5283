"""The edge is tested against the real thing: git, SQLite, sockets, processes."""

from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def now() -> float:
    """A fixed moment, 2026-01-02 UTC, for what takes the time as an argument."""
    return 1_767_312_000.0
