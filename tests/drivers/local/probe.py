"""Whether this host can run zones; tests that need them say loudly that they were not run."""

from __future__ import annotations

import pytest

from drivers.local import unusable
from drivers.local.storage.choose import unusable as storage_unusable


def needs(backend: str = "zfs-fuse") -> None:
    reason = unusable() or storage_unusable(backend)
    if reason:
        pytest.skip(f"NOT RUN, real zones on {backend}: {reason}")
