"""What a listing of files may neither follow nor pass over, in words. Light: no git, no YAML.

Owns: the sentences, and which links matter. Must not go here: listing (git/tree.py, load/tree.py).
"""

from __future__ import annotations

from pathlib import PurePosixPath

Refusal = tuple[str, str]
"""(what is wrong with an entry, how to mend it)."""

SUBMODULE: Refusal = ("this is a submodule, which is not read", "put its files into this repository")
NOT_UTF8: Refusal = ("the file's name is not UTF-8", "rename it")


def link(path: str, target: str) -> Refusal | None:
    """None where the link cannot hide documents: README.md, a link to a file of another kind."""
    suffix = PurePosixPath(path).suffix
    if suffix and suffix not in (".yaml", ".yml"):
        return None
    return f"this is a symbolic link (to {target}), which is not followed", "put the documents themselves"


def unreadable(reason: str) -> Refusal:
    return f"the file cannot be read: {reason}", "let this user read it"
