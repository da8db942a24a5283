"""Small files of a node: written whole or not at all, whenever we are killed.

Owns: how. Must not go here: what is in them; files that a guest has bound (guest.py), which must stay the very same.
"""

from __future__ import annotations

import os
from pathlib import Path


def put(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Written aside and renamed; one that holds the text already is left alone, since others may be reading it. The
    caller sees to it that nobody else writes the same."""
    if path.exists() and path.read_text() == text:
        return
    aside = path.with_name(f"{path.name}.new")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
    aside.rename(path)
