"""The simulated driver: a durable fleet in one SQLite file, for rehearsal, learning and scale.

Owns: the entry point. A node's address is `sim:FILE`; its name selects the node in the file.
Must not go here: anything that costs an import before a node is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivers.sim.shape import SimShape
from reconciler.core.desired import NodeWant
from reconciler.driver import Driver, Shape

if TYPE_CHECKING:
    from drivers.sim.world import World


class SimEntry:
    """What the entry point `sim` of `trueup.drivers` names."""

    name = "sim"

    def __init__(self) -> None:
        self._rules = SimShape()
        self.shape: Shape = self._rules

    def open(self, node: NodeWant, options: Mapping[str, Any]) -> Driver:
        """`options["root"]`: the folder that a relative FILE starts from."""
        from drivers.sim.driver import SimDriver

        return SimDriver(node.address, node.name, self._rules, root=str(options.get("root", "")))

    def overview(self, address: str, options: Mapping[str, Any]) -> str | None:
        """One token for all that the nodes of a fleet's file say: another one after every change of it."""
        from drivers.sim.store import overview

        return overview(Path(str(options.get("root", "")), address.partition(":")[2]))

    def world(self, path: str | Path) -> World:
        """The fleet from behind: what rehearsals and tests change without the driver's knowledge."""
        from drivers.sim.world import World

        return World(path)

    def generate(self, out: Path, progress: Callable[[str], object], **site: Any) -> str:
        """A repository and its converged fleet; `site` as in `drivers.sim.generate.site.Site`. Raises ValueError for
        numbers that make no site, OSError when git or the disk fails."""
        from drivers.sim.generate import generate
        from drivers.sim.generate.site import Site

        return generate(out, Site(**site), progress)


DRIVER = SimEntry()
