"""Hashes, as hashlib has them, without the OpenSSL that it loads.

Owns: where `blake2b`, `sha1` and `sha256` come from. Must not go here: what is hashed, secrets (hmac).

Loading OpenSSL takes 3 ms, a fortieth of a command. The modules behind hashlib are there without it; Python's own
`random` takes its hash from one of them for the same reason. A Python that was built without them has hashlib.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import blake2b, sha1, sha256
else:
    try:
        from _blake2 import blake2b
        from _sha1 import sha1

        sha256 = import_module("_sha2" if sys.version_info >= (3, 12) else "_sha256").sha256
    except ImportError:  # pragma: no cover - no Python that we test with is built so
        from hashlib import blake2b, sha1, sha256

__all__ = ["blake2b", "sha1", "sha256"]
