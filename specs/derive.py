"""From the models (pydantic) to plain records (msgspec) that read the same: writes `plain.py`, and `scalars.py` with
the values in them that are spelled in a way of their own.

Owns: how a model's field becomes a record's. Must not go here: anything needed when documents are read.
`python -m specs.derive` writes the files; a test keeps them current, another that both read alike.
"""

from __future__ import annotations

import json
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, MaxLen, MinLen
from pydantic import AfterValidator, BeforeValidator, StringConstraints, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

from specs import datacenter, envelope, firewall, image, machine, network, node, package, tenant, units, volume
from specs.envelope import Metadata, Model, SharedMetadata
from specs.models import MODELS

FILE, SCALARS = (Path(__file__).with_name(name) for name in ("plain.py", "scalars.py"))
_MODULES = (units, envelope, network, tenant, datacenter, firewall, image, machine, node, package, volume)
_LARGEST = repr(sys.float_info.max).replace("+", "")
_WIDTH = 120

_HEAD = '''\
"""The specs as plain records: what a document comes to once it is found right. Written by `python -m specs.derive`.

They have the fields of the models, and read the same values: quickly, and without a word on what is wrong.
"""

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta, field

from specs import rules, values
from specs.scalars import (
IMPORTED
)
from specs.spelled import keys, spelled


class Plain(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A spec, or a part of one."""
'''

_SCALARS = '''\
"""Values that are spelled in a way of their own, as plain records hold and read them. Written by
`python -m specs.derive`."""

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from specs import quantities, rules, values
from specs.spelled import keys, spelled

'''


def spelled_types() -> list[tuple[str, Any]]:
    """The types of values that are spelled in a way of their own, by the names they have beside the models."""
    return [(name, value) for module in _MODULES for name, value in vars(module).items() if _is_spelled(value)]


class _Writer:
    def __init__(self) -> None:
        self.classes: list[str] = []
        """And spelled types made of them, each before what is made of it."""
        self.plainest: list[tuple[str, str]] = []
        """Spelled types made of no record: for the type checker, and as they are."""
        self.known: set[str] = set()
        self.simple: set[str] = set()
        self.named = spelled_types()

    # -- what stands in a field --------------------------------------------------------------------------------------

    def typed(self, hint: Any) -> str:
        """A type as the record has it. What it is made of is written before."""
        if _is_spelled(hint):
            return self.spelling(hint)
        origin = get_origin(hint)
        if origin is Annotated:
            inner, *more = get_args(hint)
            return self.bounded(inner, more)
        if origin in (Union, types.UnionType):
            return " | ".join(self.typed(each) for each in get_args(hint))
        if origin is Literal:
            return f"Literal[{', '.join(map(_literal, get_args(hint)))}]"
        if origin is dict and _is_spelled(get_args(hint)[0]):
            return self.keyed(*get_args(hint))
        if origin in (list, dict):
            return f"{origin.__name__}[{', '.join(self.typed(each) for each in get_args(hint))}]"
        if isinstance(hint, type) and issubclass(hint, Model):
            self.record(hint)
            return hint.__name__
        return _finite() if hint is float else "None" if hint is type(None) else str(hint.__name__)

    def bounded(self, inner: Any, more: list[Any]) -> str:
        said = dict(pair for each in more for pair in _bounds(each))
        if inner is float:
            said.setdefault("le", _LARGEST)
        bounds = ", ".join(f"{key}={value}" for key, value in said.items())
        kind = "float" if inner is float else self.typed(inner)
        return f"Annotated[{kind}, Meta({bounds})]" if bounds else kind

    def spelling(self, hint: Any) -> str:
        """The name of a type that is spelled in a way of its own."""
        name = next((name for name, value in self.named if value == hint), None)
        if name is None:
            raise TypeError(f"{hint} needs a name of its own in the module of its kind")
        inner, *more = get_args(hint)
        how = [f"before={_place(each.func)}" for each in more if isinstance(each, BeforeValidator)]
        how += [f"after={_place(each.func)}" for each in more if isinstance(each, AfterValidator)]
        return self.defined(name, "float" if inner is float else self.typed(inner), how)

    def keyed(self, key: Any, value: Any) -> str:
        """A map whose keys are spelled in a way of their own: msgspec asks nobody about keys that are text."""
        inner, rule = get_args(key)[:2]
        if inner is not str or not isinstance(rule, AfterValidator):
            raise TypeError(f"{key} is no key of a map")
        what = f"dict[str, {self.typed(value)}]"
        name = f"{value.__name__ if isinstance(value, type) else self.typed(value)}By{self.spelling(key)}"
        return self.defined(name, what, [f"after=keys({_place(rule.func)})"])

    def defined(self, name: str, typed: str, how: list[str]) -> str:
        """Writes a spelled type, once; gives its name."""
        if name in self.known:
            return name
        self.known.add(name)
        made = f"    {name} = spelled({', '.join([typed, *how])})"
        if len(made) > _WIDTH:
            made = "\n        ".join([f"    {name} = spelled(", *[f"{each}," for each in (typed, *how)]]) + "\n    )"
        if set(re.findall(r"\w+", typed)) & self.known - self.simple:
            self.classes.append(f"if TYPE_CHECKING:\n    {name} = {typed}\nelse:\n{made}")
        else:
            self.simple.add(name)
            self.plainest.append((f"    {name} = {typed}", made))
        return name

    # -- records -----------------------------------------------------------------------------------------------------

    def record(self, model: type[Model]) -> None:
        if model.__name__ in self.known:
            return
        self.known.add(model.__name__)
        hints = get_type_hints(model, include_extras=True)
        body = [self.field(name, hints[name], info) for name, info in model.model_fields.items()]
        wholes: list[Any] = [each.func for each in model.__pydantic_decorators__.model_validators.values()]
        body += [f"\n    def __post_init__(self) -> None:\n        {_place(each.rule)}(self)" for each in wholes]
        self.classes.append("\n".join([f"class {model.__name__}(Plain, frozen=True, kw_only=True):", *body]))

    def field(self, name: str, hint: Any, info: FieldInfo) -> str:
        typed = self.typed(hint)
        said = {}
        if info.alias and info.alias != to_camel(name):
            said["name"] = _literal(info.alias)
        if info.default_factory is not None:
            made = info.default_factory.__name__
            said["default_factory"] = made
        elif not info.is_required():
            said["default"] = _literal(info.default)
        if set(said) == {"default"}:
            return f"    {name}: {typed} = {said['default']}"
        more = ", ".join(f"{key}={value}" for key, value in said.items())
        return f"    {name}: {typed}" + (f" = field({more})" if said else "")


