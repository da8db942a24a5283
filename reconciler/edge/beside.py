"""Compressing beside the rest: zlib lets the interpreter go on meanwhile, on the second core.

Owns: the thread. Must not go here: what is compressed (core.sights).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache


def compress(data: bytes) -> Callable[[], bytes]:
    """Begins; who calls what it returns waits for it."""
    return _thread().submit(zlib.compress, data, 1).result


@cache
def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="compress")
