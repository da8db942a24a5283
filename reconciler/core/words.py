"""Values that many rows have in common, each kept once and known by a number.

Owns: the numbering. Must not go here: what a row is (bindings, facts). What was once numbered stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol


class Values(Protocol):
    """Values by number."""

    def __getitem__(self, number: int, /) -> Any: ...


class Words:
    """`None` is number 0. `values`: by number."""

    __slots__ = ("_numbers", "values")

    def __init__(self) -> None:
        self.values: list[Any] = [None]
        self._numbers: dict[Any, int] = {None: 0}

    @classmethod
    def of(cls, values: Iterable[Any]) -> Words:
        """Those that have these values, in the order of their numbers."""
        found = cls()
        for value in values:
            found.number(value)
        return found

    def number(self, value: Any) -> int:
        found = self._numbers.get(value)
        if found is None:
            found = self._numbers[value] = len(self.values)
            self.values.append(value)
        return found

    def shared(self, value: Any) -> Any:
        """The object of this value if it has a number, else this one."""
        return self.values[self._numbers.get(value, 0)] or value

    def one(self, value: Any) -> Any:
        """The one object of this value: what comes from a file is a fresh one each time."""
        return self.values[self.number(value)]
