"""The published JSON Schemas: current, sound, and of one mind with the models."""

# ruff: noqa: E501
from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from specs.kinds import KINDS
from specs.schema import COMBINED, DEFAULTS, FOLDER, render, schemas

ROOT = Path(__file__).resolve().parents[2]
MADE = schemas()
EXAMPLES = [
    path
    for path in sorted((ROOT / "examples").rglob("*.yaml"))
    if not path.read_text().startswith("#cloud-config") and "apiVersion: trueup/v1" in path.read_text()
]


def documents(text: str) -> list[Any]:
    return [one for one in YAML(typ="safe", pure=True).load_all(io.StringIO(text)) if one is not None]


def complaints(schema: dict[str, Any], document: Any) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(document)]


@pytest.mark.parametrize("name", MADE)
def test_the_schema_in_the_repository_is_current(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == render(MADE[name]), "python -m specs.schema"


def test_no_schema_is_left_over() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(MADE)


@pytest.mark.parametrize("name", MADE)
def test_the_schema_is_a_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(MADE[name])


def test_every_kind_has_a_schema_and_a_place_in_the_combined_one() -> None:
    kinds = MADE[COMBINED]["properties"]["kind"]["enum"]
    for kind in KINDS.values():
        assert f"{kind.name.lower()}.schema.json" in MADE
        assert kind.name in kinds
        assert kind.plural is None or kind.plural in kinds


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_combined_schema_takes_the_examples(path: Path) -> None:
    for document in documents(path.read_text()):
        assert complaints(MADE[COMBINED], document) == []


@pytest.mark.parametrize("path", sorted((ROOT / "examples").rglob("_defaults.yaml")))
def test_the_schema_of_defaults_takes_the_examples(path: Path) -> None:
    for document in documents(path.read_text()):
        assert complaints(MADE[DEFAULTS], document) == []


HEAD = "apiVersion: trueup/v1\nkind: Machine\nmetadata: {name: a}\nspec: "


@pytest.mark.parametrize(
    "spec",
    [
        "{}", "{replicas: 3}", "{replicas: [1, 3]}", "{nics: [a, {network: b, ip: 10.0.0.1}]}", "{node: null}",
        "{userData: text}", "{userData: {file: a}}", "{userData: {secret: a}}", "{metadata: {a: b, c: {secret: d}}}",
        "{ready: {http: 80}}", "{ready: {http: ':80/'}}", "{sshKeys: tenant}", "{sshKeys: ['ssh-ed25519 A b']}",
        "{each: {2: {node: a}}, replicas: 2}", "{disks: {a: {size: 5Gi}}}",
    ],
)  # fmt: skip
def test_an_editor_takes_what_the_models_take(spec: str) -> None:
    assert complaints(MADE[COMBINED], _keyed(documents(HEAD + spec)[0])) == []


@pytest.mark.parametrize(
    "spec",
    [
        "{replicas: x}", "{nope: 1}", "{nics: app}", "{nics: [{ip: 10.0.0.1}]}", "{disks: {a: {size: 5}}}", "{state: on}",
        "{disks: {a: {size: 5GB}}}", "{metadata: {a: 1}}", "{update: {pause: 5}}", "{package: 5}", "{ready: {http: [1]}}",
    ],
)  # fmt: skip
def test_an_editor_refuses_what_the_models_refuse(spec: str) -> None:
    assert complaints(MADE[COMBINED], documents(HEAD + spec)[0])


@pytest.mark.parametrize(
    "text",
    [
        "{}", "apiVersion: trueup/v2\nkind: Machine\nmetadata: {name: a}", "apiVersion: trueup/v1\nkind: Foo\nmetadata: {name: a}",
        "apiVersion: trueup/v1\nkind: Machine", "apiVersion: trueup/v1\nkind: Machines\nitems: []",
        "apiVersion: trueup/v1\nkind: Machines\nmetadata: {name: a}\nitems: {}",
        "apiVersion: trueup/v1\nkind: Tenant\nmetadata: {name: a, tenant: b}", "apiVersion: trueup/v1\nkind: Machine\nmetadata: {name: A}",
    ],
)  # fmt: skip
def test_an_editor_refuses_wrong_envelopes(text: str) -> None:
    assert complaints(MADE[COMBINED], documents(text)[0])


def _keyed(value: Any) -> Any:
    """As an editor sees it: every key is text."""
    if isinstance(value, dict):
        return {str(key): _keyed(inner) for key, inner in value.items()}
    return value


def _silent(schema: Any, path: str) -> Iterator[str]:
    """Fields of the schema, however deep, that do not say what they are."""
    if isinstance(schema, dict):
        for name, field in (schema.get("properties") or {}).items():
            if (
                isinstance(field, dict)
                and "description" not in field
                and name not in ("apiVersion", "kind", "items", "spec", "metadata", "*", *KINDS)
            ):
                yield f"{path}.{name}"
        for name, part in schema.items():
            yield from _silent(part, f"{path}.{name}" if name not in ("properties", "$defs") else path)
    elif isinstance(schema, list):
        for part in schema:
            yield from _silent(part, path)


def test_every_field_says_what_it_is() -> None:
    """In an editor, and in the reference."""
    assert sorted({each for name, schema in schemas().items() for each in _silent(schema, name)}) == []
