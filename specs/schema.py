"""JSON Schemas of the documents, for editors and for other tools.

Owns: how models become schemas. Must not go here: validation (the models do that).
`python -m specs.schema` writes `specs/schemas/`; a test keeps the files current.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from specs.envelope import Metadata, Model, SharedMetadata
from specs.kinds import KINDS, Kind
from specs.models import MODELS
from specs.values import API_VERSION

BASE = "https://json-schema.org/draft/2020-12/schema"
FOLDER = Path(__file__).parent / "schemas"
COMBINED = "trueup.schema.json"
DEFAULTS = "defaults.schema.json"


def describe() -> None:
    """What stands beneath each field of a model becomes its description. Only here: whoever just reads documents need
    not read the source of the models, which takes a sixth of a command's start."""
    models = list(_beneath(Model))
    for model in models:
        texts = {name: text for base in reversed(model.__mro__) if base in models for name, text in _texts(base)}
        for name, field in model.model_fields.items():
            field.description = field.description or texts.get(name)
    for model in models * 2:  # again: what one is made of may come after it
        model.model_rebuild(force=True)


def _beneath(model: type[Model]) -> Iterator[type[Model]]:
    for each in model.__subclasses__():
        yield each
        yield from _beneath(each)


def _texts(model: type[Model]) -> Iterator[tuple[str, str]]:
    (found,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(found, ast.ClassDef), "a model is a class"
    for field, text in pairwise(found.body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            yield ast.unparse(field.target), inspect.cleandoc(str(text.value.value))


def _definitions() -> tuple[dict[str, Any], dict[str, Any]]:
    """({kind: schema of its spec}, shared definitions)."""
    from pydantic.json_schema import GenerateJsonSchema, models_json_schema

    describe()
    models: list[Any] = [(model, "validation") for model in MODELS.values()]
    models += [(Metadata, "validation"), (SharedMetadata, "validation")]
    refs, schema = models_json_schema(
        models, by_alias=True, ref_template="#/$defs/{model}", schema_generator=GenerateJsonSchema
    )
    definitions = schema["$defs"]
    return {name: refs[model, "validation"] for name, model in MODELS.items()}, definitions


def _metadata(kind: Kind) -> dict[str, Any]:
    schema: dict[str, Any] = {"$ref": "#/$defs/Metadata"}
    return {"allOf": [schema], "properties": {"tenant": False}} if kind.tenancy == "never" else schema


def _singular(kind: Kind, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "description": (kind.model.__doc__ or kind.name).strip(),
        "properties": {
            "apiVersion": {"const": API_VERSION},
            "kind": {"const": kind.name},
            "metadata": _metadata(kind),
            "spec": spec,
        },
        "required": ["apiVersion", "kind", "metadata"],
        "additionalProperties": False,
    }


def _plural(kind: Kind, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "description": f"Several {kind.plural} by name.",
        "properties": {
            "apiVersion": {"const": API_VERSION},
            "kind": {"const": kind.plural},
            "metadata": {"$ref": "#/$defs/SharedMetadata"},
            "items": {"type": "object", "additionalProperties": spec},
        },
        "required": ["apiVersion", "kind", "items"],
        "additionalProperties": False,
    }


def _relaxed(definitions: dict[str, Any]) -> None:
    """Fields that a kind requires may come from `_defaults.yaml`, which an editor does not see; null unsets."""
    for kind in KINDS.values():
        schema = definitions[kind.model.__name__]
        schema.pop("required", None)
        for name, field in schema.get("properties", {}).items():
            if {"type": "null"} not in field.get("anyOf", ()):
                extra = {key: field.pop(key) for key in ("description", "default", "title") if key in field}
                schema["properties"][name] = {"anyOf": [field, {"type": "null"}], **extra}


def schemas() -> dict[str, dict[str, Any]]:
    """{file name: schema}: one per kind, one over all (what a modeline names) and one for `_defaults.yaml`."""
    specs, definitions = _definitions()
    _relaxed(definitions)
    files: dict[str, dict[str, Any]] = {}
    documents: list[dict[str, Any]] = []
    rules: list[dict[str, Any]] = []
    for kind in KINDS.values():
        variants = [_singular(kind, specs[kind.name])]
        if kind.plural:
            variants.append(_plural(kind, specs[kind.name]))
        files[f"{kind.name.lower()}.schema.json"] = _file(f"{kind.name} of trueup", variants, definitions)
        documents += variants
        rules += [_when(variant) for variant in variants]
    files[COMBINED] = {
        "$schema": BASE,
        "title": "Documents of trueup",
        "type": "object",
        "properties": {
            "apiVersion": {"const": API_VERSION},
            "kind": {"enum": [variant["properties"]["kind"]["const"] for variant in documents]},
        },
        "required": ["apiVersion", "kind"],
        "allOf": rules,
        "$defs": definitions,
    }
    files[DEFAULTS] = _defaults(specs, definitions)
    return files


def _when(variant: dict[str, Any]) -> dict[str, Any]:
    """If the kind is this one, then this shape: editors complete and explain better than with `oneOf`."""
    kind = variant["properties"]["kind"]["const"]
    return {"if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]}, "then": variant}


def _file(title: str, variants: list[dict[str, Any]], definitions: dict[str, Any]) -> dict[str, Any]:
    body = variants[0] if len(variants) == 1 else {"oneOf": variants}
    return {"$schema": BASE, "title": title, **body, "$defs": _used(body, definitions)}


def _used(body: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    pending = list(_refs(body))
    while pending:
        name = pending.pop()
        if name not in found:
            found[name] = definitions[name]
            pending += _refs(definitions[name])
    return dict(sorted(found.items()))


def _refs(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"].removeprefix("#/$defs/")
        for inner in value.values():
            yield from _refs(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _refs(inner)


def _defaults(specs: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    metadata = {"$ref": "#/$defs/SharedMetadata"}
    entry: dict[str, Any] = {
        name: {
            "type": "object",
            "properties": {"metadata": metadata, "spec": spec},
            "additionalProperties": False,
        }
        for name, spec in specs.items()
        if name != "Datacenter"
    }
    entry["*"] = {"type": "object", "properties": {"metadata": metadata}, "additionalProperties": False}
    body = {"type": "object", "properties": entry, "additionalProperties": False}
    return {"$schema": BASE, "title": "_defaults.yaml of trueup", **body, "$defs": _used(body, definitions)}


def render(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def write(folder: Path = FOLDER) -> list[Path]:
    """Writes every schema, returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, schema in schemas().items():
        path = folder / name
        path.write_text(render(schema), encoding="utf-8")
        written.append(path)
    return written


def copy(folder: Path, names: Iterable[str] | None = None) -> list[Path]:
    """Copies the published schemas (all, or those named) into a folder, returns the files. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    copied = []
    for name in names if names is not None else sorted(path.name for path in FOLDER.glob("*.json")):
        path = folder / name
        path.write_text((FOLDER / name).read_text(encoding="utf-8"), encoding="utf-8")
        copied.append(path)
    return copied


if __name__ == "__main__":
    for path in write():
        print(path)