def _is_spelled(hint: Any) -> bool:
    return get_origin(hint) is Annotated and any(
        isinstance(each, (BeforeValidator, AfterValidator)) for each in get_args(hint)[1:]
    )


def _finite() -> str:
    return f"Annotated[float, Meta(ge=-{_LARGEST}, le={_LARGEST})]"


def _bounds(said: Any) -> Iterator[tuple[str, str]]:
    """What limits a value, in msgspec's words."""
    if isinstance(said, FieldInfo):
        for each in said.metadata:
            yield from _bounds(each)
    elif isinstance(said, StringConstraints):
        for key in ("min_length", "max_length"):
            if (length := getattr(said, key)) is not None:
                yield key, str(length)
        if said.pattern is not None:
            # Python's $ lets a newline follow, pydantic's does not
            yield "pattern", 'r"' + re.sub(r"\$$", r"\\Z", str(said.pattern)) + '"'
    elif isinstance(said, (Ge, Gt, Le)):
        for key in ("ge", "gt", "le"):
            if hasattr(said, key):
                yield key, repr(getattr(said, key))
    elif isinstance(said, (MinLen, MaxLen)):
        key = "min_length" if isinstance(said, MinLen) else "max_length"
        yield key, str(getattr(said, key))
    elif not isinstance(said, WithJsonSchema):
        raise TypeError(f"{said!r} says nothing to plain records")


def _literal(value: Any) -> str:
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _place(function: Any) -> str:
    return f"{function.__module__.rpartition('.')[2]}.{function.__name__}"


def texts() -> dict[Path, str]:
    """The sources by file."""
    writer = _Writer()
    models: list[type[Model]] = [*MODELS.values(), Metadata, SharedMetadata]
    for model in models:
        writer.record(model)
    register = f"_ALL: tuple[type[Plain], ...] = (\n    {', '.join(MODELS)},\n)  # fmt: skip\n"
    register += "KINDS = {kind.__name__: kind for kind in _ALL}\n"
    checked, made = ("\n".join(each) for each in zip(*writer.plainest, strict=True))
    scalars = f"{_SCALARS}if TYPE_CHECKING:\n{checked}\nelse:\n{made}\n"
    names = sorted(writer.simple & set(re.findall(r"\w+", " ".join(writer.classes))))
    head = _HEAD.replace("IMPORTED", "\n".join(f"    {name}," for name in names))
    return {FILE: "\n\n".join([head, *[f"{each}\n" for each in writer.classes], register]), SCALARS: scalars}


def write() -> list[Path]:
    for file, text in texts().items():
        file.write_text(text, encoding="utf-8")
    return [FILE, SCALARS]


if __name__ == "__main__":
    print(*write(), sep="\n")
