"""How plain records are read: values that are spelled in a way of their own, and records as a whole.

Owns: `spelled`, the type of such a value, and `read`. Must not go here: which values and records there are (plain.py),
how they are spelled (values.py, quantities.py, rules.py), what to say of a mistake (the models do).

msgspec reads types that it does not know with a hook, and wants an instance of the type. What comes of a `25Gi` is a
plain int: so the types made here are only names for how to read, and every value passes as an instance of them.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import partial
from operator import call, is_not
from typing import Any, TypeVar, get_args

import msgspec

T = TypeVar("T")
Reading = Callable[[Any], Any]


class _Spelled(type):
    """Called with what is written, such a type gives what that comes to."""

    __instancecheck__ = staticmethod(partial(is_not, object()))
    """Always true, without a frame: msgspec asks for every value."""


def spelled(inner: Any, *, before: Reading | None = None, after: Reading | None = None) -> Any:
    """A type for fields of records: `before` turns what is written into an `inner`, which `after` judges and settles.
    Both raise ValueError."""
    plainly = inner if isinstance(inner, type) and inner in _SIMPLE else str if _takes_text(inner) else None
    checked = _wrong if plainly is inner else _made(inner)

    # one frame for a value, where it can be: a document has dozens
    def read(_: Any, value: Any) -> Any:
        if before is not None:
            value = before(value)
        if type(value) is not plainly:
            value = checked(value)
        return value if after is None else after(value)

    return _Spelled("Spelled", (), {"__new__": read})


def _takes_text(inner: Any) -> bool:
    """Whether any text is an `inner`."""
    return isinstance(inner, types.UnionType) and str in get_args(inner)


def keys(rule: Reading) -> Reading:
    """For a map, what judges and settles each of its keys."""
    return lambda value: {rule(key): each for key, each in value.items()}


_SIMPLE = (str, int, float)


def _wrong(_: Any) -> Any:
    raise ValueError("another type is due here")


def _made(inner: Any) -> Reading:
    """Anything else is read by msgspec, which remembers how only for records."""
    if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
        return lambda value: msgspec.convert(value, inner, dec_hook=call)
    holder = msgspec.defstruct("Holder", [("value", inner)])

    def check(value: Any) -> Any:
        return msgspec.convert({"value": value}, holder, dec_hook=call).value  # type: ignore[attr-defined]

    return check


def read(kind: type[T], values: Any) -> T:
    """A record of plain values, as YAML gives them. Raises msgspec.ValidationError where anything is not plainly right:
    the models tell what."""
    return msgspec.convert(values, kind, dec_hook=call)
