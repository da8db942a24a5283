"""What every test shares: one async backend, how hard properties try, no pieces of this host's settings.

Profiles of hypothesis (`TRUEUP_PROFILE`): `ci` tries the same examples in every run, so that a red run is a change's
fault; `search` (and `long`, for `make test-long`) tries new ones each time, many more.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

from tests.ending import take_down_when_told

_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
settings.register_profile("ci", derandomize=True, deadline=None, suppress_health_check=_SLOW, max_examples=60)
settings.register_profile("search", deadline=None, suppress_health_check=_SLOW, max_examples=1000)
settings.register_profile("long", parent=settings.get_profile("search"))
settings.load_profile(os.environ.get("TRUEUP_PROFILE", "ci"))


def pytest_configure() -> None:
    take_down_when_told()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
