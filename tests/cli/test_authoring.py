"""init, validate, fmt and schema, as a person runs them."""

# ruff: noqa: E501
from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from reconciler.cli.main import main
from reconciler.edge.load import FolderTree, Loader
from specs.kinds import KINDS

ROOT = Path(__file__).resolve().parents[2]
Trueup = Callable[..., tuple[int, str, str]]


@pytest.fixture
def trueup(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trueup:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    def run(*argv: str) -> tuple[int, str, str]:
        code = main(list(argv))
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def test_what_init_writes_is_sound_and_in_our_layout(trueup: Trueup, tmp_path: Path) -> None:
    assert trueup("init", "ams1")[0] == 0
    assert trueup("-C", "ams1", "validate") == (0, "ams1: 1 node, 1 network, 1 image, 2 machines; no mistakes\n", "")
    assert trueup("-C", "ams1", "fmt", "--check") == (0, "", "")


def test_every_file_of_init_tells_editors_a_schema_that_takes_it(trueup: Trueup, tmp_path: Path) -> None:
    trueup("init", "ams1")
    validators: dict[Path, Any] = {}
    for path in (tmp_path / "ams1").rglob("*.yaml"):
        first = path.read_text().splitlines()[0]
        assert first.startswith("# yaml-language-server: $schema=")
        schema = (path.parent / first.partition("=")[2]).resolve()
        if schema not in validators:
            told = json.loads(schema.read_text())
            kind = jsonschema.validators.validator_for(told)
            kind.check_schema(told)
            validators[schema] = kind(told)
        for document in YAML(typ="safe", pure=True).load_all(path):
            validators[schema].validate(document)


def test_every_init_has_an_identity_of_its_own(trueup: Trueup, tmp_path: Path) -> None:
    trueup("init", "a")
    trueup("init", "b")
    ids = {Loader().load(FolderTree(tmp_path / name)).desired.datacenter_id for name in "ab"}
    assert len(ids) == 2


def test_init_makes_a_repository_unless_there_is_one(trueup: Trueup, tmp_path: Path) -> None:
    trueup("init", "ams1")
    assert (tmp_path / "ams1" / ".git").is_dir()
    subprocess.run(["git", "init", "-q", "outer"], cwd=tmp_path, check=True)
    trueup("-C", "outer", "init", "inner")
    assert not (tmp_path / "outer" / "inner" / ".git").exists()


def test_init_writes_over_nothing(trueup: Trueup, tmp_path: Path) -> None:
    (tmp_path / "ams1").mkdir()
    (tmp_path / "ams1" / "nodes.yaml").write_text("mine")
    code, out, err = trueup("init", "ams1")
    assert (code, out) == (1, "")
    assert "ams1/nodes.yaml is there already" in err
    assert [path.name for path in (tmp_path / "ams1").iterdir()] == ["nodes.yaml"]


def test_init_in_a_place_that_cannot_be_looked_into_is_an_error_in_words(trueup: Trueup, tmp_path: Path) -> None:
    code, _, err = trueup("-C", str(tmp_path), "init", "x" * 300, "--name", "dc")
    assert code == 1
    assert "cannot be looked into" in err


def test_init_refuses_what_cannot_be_a_name(trueup: Trueup, tmp_path: Path) -> None:
    code, _, err = trueup("init", "Big_Site!")
    assert code == 1
    assert "cannot be a datacenter's name" in err
    assert trueup("init", "Big_Site!", "--name", "big")[0] == 0


@pytest.mark.parametrize("example", ["quickstart", "site/ams1"])
def test_the_examples_are_sound(example: str, trueup: Trueup) -> None:
    code, out, err = trueup("-C", str(ROOT / "examples" / example), "validate")
    assert (code, err) == (0, "")
    assert out.endswith("no mistakes\n")


@pytest.fixture
def spoilt(trueup: Trueup, tmp_path: Path) -> Path:
    trueup("init", "ams1")
    packages = tmp_path / "ams1" / "packages.yaml"
    packages.write_text(packages.read_text().replace("512Mi}", "512}").replace("cpu: 1,", "cores: 1,"))
    return tmp_path / "ams1"


def test_validate_tells_every_mistake_where_an_editor_finds_it(trueup: Trueup, spoilt: Path) -> None:
    code, out, err = trueup("-C", "ams1", "validate")
    assert code == 1
    assert out.splitlines() == [
        "ams1/packages.yaml:5:38: Package/s:disk: 512 has no unit, and a size needs one (write 512Mi or 512Gi)",
        "ams1/packages.yaml:6:7: Package/m:cores: 'cores' is not a field here (there are cpu, cpuShares, disk, ioPriority, "
        "ioRead, ioWrite, memory, swap, threads, traits, vcpus)",
    ]
    assert err == "2 mistakes in 1 file\n"


def test_validate_tells_programs_the_same(trueup: Trueup, spoilt: Path) -> None:
    code, out, _ = trueup("-C", "ams1", "validate", "--format", "json")
    told = json.loads(out)
    assert (code, told["valid"], len(told["diagnostics"])) == (1, False, 2)
    assert told["diagnostics"][0] == {
        "file": "packages.yaml", "line": 5, "column": 38, "field": "Package/s:disk",
        "summary": "512 has no unit, and a size needs one", "fix": "write 512Mi or 512Gi",
    }  # fmt: skip


def test_validate_reads_a_revision_too(trueup: Trueup, tmp_path: Path) -> None:
    trueup("init", "ams1")
    who = os.environ | {
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a",
    }
    subprocess.run(["git", "add", "."], cwd=tmp_path / "ams1", check=True)
    subprocess.run(["git", "commit", "-qm", "start"], cwd=tmp_path / "ams1", check=True, env=who)
    (tmp_path / "ams1" / "nodes.yaml").write_text("broken: [")
    assert trueup("-C", "ams1", "validate", "--revision", "HEAD")[0] == 0
    assert trueup("-C", "ams1", "validate")[0] == 1


def test_validate_takes_a_trees_folder_and_says_why_it_takes_no_part(trueup: Trueup, spoilt: Path) -> None:
    assert trueup("validate", str(spoilt)) == trueup("-C", str(spoilt), "validate")
    part = next(path for path in spoilt.rglob("*.yaml") if path.name != "datacenter.yaml")
    for what, why in ((part, "is no tree of its own"), (spoilt / "none.yaml", "there is no")):
        code, _, told = trueup("validate", str(what))
        assert (code, why in told, "trueup -C DIR validate" in told) == (1, True, True), told


def test_what_git_ignores_is_not_validated(trueup: Trueup, tmp_path: Path) -> None:
    trueup("init", "ams1")
    (tmp_path / "ams1" / ".gitignore").write_text("scratch/\n")
    (tmp_path / "ams1" / "scratch").mkdir()
    (tmp_path / "ams1" / "scratch" / "x.yaml").write_text("a: [")
    assert trueup("-C", "ams1", "validate")[0] == 0


def test_a_folder_without_git_is_validated_as_it_stands(trueup: Trueup, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, out, _ = trueup("-C", "empty", "validate")
    assert code == 1
    assert "there is no Datacenter in the tree" in out


def test_a_folder_that_is_not_there_is_one_clear_error(trueup: Trueup) -> None:
    code, out, err = trueup("-C", "nowhere", "validate")
    assert (code, out) == (1, "")
    assert "nowhere is not a folder" in err


UNTIDY = """\
# about web
apiVersion:   trueup/v1
kind: Machine
metadata: {name: web}   # the name
spec:
      package:   s
      nics:
      - app
      - public   # second
      userData: |
        #!/bin/sh
        echo   hi
---

# about db
apiVersion: trueup/v1
kind: Machine
metadata: {name: "db"}
spec: {package: 'm'}
"""


def test_fmt_keeps_comments_and_meaning(trueup: Trueup, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(UNTIDY)
    assert trueup("fmt") == (0, "changed a.yaml\n", "")
    after = path.read_text()
    for comment in ("# about web", "# the name", "# second", "# about db"):
        assert comment in after
    assert "apiVersion: trueup/v1\n" in after
    assert "  package: s\n" in after
    assert "    - app\n" in after
    assert 'name: "db"' in after
    assert "echo   hi" in after
    assert trueup("fmt") == (0, "", "")


def test_fmt_check_changes_nothing_and_says_what_it_would(trueup: Trueup, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(UNTIDY)
    assert trueup("fmt", "--check") == (1, "would change a.yaml\n", "")
    assert path.read_text() == UNTIDY


def test_fmt_leaves_what_it_cannot_read(trueup: Trueup, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: [\n")
    (tmp_path / "b.yaml").write_text("b:   1\n")
    code, out, err = trueup("fmt")
    assert (code, out) == (1, "changed b.yaml\n")
    assert err.startswith("a.yaml:2:1: not YAML")
    assert (tmp_path / "a.yaml").read_text() == "a: [\n"


def test_fmt_keeps_the_files_mode_and_goes_into_no_hidden_folder(trueup: Trueup, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a:   1\n")
    path.chmod(0o600)
    (tmp_path / ".x").mkdir()
    (tmp_path / ".x" / "b.yaml").write_text("b:   1\n")
    trueup("fmt", ".")
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / ".x" / "b.yaml").read_text() == "b:   1\n"


@pytest.mark.parametrize("kind", KINDS)
def test_schema_prints_one_kind(kind: str, trueup: Trueup) -> None:
    code, out, _ = trueup("schema", kind.lower())
    assert code == 0
    assert json.loads(out)["title"] == f"{kind} of trueup"


def test_schema_prints_one_over_all(trueup: Trueup) -> None:
    assert json.loads(trueup("schema")[1])["title"] == "Documents of trueup"


def test_schema_writes_all(trueup: Trueup, tmp_path: Path) -> None:
    assert trueup("schema", "--write", "here")[0] == 0
    assert len(list((tmp_path / "here").iterdir())) == len(KINDS) + 2


def test_schema_of_no_kind_is_one_clear_error(trueup: Trueup) -> None:
    code, out, err = trueup("schema", "Machin")
    assert (code, out) == (1, "")
    assert "there is no kind 'Machin'" in err


def test_validate_tells_an_image_that_changed_since_the_last_commit(trueup: Trueup, tmp_path: Path) -> None:
    trueup("init", "ams1")
    git = ["git", "-C", str(tmp_path / "ams1"), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    images = tmp_path / "ams1/images.yaml"
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "first"], check=True)
    images.write_text(images.read_text().replace("{busybox: static}", "{debian: bookworm}"))
    code, out, _ = trueup("-C", "ams1", "validate")
    assert code == 1
    assert "ams1/images.yaml:6:11: Image/busybox-1:source: images are immutable, and busybox-1 held other" in out
    subprocess.run([*git, "commit", "-qam", "second"], check=True)
    assert trueup("-C", "ams1", "validate")[0] == 1, "and in the commit itself"
    images.write_text(images.read_text() + "  os: linux\n")
    assert trueup("-C", "ams1", "validate")[0] == 0, "what came before it is none of its business"


NOT_DOCUMENTS = {
    "accounts": b"root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/bin/false\n",
    "notes.txt": b"a:   1\n",
}


@pytest.mark.parametrize("name", NOT_DOCUMENTS)
def test_fmt_never_touches_what_is_no_yaml_file(name: str, trueup: Trueup, tmp_path: Path) -> None:
    trueup("init", "a")
    path = tmp_path / "a" / name
    path.write_bytes(NOT_DOCUMENTS[name])
    code, _, err = trueup("-C", "a", "fmt", name)
    assert (code, "is no YAML file" in err) == (1, True), err
    assert trueup("-C", "a", "fmt")[0] == 0
    assert path.read_bytes() == NOT_DOCUMENTS[name]


@pytest.mark.parametrize("spelled", ["{}/other.yaml", "../other.yaml", "link/other.yaml", "link.yaml"])
def test_fmt_never_touches_what_lies_outside_the_tree(spelled: str, trueup: Trueup, tmp_path: Path) -> None:
    trueup("init", "a")
    outside = tmp_path / "other.yaml"
    outside.write_text("a:   1\n")
    (tmp_path / "a/link").symlink_to("..")
    (tmp_path / "a/link.yaml").symlink_to("../other.yaml")
    code, _, err = trueup("-C", "a", "fmt", spelled.format(tmp_path))
    assert (code, "lies outside the tree" in err) == (1, True), err
    assert trueup("-C", "a", "fmt")[0] == 0
    assert outside.read_text() == "a:   1\n"


def test_fmt_leaves_yaml_that_is_no_map(trueup: Trueup, tmp_path: Path) -> None:
    trueup("init", "a")
    (tmp_path / "a/text.yaml").write_text("some\nlines\nof text\n")
    assert trueup("-C", "a", "fmt") == (0, "", "")
    assert (tmp_path / "a/text.yaml").read_text() == "some\nlines\nof text\n"


ODD: list[tuple[bytes, str]] = [
    (b"\xef\xbb\xbfa: 1\n", "1:1: the file begins with a byte order mark (save it as UTF-8 without one)"),
    (b"a: 1\nb: caf\xe9\n", "2:7: the file is not UTF-8 (save it as UTF-8)"),
    ("a: 1\n".encode("utf-16"), "1:1: the file is not UTF-8, it seems to be UTF-16 (save it as UTF-8)"),
    (b"\x80\x00", "1:1: the file is not text (documents are YAML in UTF-8; give other files another ending)"),
    (b" " * (16 * 2**20 + 1), "1:1: the file has 16777217 bytes, more than 16777216 (split it)"),
    (b"a:\n\tb: 1\n", "2:1: not YAML: while scanning for the next token, found character '\\t' that cannot start any"),
    (b"a: " + b"[" * 500 + b"]" * 500, "1:35: values are nested more than 32 deep (no field is: take a level out)"),
]


@pytest.mark.parametrize(("data", "told"), ODD, ids=["bom", "latin-1", "utf-16", "binary", "large", "tab", "deep"])
def test_odd_files_are_told_alike_by_validate_and_fmt_and_stay_as_they_are(
    data: bytes, told: str, trueup: Trueup, tmp_path: Path
) -> None:
    trueup("init", "a")
    odd = tmp_path / "a/odd.yaml"
    odd.write_bytes(data)
    code, out, _ = trueup("-C", "a", "validate")
    assert (code, f"a/odd.yaml:{told}" in out) == (1, True), out
    code, _, err = trueup("-C", "a", "fmt")
    assert (code, f"a/odd.yaml:{told}" in err) == (1, True), err
    assert odd.read_bytes() == data


def test_windows_line_ends_and_empty_files_are_no_mistakes(trueup: Trueup, tmp_path: Path) -> None:
    trueup("init", "a")
    (tmp_path / "a/empty.yaml").write_bytes(b"")
    (tmp_path / "a/tenant.yaml").write_bytes(b"apiVersion: trueup/v1\r\nkind: Tenant\r\nmetadata: {name: t}\r\n")
    (tmp_path / "a/folder.yaml").mkdir()
    assert trueup("-C", "a", "validate")[0] == 0
    assert trueup("-C", "a", "fmt") == (0, "changed a/tenant.yaml\n", "")
    assert b"\r" not in (tmp_path / "a/tenant.yaml").read_bytes()
