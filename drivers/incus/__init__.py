"""The driver for Incus and LXD: hosts and clusters over their REST API.

Owns: the entry point. A node's address is `https://HOST[:8443]`, `unix:/PATH`, or nothing for this host's own socket.
Must not go here: anything that costs an import before a node is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drivers.incus.shape import IncusShape
from reconciler.core.desired import NodeWant
from reconciler.driver import Driver, Shape


class IncusEntry:
    """What the entry point `incus` of `trueup.drivers` names."""

    name = "incus"

    def __init__(self) -> None:
        self._rules = IncusShape()
        self.shape: Shape = self._rules

    def open(self, node: NodeWant, options: Mapping[str, Any]) -> Driver:
        """`options`: `root`, the folder that files of `identity` start from; `secrets`, values by name, or `resolve`,
        which gives them."""
        from drivers.incus.driver import IncusDriver

        return IncusDriver(node, options, self._rules)

    def overview(self, address: str, options: Mapping[str, Any]) -> str | None:
        """One token for all that a host on this machine says: another one after every change of it."""
        from drivers.incus.overview import overview

        return overview(address)


DRIVER = IncusEntry()
