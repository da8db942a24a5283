"""What images held before. Light: the loader and who calls it share the word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Held(NamedTuple):
    """`images`: ref → digest of the contents. `when`: the tree that it is of, in words: "when it was applied last"."""

    images: Mapping[str, str]
    when: str


NOTHING_HELD = Held({}, "")
