"""From a tree of YAML to Desired.

    tree ─▶ stream ─▶ events | roundtrip ─▶ document (defaults, models) ─▶ lower, machine ─▶ checks ─▶ Desired
            texts     plain values          declared things                resources        SpecErrors

Owns: reading people's documents and saying what is wrong with them, whole trees and changes to them.
Must not go here: git (a Tree is handed in), deciding what to do about what is desired.
"""

from reconciler.edge.load.findings import Warning_
from reconciler.edge.load.loader import Delta, Loader, load
from reconciler.edge.load.tree import FolderTree, MemoryTree, Tree

__all__ = ["Delta", "FolderTree", "Loader", "MemoryTree", "Tree", "Warning_", "load"]
