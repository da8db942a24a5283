"""How plain records are read: values that are spelled in a way of their own, and records as a whole.

Owns: `spelled`, the type of such a value, and `read`. Must not go here: which values and records there are (plain.py),
how they are spelled (values.py, quantities.py, rules.py), what to say of a mistake (the models do).

msgspec reads types that it does not know with a hook, and wants an instance of the type. What comes of a `25Gi` is a
plain int: so the types made here are only names for how to read, and every value passes as an instance of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")
Reading = Callable[[Any], Any]


class _Spelled(type):
    read: Reading

    def __instancecheck__(cls, value: object) -> bool:
        return True


def spelled(inner: Any, *, before: Reading | None = None, after: Reading | None = None) -> Any:
    """A type for fields of records: `before` turns what is written into an `inner`, which `after` judges and settles.
    Both raise ValueError."""
    checked = _simple(inner) if isinstance(inner, type) and inner in _SIMPLE else _made(inner)

    def read(value: Any) -> Any:
        value = checked(value if before is None else before(value))
        return value if after is None else after(value)

    return _Spelled("Spelled", (), {"read": staticmethod(read)})


def keys(rule: Reading) -> Reading:
    """For a map, what judges and settles each of its keys."""
    return lambda value: {rule(key): each for key, each in value.items()}


_SIMPLE = (str, int, float)


def _simple(kind: type) -> Reading:
    def check(value: Any) -> Any:
        if type(value) is not kind:
            raise ValueError("another type is due here")
        return value

    return check


def _made(inner: Any) -> Reading:
    """Anything else is read by msgspec, which remembers how only for records."""
    if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
        return lambda value: msgspec.convert(value, inner, dec_hook=_hook)
    holder = msgspec.defstruct("Holder", [("value", inner)])

    def check(value: Any) -> Any:
        return msgspec.convert({"value": value}, holder, dec_hook=_hook).value  # type: ignore[attr-defined]

    return check


def _hook(kind: Any, value: Any) -> Any:
    return kind.read(value)


def read(kind: type[T], values: Any) -> T:
    """A record of plain values, as YAML gives them. Raises msgspec.ValidationError where anything is not plainly right:
    the models tell what."""
    return msgspec.convert(values, kind, dec_hook=_hook)
