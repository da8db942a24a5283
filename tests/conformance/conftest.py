"""The kit's assertions read best when pytest rewrites them."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("reconciler.testing.scene", "reconciler.testing.conformance")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
