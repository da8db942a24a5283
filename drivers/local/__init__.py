"""Driver `local`: real ZFS and LXC zones on this very host, without a daemon of ours.

Owns: the entry point. Must not go here: anything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from drivers.local.driver import LocalDriver
from drivers.local.node import unusable
from drivers.local.place import Place
from drivers.local.shape import LocalShape
from drivers.local.storage import Settings
from reconciler.core.desired import NodeWant

__all__ = ["DRIVER", "LocalDriver", "LocalEntry", "unusable"]


class LocalEntry:
    """`options["state"]` is the controller's state folder; the node's own folder is made beneath it."""

    name = "local"
    shape = LocalShape()

    def open(self, node: NodeWant, options: Mapping[str, Any]) -> LocalDriver:
        """Raises msgspec.ValidationError for a `spec.storage` of another form."""
        body = msgspec.json.decode(node.body)
        storage = body.get("storage") or body.get("spec", {}).get("storage") or {}
        settings = msgspec.convert({key: value for key, value in storage.items() if value is not None}, Settings)
        folder = (Path(options["state"]) / "local" / node.name).absolute()
        return LocalDriver(node.name, Place(folder), settings, node.nics)


DRIVER = LocalEntry()
