"""Drivers that are installed, found through the entry points of the group `trueup.drivers`.

Owns: finding and loading them by name. Must not go here: opening nodes (runtime), any name of a driver.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points

from reconciler.driver import Capability, DriverEntry
from reconciler.errors import DriverMissing

GROUP = "trueup.drivers"


class Registry(Mapping[str, Capability]):
    """Installed drivers by name, each loaded when it is first asked for. As a mapping it tells what each can take."""

    def __init__(self, found: Iterable[EntryPoint] | None = None) -> None:
        """`found`: entry points; None asks the environment. Raises DriverMissing if two have one name."""
        self._points: dict[str, EntryPoint] = {}
        self._loaded: dict[str, DriverEntry] = {}
        for point in entry_points(group=GROUP) if found is None else found:
            other = self._points.setdefault(point.name, point)
            if other.value != point.value:
                raise DriverMissing(
                    f"two drivers are called {point.name}: {other.value} and {point.value}",
                    hint="uninstall one of them",
                )

    def driver(self, name: str) -> DriverEntry:
        """Raises DriverMissing, listing what there is, also when the driver cannot be imported."""
        if name in self._loaded:
            return self._loaded[name]
        point = self._points.get(name)
        if point is None:
            known = ", ".join(sorted(self._points)) or "none"
            raise DriverMissing(
                f"there is no driver {name!r}", hint=f"installed: {known}; others come with packages of their own"
            )
        try:
            entry: DriverEntry = point.load()
            capability = entry.shape.capability
        except Exception as error:  # whatever a driver's module does when imported
            raise DriverMissing(
                f"driver {name} ({point.value}) cannot be loaded: {type(error).__name__}: {error}",
                hint="is its package whole, and made for this version of trueup?",
            ) from error
        if not isinstance(capability, Capability):
            raise DriverMissing(f"driver {name} ({point.value}) does not say what it can take")
        self._loaded[name] = entry
        return entry

    def __getitem__(self, name: str) -> Capability:
        if name not in self._points:
            raise KeyError(name)
        return self.driver(name).shape.capability

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._points))

    def __len__(self) -> int:
        return len(self._points)
