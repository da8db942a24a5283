"""A realistic repository with its simulated fleet, of any size, the same for the same seed.

    site        what there is: tenants, networks, nodes, machines; documents and normalised fields of each
    repository  the documents as a git history of one commit
    fleet       the objects, converged or with a share that differs

Must not go here: anything that grows with the number of machines and is kept in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from drivers.sim.generate import fleet, repository
from drivers.sim.generate.site import Site


def generate(out: Path, site: Site, progress: Callable[[str], object] = lambda _: None) -> str:
    """Write both into a folder. Gives what to try next, in words. Raises RepositoryFailed when git fails."""
    out.mkdir(parents=True, exist_ok=True)
    tree = repository.write(out, site, progress)
    fleet.write(out / repository.FLEET, site, tree, progress)
    return f"{site.machines} machines on {site.nodes} nodes in {out}; next: trueup -C {out} plan"
