"""What -C names: a folder here, or a repository elsewhere.

Owns: telling the two apart, and where mirrors are kept. Must not go here: fetching (edge.git.mirror).
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.edge.git.mirror import Mirror

_SSH_FORM = r"[\w.+-]+(@[\w.-]+)?:[^:]"
"""`git@host:dc.git`, as git itself takes it: no slash stands before the first colon."""


def is_remote(where: str) -> bool:
    """A URL, or a remote in ssh's short form."""
    if ":" not in where:
        return False
    return "://" in where or (re.match(_SSH_FORM, where) is not None and not Path(where).exists())


def mirror_of(where: str, state: str | None) -> Mirror | None:
    """What is remote is kept as a bare mirror, in the state folder where one is named; None for a path."""
    if not is_remote(where):
        return None
    from reconciler.edge.git.mirror import Mirror

    folder = Path(state or os.environ.get("TRUEUP_STATE") or Path.home() / ".cache" / "trueup")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return Mirror(where, folder / "mirrors")
