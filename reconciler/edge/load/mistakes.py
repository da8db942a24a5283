"""What pydantic finds, in our words: what is wrong, and what to write instead.

Owns: the sentences. Must not go here: where in the file it is; anything that a document without mistakes needs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Literal

from pydantic import ValidationError

from reconciler.edge.load.findings import Path
from reconciler.edge.load.wording import Explained, nearest
from specs.envelope import FORMS, Model
from specs.values import SpecError, text_due


def explain(wrong: ValidationError, model: type[Model], values: Any) -> list[Explained]:
    """Every mistake once. Alternatives of one field (a number or a list) are told together."""
    grouped: dict[Path, list[Any]] = {}
    for error in wrong.errors(include_url=False):
        path = _written_path(error["loc"], values, error["type"])
        grouped.setdefault(path, []).append(error)
    for path in [path for path, errors in grouped.items() if all(error["type"] in _WANTS for error in errors)]:
        if any(len(other) > len(path) and other[: len(path)] == path for other in grouped):
            del grouped[path]  # another member of the union came further, and says more
    return [_one(path, errors, model) for path, errors in grouped.items()]


def _written_path(loc: tuple[str | int, ...], values: Any, kind: str) -> Path:
    """The location without pydantic's names of union members, which nobody wrote."""
    path: list[str | int] = []
    node = values
    for position, part in enumerate(loc):
        last = position == len(loc) - 1
        if isinstance(node, dict) and part in node:
            node = node[part]
        elif isinstance(node, dict) and isinstance(part, str) and _as_int(part) in node:
            part = _as_int(part)
            node = node[part]
        elif isinstance(node, list) and isinstance(part, int) and part < len(node):
            node = node[part]
        elif last and kind == "missing":
            path.append(part)
            break
        else:
            continue
        path.append(part)
    return tuple(path)


def _as_int(part: str) -> int | str:
    return int(part) if part.lstrip("-").isdecimal() else part


def _one(path: Path, errors: list[Any], model: type[Model]) -> Explained:
    own = next((error for error in errors if isinstance(error.get("ctx", {}).get("error"), SpecError)), None)
    error = own or errors[0]
    if own is not None:
        whole: Literal["value", "whole"] = "whole" if isinstance(error["input"], dict) else "value"
        said = error["ctx"]["error"]
        return Explained(path, said.summary, said.fix, about=whole, fields=said.fields)
    if len(errors) > 1:
        wants = " or ".join(dict.fromkeys(_want(found) for found in errors))
        return Explained(path, f"{_show(error['input'])} does not fit here", f"write {wants}")
    if error["type"] == "extra_forbidden":
        return _unknown_field(path, model)
    if error["type"] == "missing":
        where = " here or in the folder's _defaults.yaml" if len(path) == 1 else ""
        return Explained(path, f"{path[-1]} is missing", f"add {path[-1]}: …{where}", "key", "missing")
    if error["type"] in _SENTENCES:
        summary, fix = _SENTENCES[error["type"]](error)
        return Explained(path, summary, fix)
    return Explained(path, f"{_show(error['input'])} does not fit here: {error['msg'].lower()}", "")


def _want(error: Any) -> str:
    if error["type"] in _LIMITED:
        return f"a number of {_LIMITED[error['type']]} {next(iter(error['ctx'].values()))}"
    return _WANTS.get(error["type"], "something else")


def _unknown_field(path: Path, model: type[Model]) -> Explained:
    fields = _fields_at(path[:-1], model)
    name = str(path[-1])
    near = nearest(name, fields)
    fix = f"did you mean {near}?" if near else (f"there are {', '.join(sorted(fields))}" if fields else "remove it")
    return Explained(path, f"{name!r} is not a field here", fix, "key", meant=near or "")


