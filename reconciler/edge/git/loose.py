"""What was committed lately, read without asking git: a branch, and objects, that are a file each.

Owns: reading such a file, and proving that it holds what its name says. Must not go here: packs, alternates, refs kept
in other formats: what is not found here is git's to find, and what is not whole is git's to tell.

A question to a process that stays open takes two changes of context, which on a busy host is most of what a commit
costs a loop. Replacements and grafts do not count here either.
"""

from __future__ import annotations

import os
import re
import sys
import zlib
from pathlib import Path

from reconciler.core.hashes import sha1

_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_MOST = 256 << 10
"""Bytes of an object, beyond which git reads it."""
_LONG = 1 << 10
"""Bytes from which it matters how a hash is made."""
_USUAL = 16 << 10
"""Bytes that nearly every file is below."""


class Loose:
    """`common`: the folder that all working trees of a repository share."""

    def __init__(self, common: Path) -> None:
        self._heads = f"{common}/refs/heads/"
        self._objects = f"{common}/objects/"

    def head(self, branch: str) -> str | None:
        """The id that a branch stands for, where a file says so."""
        if any(part in ("", ".", "..") for part in branch.split("/")):
            return None
        told = _bytes(self._heads + branch)
        text = told.decode(errors="replace").rstrip() if told is not None else ""
        return text if _ID.fullmatch(text) else None

    def there(self, id_: str) -> bool:
        return bool(_ID.fullmatch(id_)) and os.path.exists(self._place(id_))

    def read(self, id_: str) -> tuple[str, bytes] | None:
        """Kind and contents of an object."""
        packed = _bytes(self._place(id_)) if _ID.fullmatch(id_) else None
        if packed is None:
            return None
        opening = zlib.decompressobj()
        try:
            data = opening.decompress(packed, _MOST)
        except zlib.error:
            return None
        if not opening.eof or opening.unused_data or _id_of(data, len(id_)) != id_:
            return None
        head, _, content = data.partition(b"\0")
        return head.partition(b" ")[0].decode(), content

    def _place(self, id_: str) -> str:
        return f"{self._objects}{id_[:2]}/{id_[2:]}"


def get_ready() -> None:
    """Long objects will be read soon: what proves them is loaded, where that is quick."""
    if "ssl" in sys.modules:
        import hashlib  # noqa: F401 — OpenSSL's


def _id_of(data: bytes, digits: int) -> str:
    if digits == 40:
        if len(data) > _LONG and "ssl" in sys.modules:
            from hashlib import sha1 as quick  # of OpenSSL, ten times as fast, and quickly loaded where `ssl` is

            return quick(data, usedforsecurity=False).hexdigest()
        return sha1(data, usedforsecurity=False).hexdigest()
    from hashlib import sha256  # few repositories are of that kind

    return sha256(data).hexdigest()


def _bytes(path: str) -> bytes | None:
    try:
        data = bytes_of(path)
    except (OSError, ValueError):
        return None
    return data if len(data) < _MOST else None


def bytes_of(path: str) -> bytes:
    """What a file holds, of a large one the beginning. Raises OSError; ValueError where no file can be called so."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # room for the most would be asked of the system each time, and given back: that takes ten times as long
        data = os.read(descriptor, _USUAL)
        return data if len(data) < _USUAL else data + os.read(descriptor, _MOST)
    finally:
        os.close(descriptor)
