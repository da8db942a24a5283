"""Running nftables commands: through libnftables in this process (0.2 ms), else through `nft` (20 ms).

Owns: the call. Must not go here: rules (firewall.py).
"""

from __future__ import annotations

import ctypes
import threading
from contextlib import suppress
from typing import Any

from drivers.local.chamber import run


class FirewallFailed(Exception):
    """nftables refused; the text is one sentence."""


class Nft:
    """One context, used by one thread at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opened = False
        self._library: Any = None
        self._context: Any = None

    def _open(self) -> None:
        """Once it is needed: most looks do without."""
        self._opened = True
        with suppress(OSError):  # the command does the same, slower
            self._load(ctypes.CDLL("libnftables.so.1"))

    def _load(self, library: Any) -> None:
        library.nft_ctx_new.restype = ctypes.c_void_p
        library.nft_ctx_new.argtypes = [ctypes.c_uint32]
        library.nft_ctx_free.restype, library.nft_ctx_free.argtypes = None, [ctypes.c_void_p]
        library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        for name in ("nft_ctx_buffer_error", "nft_ctx_buffer_output"):
            getattr(library, name).argtypes = [ctypes.c_void_p]
        for name in ("nft_ctx_get_error_buffer", "nft_ctx_get_output_buffer"):
            function = getattr(library, name)
            function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_char_p
        context = library.nft_ctx_new(0)
        if context:
            library.nft_ctx_buffer_error(context)
            library.nft_ctx_buffer_output(context)
            self._library, self._context = library, context

    def run(self, text: str) -> str:
        """All commands of the text take effect together, or none. Gives what they print. Raises FirewallFailed."""
        with self._lock:
            if not self._opened:
                self._open()
            if self._context is not None:
                return self._told(text)
        done = run(["nft", "-f", "-"], stdin=text)
        if done.code != 0:
            raise FirewallFailed(f"nft: {done.text}")
        return done.out

    def _told(self, text: str) -> str:
        code = self._library.nft_run_cmd_from_buffer(self._context, text.encode())
        output: bytes = self._library.nft_ctx_get_output_buffer(self._context) or b""
        error: bytes = self._library.nft_ctx_get_error_buffer(self._context) or b""
        if code != 0:
            first = error.decode(errors="replace").strip().splitlines()
            raise FirewallFailed(f"nft: {first[0] if first else 'refused without a word'}")
        return output.decode()

    def close(self) -> None:
        """Give back what the library keeps, which follows all rules of the host (1.2 MB at 200 tables). Whoever runs
        something afterwards opens it anew."""
        with self._lock:
            if self._context is not None:
                self._library.nft_ctx_free(self._context)
            self._context, self._opened = None, False