def _fields_at(path: Path, model: type[Model]) -> list[str]:
    """The fields of the model that stands at a path, as written; none where the path leads through free maps."""
    current: type[Model] | None = model
    for part in path:
        if current is None:
            break
        if isinstance(part, int):
            continue
        current = _model_of(current, part)
    if current is None:
        return []
    return [field.alias or name for name, field in current.model_fields.items()]


def _model_of(model: type[Model], name: str) -> type[Model] | None:
    for field_name, field in model.model_fields.items():
        if (field.alias or field_name) == name:
            found = list(_models_in(field.annotation))
            return found[0] if found else None
    return model if name not in {field.alias for field in model.model_fields.values()} else None


def _models_in(annotation: Any) -> Iterable[type[Model]]:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _models_in(inner)


def _show(value: Any) -> str:
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return str(value).lower()
    return "nothing" if value is None else repr(value) if isinstance(value, (str, int, float)) else f"the date {value}"


def _text(error: Any) -> tuple[str, str]:
    return text_due(error["input"])


def _choice(error: Any) -> tuple[str, str]:
    expected = error["ctx"]["expected"].replace("'", "")
    near = nearest(str(error["input"]), re.split(r", | or ", expected))
    return f"{_show(error['input'])} is not a choice here", (
        f"did you mean {near}? " if near else ""
    ) + f"one of {expected}"


def _number(error: Any) -> tuple[str, str]:
    return f"a whole number is due here, not {_show(error['input'])}", ""


def _bound(words: str, key: str) -> Callable[[Any], tuple[str, str]]:
    return lambda error: (f"{_show(error['input'])} is too {words}", f"{_LIMIT_WORDS[key]} {error['ctx'][key]}")


_LIMITED = {"greater_than_equal": "at least", "less_than_equal": "at most"}
_LIMIT_WORDS = {"ge": "at least", "le": "at most", "gt": "more than", "lt": "less than"}

_WANTS = {
    "int_type": "a number",
    "list_type": "a list",
    "string_type": "text",
    "bool_type": "true or false",
    "dict_type": "a map",
    "model_type": "a map",
    "literal_error": "a known word",
    "float_type": "a number",
}

_TRUTHS = {"yes": "write true", "on": "write true", "no": "write false", "off": "write false"}

_SENTENCES: dict[str, Callable[[Any], tuple[str, str]]] = {
    "string_type": _text,
    "literal_error": _choice,
    "int_type": _number,
    "int_from_float": _number,
    "float_type": lambda error: (f"a number is due here, not {_show(error['input'])}", ""),
    "bool_type": lambda error: (
        f"true or false is due here, not {_show(error['input'])}",
        _TRUTHS.get(str(error["input"]), ""),
    ),
    "list_type": lambda error: (f"a list is due here, not {_show(error['input'])}", "[…]"),
    "dict_type": lambda error: (f"a map is due here, not {_show(error['input'])}", "{…}"),
    "model_type": lambda error: (f"a map is due here, not {_show(error['input'])}", "{…}"),
    "model_attributes_type": lambda error: (f"a map is due here, not {_show(error['input'])}", "{…}"),
    "greater_than_equal": _bound("small", "ge"),
    "less_than_equal": _bound("large", "le"),
    "greater_than": _bound("small", "gt"),
    "less_than": _bound("large", "lt"),
    "too_short": lambda error: ("it is empty", f"at least {error['ctx']['min_length']}"),
    "string_too_short": lambda error: ("it is empty", "write something"),
    "string_too_long": lambda error: ("it is too long", f"at most {error['ctx']['max_length']} characters"),
    "string_pattern_mismatch": lambda error: (
        f"{_show(error['input'])} is not written as this field wants it",
        FORMS.get(error["ctx"]["pattern"], f"it has the form {error['ctx']['pattern']}"),
    ),
    "invalid_key": lambda error: (f"the key {error['loc'][-1]} is not text", "put it in quotes"),
    "finite_number": lambda error: (f"{_show(error['input'])} is no number to work with", ""),
}  # fmt: skip
