"""Plain copies in a folder: for hosts that have neither ZFS nor btrfs. Nothing enforces `disk` here.

Owns: copying and removing roots. Must not go here: names and marks (folders.py).
"""

from __future__ import annotations

from pathlib import Path

from drivers.local.chamber import run
from drivers.local.storage import StorageFailed
from drivers.local.storage.folders import Folders


class Copies(Folders):
    backend = "copy"

    @property
    def _top(self) -> Path:
        return Path(self._settings.pool) if self._settings.pool else self._place.pool

    def _copy_root(self, source: Path, root: Path) -> None:
        done = run(["cp", "-a", "--reflink=auto", str(source), str(root)], timeout=600)
        if done.code != 0:
            raise StorageFailed(done.text)
