"""Cutting files into documents, and the limits of what is read at all."""

from __future__ import annotations

import gc

import pytest
from trees import BASE, HEAD, loaded, mistakes, tree

from reconciler.edge.load import Loader, MemoryTree, stream
from reconciler.edge.load.findings import LIMITS, Limits
from reconciler.edge.load.loader import crowded, twins


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []), ("# only\n\n", []), ("---\n", []), ("a: 1\n", [1]), ("---\na: 1\n", [1]), ("# c\n---\na: 1\n", [2]),
        ("a: 1\n---\nb: 2\n", [1, 2]), ("a: 1\n---\n---\nb: 2\n", [1, 3]), ("--- {a: 1}\n--- {b: 1}\n", [1, 2]),
        ("a: |\n  ---\n  x\n", [1]), ("a: 1\n--- # c\n# d\nb: 2", [1, 2]), ("a: --- b\n", [1]), ("---a: 1\n", [1]),
        ("a: 1\r\n---\r\nb: 2\r\n", [1, 2]),
    ],
)  # fmt: skip
def test_documents_begin_at_dashes_in_the_first_column(text: str, lines: list[int]) -> None:
    chunks, findings = stream.cut("f", text.encode())
    assert not findings
    assert [chunk.line for chunk in chunks] == lines


def test_a_file_that_is_not_utf_8_names_the_byte() -> None:
    _, (found,) = stream.cut("f", b"a: 1\nb: \xff\n")
    assert (found.line, found.column) == (2, 4)


@pytest.mark.parametrize(
    ("limits", "data", "told"),
    [
        (Limits(file=10), b"a: 1\nb: 2\nc: 3\n", "the file has 15 bytes, more than 10"),
        (Limits(documents=2), b"a: 1\n---\nb: 1\n---\nc: 1\n", "the file has 3 documents, more than 2"),
        (Limits(document=10), b"a: 1\n---\nb: 1234567\n", "a document has 15 characters, more than 10"),
    ],
)
def test_what_is_too_large_is_a_mistake_with_a_place(limits: Limits, data: bytes, told: str) -> None:
    _, findings = stream.cut("f", data, limits)
    assert [found.summary for found in findings] == [told]
    assert findings[0].line


def test_depth_has_a_limit() -> None:
    deep = "{a: " * (LIMITS.depth + 3) + "1" + "}" * (LIMITS.depth + 3)
    (told,) = mistakes({"acme/x.yaml": HEAD + f"  metadata: {deep}\n"})
    assert "nested more than 32 deep" in told
    assert told.startswith("acme/x.yaml:5:")


def test_a_bomb_of_aliases_is_an_error_at_once() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(8)
    )
    told = mistakes({"acme/x.yaml": bomb})
    assert told[0].startswith("acme/x.yaml:1:1: apiVersion is missing")
    assert told[1].startswith("acme/x.yaml:1:4: a: an anchor is not used")
    assert any("an alias is not used" in line for line in told)


def test_the_second_document_of_a_file_has_its_own_lines() -> None:
    text = HEAD + "  state: running\n---\n" + HEAD.replace("name: x", "name: y") + "  package: nope\n"
    assert [line.split(": ")[0] for line in mistakes({"acme/x.yaml": text})] == ["acme/x.yaml:11:12"]


@pytest.mark.parametrize("text", ["a: 1\n...\n", "%YAML 1.1\n---\na: 1\n", "a: 1\n...\nb: 2\n"])
def test_directives_and_document_ends_are_told(text: str) -> None:
    assert mistakes({"acme/x.yaml": text})


def test_files_that_are_no_yaml_are_nobodys_business() -> None:
    assert loaded({"README.md": "a: [", ".github/x.yaml": "a: [", "acme/.hidden.yaml": "a: [", "bin": b"\xff"})


def test_a_folder_that_is_too_full_is_a_warning() -> None:
    assert crowded([f"a/{n}.yaml" for n in range(4)], 3)[0].file == "a"
    assert not crowded([f"a/{n}.yaml" for n in range(3)], 3)
    assert loaded().load(tree()).warnings == ()


def test_files_that_differ_in_letter_case_alone_are_a_warning() -> None:
    clashes = {"acme/Web.yaml": "", "acme/web.yaml": "", "ACME/web.yaml": "", "acme/db.yaml": ""}
    found = loaded().load(tree(clashes)).warnings
    assert [(each.file, each.summary.split(" in ")[0]) for each in found] == [
        ("acme/Web.yaml", "it differs from ACME/web.yaml"),
        ("acme/web.yaml", "it differs from ACME/web.yaml"),
    ]
    assert not twins(["acme/web.yaml", "acme/db.yaml", "web.yaml"])


@pytest.mark.parametrize("bulk_from", [1, 10**9])
def test_a_document_of_a_thousand_things_is_a_warning(bulk_from: int) -> None:
    text = "apiVersion: trueup/v1\nkind: Machines\nitems:\n" + "".join(f"  x{n}: {{}}\n" for n in range(1001))
    (found,) = Loader(bulk_from=bulk_from).load(tree({"acme/x.yaml": text})).warnings
    assert (found.file, found.summary.split(":")[0]) == ("acme/x.yaml", "one document declares 1001 things")
    gc.unfreeze()


def test_many_documents_may_share_a_file() -> None:
    many = "".join("---\n" + HEAD.replace("name: x", f"name: x{n}") + "  state: running\n" for n in range(200))
    assert len(loaded({"acme/x.yaml": many}).desired.resources) == len(loaded().desired.resources) + 200


def test_one_document_of_a_file_that_changes_is_read_alone() -> None:
    def text(state: str) -> str:
        return "".join(
            "---\n" + HEAD.replace("name: x", f"name: x{n}") + f"  state: {state if n == 7 else 'running'}\n"
            for n in range(20)
        )

    loader = loaded({"acme/x.yaml": text("running")})
    before = {one: id(one) for one in loader._records.files["acme/x.yaml"].documents}
    delta = loader.load(tree({"acme/x.yaml": text("stopped")}))
    kept = [one for one in loader._records.files["acme/x.yaml"].documents if one in before]
    assert len(kept) == 19
    assert delta.changed == {"Machine/acme/x7"}


def test_a_tree_with_mistakes_leaves_the_last_good_one() -> None:
    loader = loaded()
    before = dict(loader.desired.resources)
    with pytest.raises(Exception, match="nope"):
        loader.load(tree({"acme/web.yaml": HEAD + "  package: nope\n"}))
    assert dict(loader.desired.resources) == before


def test_an_empty_tree_is_a_mistake_and_no_wish() -> None:
    with pytest.raises(Exception, match="there is no Datacenter"):
        Loader().load(MemoryTree({}))


def test_nodes_and_policy_are_told_when_they_change() -> None:
    loader = loaded()
    delta = loader.load(tree({"nodes.yaml": BASE["nodes.yaml"].replace("rack: r1", "rack: r2")}))
    assert (delta.nodes, delta.policy, delta.changed) == ({"edge1"}, False, frozenset())
    delta = loader.load(
        tree(
            {
                "nodes.yaml": BASE["nodes.yaml"].replace("rack: r1", "rack: r2"),
                "datacenter.yaml": BASE["datacenter.yaml"] + "  follow: off\n",
            }
        )
    )
    assert (delta.nodes, delta.policy) == (frozenset(), True)
