"""Defaults of folders: how they merge, and where a value comes from."""

from __future__ import annotations

from typing import Any

import pytest
from trees import BASE, HEAD, loaded, tree

from reconciler.core.refs import Ref
from reconciler.core.values import plain
from reconciler.edge.load.defaults import folders_of, merged


@pytest.mark.parametrize(
    ("base", "over", "result"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": 1}, {"a": 2}, {"a": 2}),
        ({"a": 1, "b": 2}, {"a": None}, {"b": 2}),
        ({}, {"a": None}, {}),
        ({"m": {"x": 1, "y": 2}}, {"m": {"y": 3}}, {"m": {"x": 1, "y": 3}}),
        ({"m": {"x": 1, "y": 2}}, {"m": {"y": None}}, {"m": {"x": 1}}),
        ({"m": {"x": {"z": 1}}}, {"m": {"x": {"w": 2}}}, {"m": {"x": {"z": 1, "w": 2}}}),
        ({"l": [1, 2]}, {"l": [3]}, {"l": [3]}),
        ({"m": {"x": 1}}, {"m": [1]}, {"m": [1]}),
        ({"m": 1}, {"m": {"x": None, "y": 1}}, {"m": {"y": 1}}),
        ({}, {"m": {"x": {"y": None}}}, {"m": {"x": {}}}),
        ({"ready": {"http": ":80/", "within": "5s"}}, {"ready": {"tcp": 22}}, {"ready": {"within": "5s", "tcp": 22}}),
        ({"userData": {"file": "a"}}, {"userData": {"secret": "b"}}, {"userData": {"secret": "b"}}),
        ({"userData": {"file": "a"}}, {"userData": "text"}, {"userData": "text"}),
        ({"k": {"secret": "a"}}, {"k": {"secret": "b"}}, {"k": {"secret": "b"}}),
    ],
)
def test_maps_merge_lists_replace_null_unsets(base: Any, over: Any, result: Any) -> None:
    before = repr((base, over))
    assert merged(base, over) == result
    assert repr((base, over)) == before


def test_a_file_lies_in_all_its_folders() -> None:
    assert folders_of("a/b/c.yaml") == ["", "a", "a/b"]
    assert folders_of("c.yaml") == [""]


def memory(files: dict[str, str | bytes | None], name: str = "x") -> int:
    found = loaded(files).desired.resources[Ref(f"Machine/acme/{name}")]
    return found.demand.memory // 2**30


def test_the_nearest_folder_wins() -> None:
    near = {
        "acme/deep/_defaults.yaml": "Machine: {spec: {package: m}}\n",
        "acme/deep/x.yaml": HEAD + "  state: running\n",
    }
    assert memory(near) == 2
    assert memory(near, "web") == 1


def test_the_document_wins_over_every_folder() -> None:
    files = {"acme/deep/_defaults.yaml": "Machine: {spec: {package: m}}\n", "acme/deep/x.yaml": HEAD + "  package: s\n"}
    assert memory(files) == 1


def test_defaults_reach_the_items_of_a_plural() -> None:
    text = "apiVersion: trueup/v1\nkind: Machines\nitems: {x: {}, y: {package: m}}\n"
    assert memory({"acme/all.yaml": text}) == 1
    assert memory({"acme/all.yaml": text}, "y") == 2


def test_null_returns_to_the_published_default() -> None:
    files = {
        "acme/_defaults.yaml": BASE["acme/_defaults.yaml"].replace("package: s", "package: s, state: stopped"),
        "acme/x.yaml": HEAD + "  state: null\n",
    }
    found = loaded(files).desired.resources
    assert plain(found[Ref("Machine/acme/x")].body)["state"] == "running"
    assert plain(found[Ref("Machine/acme/web")].body)["state"] == "stopped"


def test_defaults_for_every_kind_give_the_tenant() -> None:
    text = "apiVersion: trueup/v1\nkind: Networks\nitems: {own: {nicTag: lan, vlan: 50, subnet: 10.5.0.0/24}}\n"
    assert "Network/acme/own" in loaded({"acme/n.yaml": text}).desired.resources


def test_what_belongs_to_no_tenant_ignores_the_folders() -> None:
    text = "apiVersion: trueup/v1\nkind: Node\nmetadata: {name: n9}\nspec: {driver: local}\n"
    assert "n9" in loaded({"acme/n.yaml": text}).desired.nodes


def test_tags_of_a_folder_merge_with_the_documents() -> None:
    files = {
        "acme/_defaults.yaml": BASE["acme/_defaults.yaml"].replace(
            "tenant: acme", "tenant: acme, tags: {a: one, b: two}"
        ),
        "acme/x.yaml": "apiVersion: trueup/v1\nkind: Machine\nmetadata: {name: x, tags: {b: three}}\nspec: {}\n",
    }
    assert plain(loaded(files).desired.resources[Ref("Machine/acme/x")].body)["tags"] == {"a": "one", "b": "three"}


@pytest.mark.parametrize(
    ("path", "how", "place"),
    [
        (("nics", 0), "authored", ("acme/x.yaml", 5, 10)),
        (("disks", "data", "size"), "authored", ("acme/x.yaml", 6, 24)),
        (("package",), "defaulted", ("acme/_defaults.yaml", 2, 39)),
        (("image",), "defaulted", ("acme/_defaults.yaml", 2, 25)),
        (("state",), "published", ("acme/x.yaml", 4, 1)),
    ],
)
def test_every_field_knows_where_it_comes_from(
    path: tuple[str | int, ...], how: str, place: tuple[str, int, int]
) -> None:
    loader = loaded({"acme/x.yaml": HEAD + "  nics: [app]\n  disks: {data: {size: 1Gi}}\n"})
    found = loader.provenance(Ref("Machine/acme/x"), path)
    assert found is not None
    assert (found.how, (found.file, found.line, found.column)) == (how, place)


def test_a_replica_comes_from_its_group() -> None:
    loader = loaded({"acme/x.yaml": HEAD + "  replicas: 2\n"})
    found = loader.provenance(Ref("Machine/acme/x-2"), ("replicas",))
    assert found is not None
    assert found.line == 5


def test_what_is_not_declared_comes_from_nowhere() -> None:
    assert loaded().provenance(Ref("Machine/acme/none"), ("state",)) is None


def test_a_change_of_defaults_is_a_change_of_all_beneath() -> None:
    loader = loaded({"acme/x.yaml": HEAD + "  package: s\n"})
    delta = loader.load(
        tree(
            {
                "acme/x.yaml": HEAD + "  package: s\n",
                "acme/_defaults.yaml": BASE["acme/_defaults.yaml"].replace("package: s", "package: m"),
            }
        )
    )
    assert delta.changed == {"Machine/acme/web"}
