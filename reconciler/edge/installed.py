"""Which drivers the environment's packages bring, remembered for as long as no folder of Python's path has changed.

Owns: asking the packages' metadata, and the memory of its answer. Must not go here: loading drivers (registry).

Asking reads one file of every installed package and takes as long as a small plan does; installing or removing a
package changes its folder's time. Losing the memory costs time alone.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from reconciler.edge.remembered import cache_folder, own
from reconciler.edge.state import write_whole

GROUP = "trueup.drivers"

Point = tuple[str, str]
"""Name, and where it is: `module:attribute`."""


class _Answer(msgspec.Struct, frozen=True):
    path: list[tuple[str, int]]
    points: list[Point]


def drivers() -> list[Point]:
    """Drivers by name, as the entry points of the group `trueup.drivers` say."""
    path, file = _path(), cache_folder() / "drivers.json"
    try:
        known = msgspec.json.decode(own(file), type=_Answer)
        if known.path == path:
            return known.points
    except (OSError, msgspec.DecodeError):
        pass  # not asked before, or not by us
    from importlib.metadata import entry_points

    points = sorted({(point.name, point.value) for point in entry_points(group=GROUP)})
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(file, msgspec.json.encode(_Answer(path, points)))
    except OSError:
        pass  # asked again the next time
    return points


def _path() -> list[tuple[str, int]]:
    """Folders in which packages are looked for, with the time of their last change in nanoseconds."""
    found: list[tuple[str, int]] = []
    for name in sys.path:
        try:
            found.append((os.path.abspath(name), Path(name).stat().st_mtime_ns))
        except OSError:
            continue
    return found
