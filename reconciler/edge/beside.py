"""Compressing beside the rest: zlib lets the interpreter go on meanwhile, on the second core.

Owns: the thread. Must not go here: what is compressed (core.sights).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor


def compress(data: bytes) -> Callable[[], bytes]:
    """Begins; who calls what it returns waits for it."""
    return _thread().submit(zlib.compress, data, 1).result


@cache
def _thread() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor  # of a small fleet nothing is compressed

    return ThreadPoolExecutor(1, thread_name_prefix="compress")
