"""Plain records read as their models do: the fast tier may only accept, and comes to the same."""

# ruff: noqa: E501
from __future__ import annotations

import datetime
import subprocess
import sys
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.edge.load.doubt import STAND_INS, strict
from specs import derive, plain
from specs.envelope import Metadata, Model, SharedMetadata
from specs.kinds import KINDS
from specs.models import MODELS, model_of
from specs.spelled import read

HOSTILE: list[Any] = [
    None, True, False, 0, 1, -1, 2**63, 2**70, 0.5, -0.0, 1e308, float("inf"), float("-inf"), float("nan"), "", " ", "a",
    "a\n", "A", "é", "ſ", "K", "a/b", "a/b/c", "datacenter/x", "-a", "a-", "x" * 63, "x" * 64, "any", "tenant", "yes",
    "1", "1.5", "512", "512Mi", "1.5Gi", "512Mi\n", "0.3B", "1GB", "٣Mi", "30s", "1.5m", "30 s", "20%", "101%", "20%\n",
    "10.0.0.1", "10.0.0.0/24", "10.0.0.1/24", "10.0.0.9-10.0.0.1", "10.0.0.1-10.0.0.9", "::1", "fe80::1%eth0",
    "02:00:5e:10:00:01", "01:00:5e:10:00:01", "02-00-5E-10-00-01", "ssh-ed25519 AAAA a", "ssh-rsa AAAA\nb", "/", "/srv",
    "/srv\n", "tcp/5432", "tcp/0", "udp/9-1", ">=0.3 <0.5", "sha256:" + "a" * 64, "sha256:" + "a" * 64 + "\n", "http://x",
    ":8080/", ":8080/\n", "* * * * *", "00000000-0000-0000-0000-000000000000", "/memory", "/nics/app/mtu", "/nope", [], {},
    [None], [1, 1], ["a"], ["a", "a"], [["a"]], {"a": None}, {"secret": "s"}, {"secret": ""}, {"secret": "s" * 201}, {"file": "f"},
    {"text": "t"}, {"count": 1}, {"network": "a"}, {"path": "/a"}, {"a": {"b": 1}}, {1: "a"}, {"": "a"}, {"a/b": 1}, {"tags": {"a": 1}},
    {"machines": ["a"]}, "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----", datetime.date(2024, 1, 15), datetime.datetime(2024, 1, 15, 12),
]  # fmt: skip
"""What YAML may give anywhere: right in some places, wrong in most."""
hostile = st.sampled_from(HOSTILE)
SPELLED: dict[str, list[Any]] = {
    "Size": ["512Mi", "25Gi", "1.5Ti", "0B"], "Pace": ["20Mi", "4Ki", "0B"], "Duration": ["30s", "1.5m", "500ms", "7d"],
    "Share": ["20%", "0.5%"],
    "Cores": [1, 0.5, 1.25], "Name": ["a", "web.1"], "Label": ["a", "web-1"], "Reference": ["a", "t/a", "datacenter/b"],
    "Text": ["", "text", {"secret": "s"}], "OnlySecret": [{"secret": "s"}], "Ip": ["10.0.1.5", "2001:DB8::5"],
    "Subnet": ["10.0.1.0/24", "2001:db8::/64"], "Span": ["10.0.1.10-10.0.1.20", "10.0.1.1 - 10.0.1.1"],
    "Mac": ["02:00:5e:10:00:01", "02-00-5E-10-00-01"], "Tags": [{"a": "b", "c": True, "d": 3}], "Requires": [">=0.3 <0.5"],
    "Allowed": [4, "20%", {"count": 1, "share": "1%"}, None], "Kinds": [["Machine"], []], "PublicKey": ["ssh-ed25519 AAAA me"],
    "Certificate": ["-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"],
    "Traffic": ["any", "tcp/5432", "udp/1-2"],
    "ForwardedPort": ["tcp/443", "udp/6000-6100", "tcp/8443:443"],
    "TagChoice": [{"role": "web"}, {"role": ["web", "db"], "n": 1}],
    "NicEntry": ["app", {"network": "app", "ip": "10.0.1.5"}], "MountEntry": ["/srv", {"path": "/srv", "readOnly": True}],
    "Http": [8080, ":8080/healthz", "/"], "UserData": ["#!/bin/sh", {"file": "a"}, {"secret": "s"}],
    "Replicas": [0, 3, [1, 3], [2, 2]], "Compared": ["/memory", "/metadata/a", "/nics/app/mtu"],
}  # fmt: skip
NAMED = dict(derive.spelled_types())
RECORDS: list[type[plain.Plain]] = [*plain.KINDS.values(), plain.Metadata, plain.SharedMetadata]


