"""A loader that was laid down and taken up reads changes as one that read everything itself, or says that it cannot."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "load"))

from pictures import picture
from test_incremental import random_edit
from trees import BASE, CAPABILITIES

from reconciler.core.desired import NodeWant, Revision
from reconciler.edge.index import documents
from reconciler.edge.index.shelves import Doubt, Reader, Shelf, Writer
from reconciler.edge.load import Loader, MemoryTree
from reconciler.errors import SpecErrors

SEEDS = int(os.environ.get("TRUEUP_INCREMENTAL_SEEDS", "60"))
NOWHERE = Revision(commit=None, tree="")


def loaded(files: dict[str, str]) -> Loader:
    made = Loader(CAPABILITIES)
    made.load(MemoryTree(files))
    return made


def again(loader: Loader, tree: MemoryTree, folder: Path) -> Loader:
    """The loader, laid down and taken up."""
    with Writer(folder / "index") as writer:
        writer.whole = documents.write(loader.records, writer)
        writer.table("world.nodes", loader.records.nodes)
    reader = Reader(folder / "index")
    whole = msgspec.msgpack.decode(reader.whole, type=documents.Whole)
    nodes: Shelf[str, NodeWant] = Shelf.of(reader, "world.nodes", NodeWant)
    made = Loader(CAPABILITIES)
    made.resume(documents.read(reader, whole, tree, CAPABILITIES, nodes), tree, NOWHERE)
    return made


def changes(before: dict[str, str], after: dict[str, str]) -> tuple[MemoryTree, dict[str, str | None]]:
    """A tree that reads both, and what differs."""
    tree = MemoryTree({**after, **{f"before/{path}": text for path, text in before.items()}})
    differing = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    ids = dict(MemoryTree(after).entries())
    return tree, {path: ids.get(path) for path in sorted(differing)}


def agree(kept: Loader, fresh: Loader, old: Loader) -> None:
    """What is wanted, and what the next load starts from."""
    mine, theirs = kept.records, fresh.records
    for ref in {*old.records.owners, *theirs.owners}:
        assert mine.resources.get(ref) == theirs.resources.get(ref)
        assert mine.groups.get(ref) == theirs.groups.get(ref)
        assert repr(mine.entries.get(ref)) == repr(theirs.entries.get(ref))
        owner, other = mine.owners.get(ref), theirs.owners.get(ref)
        assert (owner and (owner.file, owner.refs)) == (other and (other.file, other.refs))
    for name in {*old.records.nodes, *theirs.nodes}:
        assert mine.nodes.get(name) == theirs.nodes.get(name)
    for key in {*old.records.claims, *theirs.claims}:
        claimed, other = mine.claims.get(key), theirs.claims.get(key)
        assert (claimed and claimed.file) == (other and other.file)
    for key in theirs.users.combinations:
        assert {(one.file, one.refs) for one in mine.users.of(key)} == {(o.file, o.refs) for o in theirs.users.of(key)}
    assert kept.desired.policy == fresh.desired.policy


def followed(seed: int, folder: Path) -> int:
    """How many of some random edits were read without a doubt."""
    dice, told = random.Random(seed), 0
    files: dict[str, str] = dict(BASE)
    for _ in range(8):
        old = loaded(files)
        kept = again(old, MemoryTree(files), folder)
        for _ in range(3):
            after = dict(files)
            random_edit(dice, after)
            tree, differing = changes(files, after)
            try:
                fresh = loaded(after)
            except SpecErrors:
                with pytest.raises((SpecErrors, Doubt)):
                    kept.update(tree, differing)
                break
            try:
                delta = kept.update(tree, differing)
                agree(kept, fresh, old)
            except Doubt:
                files = after
                break
            resources = fresh.records.resources
            assert delta.changed == {
                ref for ref in resources
                if (was := old.records.resources.get(ref)) is None or was.digest != resources[ref].digest
            }  # fmt: skip
            assert delta.removed == old.records.resources.keys() - resources.keys()
            files, old, told = after, fresh, told + 1
    return told


@pytest.mark.parametrize("seed", range(SEEDS // 4))
def test_changes_are_read_as_if_all_had_been(seed: int, tmp_path: Path) -> None:
    followed(seed, tmp_path)


def test_most_of_it_is_read_without_a_doubt(tmp_path: Path) -> None:
    """Else the property above would prove little."""
    assert sum(followed(seed, tmp_path) for seed in range(100, 104)) >= 8


def test_places_are_those_of_the_file_as_it_was(tmp_path: Path) -> None:
    """A document that goes moves those behind it in its file, and they are still themselves."""
    one = "apiVersion: trueup/v1\nkind: Machine\nmetadata: {name: %s, tenant: acme}\nspec: {image: deb, package: s}\n"
    files = {**BASE, "many.yaml": "---\n".join(one % name for name in ("x1", "x2", "x3"))}
    old = loaded(files)
    kept = again(old, MemoryTree(files), tmp_path)
    for names in (("x2", "x3"), ("x3",), ("x3", "x1")):
        after = {**files, "many.yaml": "---\n".join(one % name for name in names)}
        kept.update(*changes(files, after))
        fresh = loaded(after)
        agree(kept, fresh, old)
        assert picture(fresh) == picture(loaded(after))
        files, old = after, fresh
