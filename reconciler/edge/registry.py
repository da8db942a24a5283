"""Drivers that are installed, found through the entry points of the group `trueup.drivers`.

Owns: finding and loading them by name. Must not go here: opening nodes (runtime), any name of a driver.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from operator import attrgetter

from reconciler.driver import Capability, DriverEntry
from reconciler.edge.installed import Point, drivers
from reconciler.errors import DriverMissing


class Registry(Mapping[str, Capability]):
    """Installed drivers by name, each loaded when it is first asked for. As a mapping it tells what each can take."""

    def __init__(self, found: Iterable[Point] | None = None) -> None:
        """`found`: names and where they are; None asks the environment. Raises DriverMissing if two have one name."""
        self._points: dict[str, str] = {}
        self._loaded: dict[str, DriverEntry] = {}
        for name, place in drivers() if found is None else found:
            other = self._points.setdefault(name, place)
            if other != place:
                raise DriverMissing(
                    f"two drivers are called {name}: {other} and {place}",
                    hint="uninstall one of them",
                )

    def driver(self, name: str) -> DriverEntry:
        """Raises DriverMissing, listing what there is, also when the driver cannot be imported."""
        if name in self._loaded:
            return self._loaded[name]
        place = self._points.get(name)
        if place is None:
            known = ", ".join(sorted(self._points)) or "none"
            raise DriverMissing(
                f"there is no driver {name!r}", hint=f"installed: {known}; others come with packages of their own"
            )
        try:
            module, _, attribute = place.partition(":")
            entry: DriverEntry = attrgetter(attribute)(import_module(module))
            capability = entry.shape.capability
        except Exception as error:  # whatever a driver's module does when imported
            raise DriverMissing(
                f"driver {name} ({place}) cannot be loaded: {type(error).__name__}: {error}",
                hint="is its package whole, and made for this version of trueup?",
            ) from error
        if not isinstance(capability, Capability):
            raise DriverMissing(f"driver {name} ({place}) does not say what it can take")
        self._loaded[name] = entry
        return entry

    def __getitem__(self, name: str) -> Capability:
        if name not in self._points:
            raise KeyError(name)
        return self.driver(name).shape.capability

    def __contains__(self, name: object) -> bool:
        return name in self._points

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._points))

    def __len__(self) -> int:
        return len(self._points)
