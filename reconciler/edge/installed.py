"""Which drivers the environment's packages bring, remembered for as long as no folder of Python's path has changed.

Owns: asking the packages' metadata, and the memory of its answer. Must not go here: loading drivers (registry).

Asking reads one file of every installed package, so the answer is kept; installing or removing a package changes its
folder's time. Losing the memory costs time alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from reconciler.edge.remembered import cache_folder, own
from reconciler.edge.state import write_sealed

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
    points = sorted(set(_asked(sys.path)))
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_sealed(file, msgspec.json.encode(_Answer(path, points)))
    except OSError:
        pass  # asked again the next time
    return points


def _asked(path: Iterable[str]) -> Iterator[Point]:
    """What the packages on the path say, of one that is there twice the first. As importlib.metadata tells it, in a
    tenth of the time; where something on the path is no folder (a zip), that is asked."""
    folders = [folder for folder in dict.fromkeys(path) if os.path.exists(folder or ".")]
    if not all(os.path.isdir(folder or ".") for folder in folders):
        from importlib.metadata import entry_points

        yield from ((point.name, point.value) for point in entry_points(group=GROUP))
        return
    seen = set[str]()
    for folder in folders:
        for name in sorted(os.listdir(folder or ".")):
            stem, kind = os.path.splitext(name)
            package = stem.partition("-")[0].lower().replace(".", "_")
            if kind in (".dist-info", ".egg-info") and package not in seen:
                seen.add(package)
                yield from _said(os.path.join(folder, name, "entry_points.txt"))


def _said(file: str) -> Iterator[Point]:
    """The points of our group in a package's `entry_points.txt`."""
    try:
        text = Path(file).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    group = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            group = line.strip("[]")
        elif group == GROUP and "=" in line and not line.startswith("#"):
            name, _, place = line.partition("=")
            yield name.strip(), place.strip()


def _path() -> list[tuple[str, int]]:
    """Folders in which packages are looked for, with the time of their last change in nanoseconds."""
    found: list[tuple[str, int]] = []
    for name in sys.path:
        try:
            found.append((os.path.abspath(name), Path(name).stat().st_mtime_ns))
        except OSError:
            continue
    return found