def rightly(hint: Any) -> st.SearchStrategy[Any]:
    """Values that are mostly right for a type, and sometimes anything."""
    found = _rightly(hint)
    return st.integers(0, 15).flatmap(lambda roll: hostile if roll == 0 else found)


def _rightly(hint: Any) -> st.SearchStrategy[Any]:
    for name, value in NAMED.items():
        if value == hint:
            return st.sampled_from(SPELLED[name])
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return st.one_of(_rightly(arguments[0]), hostile)
    if origin in (Union, types.UnionType):
        return st.one_of([rightly(each) for each in arguments])
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is list:
        return st.lists(rightly(arguments[0]), max_size=3)
    if origin is dict:
        return st.dictionaries(rightly(arguments[0]).filter(_hashable), rightly(arguments[1]), max_size=3)
    if isinstance(hint, type) and issubclass(hint, Model):
        return written(hint)
    simple: dict[Any, list[Any]] = {
        str: ["a", "10.0.0.1", "* * * * *"], int: [0, 1, 16, 1500], bool: [True, False], float: [1, 0.5], type(None): [None],
    }  # fmt: skip
    return st.sampled_from(simple[hint])


def _hashable(value: Any) -> bool:
    return not isinstance(value, (list, dict, set))


def written(model: type[Model]) -> st.SearchStrategy[dict[Any, Any]]:
    """A map of some of a model's fields, and rarely of a field that there is not."""
    hints = get_type_hints(model, include_extras=True)
    fields = {info.alias or name: rightly(hints[name]) for name, info in model.model_fields.items()}
    due = {info.alias or name for name, info in model.model_fields.items() if info.is_required()}

    @st.composite
    def made(draw: st.DrawFn) -> dict[Any, Any]:
        names = set(draw(st.lists(st.sampled_from(sorted(fields)), max_size=5)))
        if draw(st.integers(0, 20)):
            names |= due
        found = {name: draw(fields[name]) for name in sorted(names)}
        if not draw(st.integers(0, 20)):
            found[draw(st.sampled_from(["unknown", "nic_tag", "Nics", 1, None]))] = draw(hostile)
        return found

    return made()


def judged(record: type[plain.Plain], values: Any) -> None:
    try:
        quick: Any = read(record, values)
    except msgspec.ValidationError:
        quick = None
    slow, found = strict(record, values)
    assert (slow is None) == bool(found)
    assert repr(quick) == repr(slow), f"{record.__name__} {values!r}: {found}"


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_records_and_models_read_alike(record: type[plain.Plain]) -> None:
    @settings(max_examples=100)
    @given(written(model_of(record)))
    def holds(values: dict[Any, Any]) -> None:
        judged(record, values)

    holds()


@pytest.mark.parametrize("kind", KINDS)
def test_every_hostile_value_in_every_field(kind: str) -> None:
    record = plain.KINDS[kind]
    for field in record.__struct_encode_fields__:
        for value in HOSTILE:
            judged(record, {**STAND_INS[kind], field: value})
            judged(record, {**STAND_INS[kind], field: [value]})
            judged(record, {**STAND_INS[kind], field: {"a": value}})


def test_the_records_in_the_repository_are_current() -> None:
    for file, text in derive.texts().items():
        assert file.read_text(encoding="utf-8") == text, "python -m specs.derive"


@pytest.mark.parametrize("model", [*MODELS.values(), Metadata, SharedMetadata], ids=lambda model: model.__name__)
def test_a_record_has_the_fields_of_its_model(model: type[Model]) -> None:
    record = getattr(plain, model.__name__)
    fields = {name: info.alias or name for name, info in model.model_fields.items()}
    assert dict(zip(record.__struct_fields__, record.__struct_encode_fields__, strict=True)) == fields


def test_a_tree_without_mistakes_is_read_without_the_models(tmp_path: Path) -> None:
    """Importing them takes longer than all the rest."""
    code = (
        "import sys; from reconciler.cli.main import main; code = main(['-C', sys.argv[1], 'validate']); "
        "sys.exit(code or any(name.partition('.')[0] == 'pydantic' for name in sys.modules))"
    )
    for name in ("quickstart", "site"):
        folder = tmp_path / name
        folder.mkdir()
        source = Path(__file__).parents[2] / "examples" / name
        subprocess.run(["cp", "-r", f"{source}/.", str(folder)], check=True)
        subprocess.run(["git", "init", "-q", str(folder)], check=True)
        subprocess.run(["git", "-C", str(folder), "add", "."], check=True)
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", "-C", str(folder), *who, "commit", "-qm", "a"], check=True)
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "TRUEUP_STATE": str(tmp_path / "state")}
        done = subprocess.run(
            [sys.executable, "-c", code, str(folder)], env=environment, cwd=Path(__file__).parents[2],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
