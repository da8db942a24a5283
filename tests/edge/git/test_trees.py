"""Trees compared by their own bytes differ in what git says they differ in, or git is asked."""

from __future__ import annotations

import random
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from reconciler.edge.git import Repository
from reconciler.edge.git.loose import Loose
from reconciler.edge.git.objects import TreeDifference
from reconciler.edge.git.trees import Contents, Trees, Untold

Clone = Any

NAMES = ["a", "a.b", "a-", "a0", "b", "ab", "ü", "end\n", "x y"]
MODES = ["100644", "100644", "100755", "120000"]


def asked_of_git(folder: Path) -> TreeDifference:
    """The difference as git tells it, whatever lies there as a file."""
    return TreeDifference(folder, Trees(Loose(folder / "nowhere"), lambda _: None))


def own_of(clone: Clone, before: str, contents: Contents = lambda _: None) -> Trees:
    """Trees that go on from `before`."""
    own = Trees(Loose(clone.path / ".git"), contents)
    with pytest.raises(Untold):
        own.between("0" * 40, before)
    return own


def random_path(dice: random.Random) -> str:
    return "/".join(dice.choice(NAMES) for _ in range(dice.choice((1, 1, 2, 2, 3))))


def history(clone: Clone, dice: random.Random, commits: int) -> list[str]:
    """The ids of as many trees, each with a few edits of the one before: files, links, submodules, and folders that
    take the place of files."""
    lines: list[bytes] = []
    for number in range(commits):
        lines += [b"commit refs/heads/main", b"committer a <a@b> %d +0000" % number, b"data 0"]
        for _ in range(dice.choice((1, 1, 2, 6, 30)) if number else 60):
            path = f'"{random_path(dice)}"'.replace("\n", "\\n").encode()
            kind = dice.random()
            if kind < 0.3 and number:
                lines.append(b"D " + path)
            elif kind < 0.4:
                lines.append(b"M 160000 %s " % dice.choice((b"1" * 40, b"2" * 40)) + path)
            else:
                lines.append(b"M %s inline " % dice.choice(MODES).encode() + path)
                lines += [b"data 1", dice.choice((b"x", b"y"))]
    text = b"\n".join([*lines, b"done", b""])
    subprocess.run(
        ["git", "-C", str(clone.path), "fast-import", "--quiet", "--done"], input=text, check=True, capture_output=True
    )
    return list(reversed(clone.git("log", "--format=%T", "main").split()))


@pytest.mark.parametrize("packed", [False, True], ids=["files", "packed"])
@pytest.mark.parametrize("seed", range(6))
def test_two_trees_differ_in_what_git_says(clone: Clone, seed: int, packed: bool) -> None:
    dice = random.Random(seed)
    trees = history(clone, dice, 12)
    if packed:
        clone.git("repack", "-adq")
    else:
        for pack in (clone.path / ".git/objects/pack").glob("*.pack"):
            data = pack.read_bytes()
            for each in pack.parent.iterdir():
                each.unlink()
            subprocess.run(["git", "-C", str(clone.path), "unpack-objects", "-q"], input=data, check=True)
    git = asked_of_git(clone.path)
    with Repository.open(clone.path) as repository:
        for _ in range(30):
            before, after = dice.sample(trees, 2) if dice.random() < 0.5 else (pair := dice.randrange(11), pair + 1)
            if isinstance(before, int):
                before, after = trees[before], trees[after]
            told = git.between(before, after)
            assert repository.difference.between(before, after) == told
            if not packed and before != after:
                found = own_of(clone, before).between(before, after)
                assert [each.path.decode(errors="surrogateescape") for each in found] == [each.path for each in told]
    git.close()


def test_a_few_trees_that_are_packed_are_asked_for_and_remembered(clone: Clone) -> None:
    clone.commit({f"{folder}/{name}.yaml": name for folder in "abc" for name in "xyz"})
    clone.git("repack", "-adq")
    trees = [clone.git("rev-parse", "HEAD^{tree}")]
    for turn in range(3):
        clone.commit({"a/x.yaml": str(turn)})
        trees.append(clone.git("rev-parse", "HEAD^{tree}"))
    asked = []
    with Repository.open(clone.path) as repository:

        def contents(id_: str) -> tuple[str, bytes] | None:
            asked.append(id_)
            found = repository.objects.contents(id_)
            return (found[0].kind, found[1]) if found is not None else None

        own = own_of(clone, trees[1], contents)
        for before, after in [*pairwise(trees[1:]), (trees[3], trees[0]), (trees[0], trees[1])]:
            assert [change.path for change in own.between(before, after)] == [b"a/x.yaml"]
    assert asked == [trees[0], clone.git("rev-parse", f"{trees[0]}:a")]


def test_what_is_no_tree_or_too_much_is_left_to_git(clone: Clone) -> None:
    clone.commit({"a.yaml": "a"})
    tree, blob = clone.git("rev-parse", "HEAD^{tree}"), clone.git("rev-parse", "HEAD:a.yaml")
    clone.commit({f"{number}/a.yaml": "a" * number for number in range(70)})
    many = clone.git("rev-parse", "HEAD^{tree}")
    for before, after in ((tree, blob), (tree, "1" * 40), (tree, many), ("main", tree)):
        with pytest.raises(Untold):
            own_of(clone, before).between(before, after)
    assert [change.path for change in own_of(clone, many).between(many, many)] == []
    assert len(asked_of_git(clone.path).between(tree, many)) == 70


def test_a_tree_with_modes_of_old_is_left_to_git(clone: Clone) -> None:
    clone.commit({"a.yaml": "a"})
    trees = []
    for text in ("b", "c"):
        (clone.path / "b.yaml").write_text(text)
        blob = clone.git("hash-object", "-w", "b.yaml")
        data = b"100664 b.yaml\0" + bytes.fromhex(blob)
        made = subprocess.run(
            ["git", "-C", str(clone.path), "hash-object", "-w", "--literally", "-t", "tree", "--stdin"],
            input=data, check=True, capture_output=True,
        )  # fmt: skip
        trees.append(made.stdout.decode().strip())
    with pytest.raises(Untold):
        own_of(clone, trees[0]).between(*trees)
    with Repository.open(clone.path) as repository:
        assert [change.mode for change in repository.difference.between(*trees)] == ["100644"]
