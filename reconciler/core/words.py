"""Values that many rows have in common, each kept once and known by a number.

Owns: the numbering. Must not go here: what a row is (bindings, facts). What was once numbered stays.
"""

from __future__ import annotations

from typing import Any


class Words:
    """`None` is number 0."""

    __slots__ = ("_numbers", "_values")

    def __init__(self) -> None:
        self._values: list[Any] = [None]
        self._numbers: dict[Any, int] = {None: 0}

    def number(self, value: Any) -> int:
        found = self._numbers.get(value)
        if found is None:
            found = self._numbers[value] = len(self._values)
            self._values.append(value)
        return found

    def __getitem__(self, number: int) -> Any:
        return self._values[number]

    def one(self, value: Any) -> Any:
        """The one object of this value: what comes from a file is a fresh one each time."""
        return self._values[self.number(value)]
