"""The garbage collector, kept from looking at what is made by the million and stays.

Owns: when it looks. Must not go here: what is made.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_collector() -> Iterator[None]:
    """Without the collector while much is made that stays, which afterwards it need not look at again."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.freeze()
            gc.enable()
