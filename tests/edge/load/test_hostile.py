"""Whatever stands in the files, the answer is a tree or a list of mistakes with places; nothing else is ever raised."""

# ruff: noqa: E501
from __future__ import annotations

import os
import random
from typing import Any

import pytest
from ruamel.yaml import YAML
from trees import BASE, CAPABILITIES, HEAD, mistakes

from reconciler.edge.load import Loader, MemoryTree
from reconciler.errors import SpecErrors

ROUNDS = int(os.environ.get("TRUEUP_HOSTILE_ROUNDS", "150"))

VALUES = [
    None, True, False, 0, 1, -1, 2**70, 1.5, float("inf"), "", "x", "a/b", "a/b/c", "../..", "datacenter/s", "acme/s", "s", "app",
    "10.0.1.5", "10.0.1.0/24", "::1", "512Mi", "5GB", "30s", "20%", [], ["app"], [[]], [None], [1], {}, {"a": 1}, {"secret": "x"},
    {"secret": 1}, {"file": "x"}, {"file": ""}, {"network": "app", "ip": "10.0.1.7"}, {"network": None}, "\u0000", "\ud83d\ude00",
    "a" * 300, {"1": 2}, {1: 2}, "<<", "=", "2024-01-15",
]  # fmt: skip
SPLICES = ["", ":", "- ", "[", "]", "{", "}", "&a ", "*a", "!t ", "\t", "\n", "  ", "|", ">", '"', "'", "#", "---\n", "...\n", "\x00",
           "\u2028", "\ufeff", "null", "~", "0x", "1e999", "9" * 5000, "<<: ", "? ", "%", "@", "`", '"\\ud800"', '"\\x00"']  # fmt: skip


def load_or_mistakes(files: dict[str, str | bytes]) -> None:
    try:
        Loader(CAPABILITIES, bulk_from=10**9).load(MemoryTree(files))
    except SpecErrors as wrong:
        for found in wrong.diagnostics:
            assert found.file, found
            assert found.summary, found
            assert found.line >= 1, found


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_texts_spliced_at_random(seed: int) -> None:
    dice = random.Random(seed)
    files: dict[str, str | bytes] = dict(BASE)
    files["acme/x.yaml"] = HEAD + "  replicas: 2\n  metadata: {a: b}\n  userData: |\n    x\n"
    for path in dice.sample(sorted(files), 2):
        text = str(files[path])
        for _ in range(dice.randint(1, 3)):
            begin = dice.randint(0, len(text))
            text = text[:begin] + dice.choice(SPLICES) + text[begin + dice.choice([0, 0, 1, 5]) :]
        files[path] = text.encode("utf-8", "surrogatepass")
    load_or_mistakes(files)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, one in inner for found in _paths(one, (*path, key)))]


def _put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _put(copy[path[0]], path[1:], new)
    return copy


RICH = """\
apiVersion: trueup/v1
kind: Machine
metadata: {name: rich, tenant: acme, tags: {a: b}, renamedFrom: old}
spec:
  image: deb
  package: s
  brand: zone
  replicas: [1, 2]
  each: {2: {node: edge1, nics: [{network: app, ip: 10.0.1.8}]}}
  nics: [app, {network: public, mac: "02:00:00:00:00:01", primary: true}]
  resolvers: [1.1.1.1]
  disks: {root: {size: 20Gi}, data: {size: 5Gi, path: /data, delegated: true}}
  traits: {a: b}
  spread: {over: rack, hard: true}
  near: {machines: [web]}
  avoid: {machines: [web], over: rack}
  sshKeys: tenant
  userData: {secret: x}
  metadata: {a: b, c: {secret: d}}
  ready: {http: ":80/", within: 30s}
  update: {canary: 1, batch: 2, pause: 10s, maxFailures: 1, replace: allowed}
  snapshots: {schedule: "0 3 * * *", keep: 3}
  deletionProtection: true
  drift: heal
  ignore: [/nics]
"""


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_values_put_anywhere(seed: int) -> None:
    import io

    dice = random.Random(seed)
    safe = YAML(typ="safe", pure=True)
    texts = {**BASE, "acme/rich.yaml": RICH}
    files: dict[str, str | bytes] = dict(texts)
    for path in dice.sample(sorted(texts), 2):
        value = safe.load(texts[path])
        for _ in range(dice.randint(1, 2)):
            value = _put(value, dice.choice(_paths(value)), dice.choice(VALUES))
        out = io.StringIO()
        try:
            safe.dump(value, out)
        except Exception:
            continue  # ruamel cannot write it: nor can a person
        files[path] = out.getvalue().encode("utf-8", "surrogatepass")
    load_or_mistakes(files)


def test_a_text_that_no_encoding_has_is_told() -> None:
    (told,) = mistakes({"acme/x.yaml": HEAD + '  metadata: {a: "\\ud800"}\n'})
    assert told.startswith("acme/x.yaml:5:")


def test_a_number_of_many_digits_is_told() -> None:
    assert mistakes({"acme/x.yaml": HEAD + f"  replicas: {'9' * 5000}\n"})
