"""The source: what a revision wants, at the cost of what changed, and what a range of commits removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from reconciler.core.desired import Desired, Lineage, Policy, Revision
from reconciler.core.ledger import Applied
from reconciler.core.refs import Ref
from reconciler.driver import Capability
from reconciler.edge.git import CommitTree, Repository
from reconciler.edge.git.mirror import Mirror
from reconciler.edge.git.objects import Objects
from reconciler.edge.load import Loader
from reconciler.edge.remembered import Remembered, TreeMemory
from reconciler.edge.source import GitSource
from reconciler.errors import RevisionMissing, SpecErrors

pytestmark = pytest.mark.anyio

Clone = Any
CAPABILITIES = {"local": Capability(frozenset({"Machine"}), frozenset({"rootfs"}), frozenset({"zone"}))}

SITE = {
    "datacenter.yaml": """\
apiVersion: trueup/v1
kind: Datacenter
metadata: {name: dc}
spec: {id: 3f0c1e52-7d5a-4c57-9d0e-6f1b6a1d2c01}
""",
    "site.yaml": """\
apiVersion: trueup/v1
kind: Nodes
items:
  edge1: {driver: local, nics: {lan: eno1}}
---
apiVersion: trueup/v1
kind: Networks
items:
  app: {nicTag: lan, subnet: 10.0.1.0/24, range: 10.0.1.100-10.0.1.199}
---
apiVersion: trueup/v1
kind: Packages
items:
  s: {memory: 1Gi, cpu: 1, disk: 10Gi}
---
apiVersion: trueup/v1
kind: Images
items:
  deb: {type: rootfs, source: {debian: bookworm}}
---
apiVersion: trueup/v1
kind: Tenant
metadata: {name: acme}
spec: {}
""",
}


def machine(name: str, **spec: str) -> str:
    more = "".join(f", {key}: {value}" for key, value in spec.items())
    return f"""\
apiVersion: trueup/v1
kind: Machine
metadata: {{name: {name}, tenant: acme}}
spec: {{image: deb, package: s, nics: [app]{more}}}
"""


def ref(name: str) -> Ref:
    return Ref(f"Machine/acme/{name}")


@pytest.fixture
def site(clone: Clone) -> Clone:
    clone.commit({**SITE, "web-1.yaml": machine("web-1"), "web-2.yaml": machine("web-2")})
    return clone


@pytest.fixture
def open_source(request: pytest.FixtureRequest) -> Callable[..., GitSource]:
    def opened(clone: Clone, **options: Any) -> GitSource:
        repository = Repository.open(clone.path)
        source = GitSource(repository, CAPABILITIES, **options)
        request.addfinalizer(repository.close)
        request.addfinalizer(source.close)
        return source

    return opened


def applied(desired: Desired) -> Applied:
    revision = desired.revision
    assert revision.commit
    assert revision.branch
    return Applied("p", 1, 1, revision.commit, revision.tree, revision.branch, revision.root, revision.repository)


async def test_a_revision_is_loaded_as_it_was_committed(site: Clone, open_source: Callable[..., GitSource]) -> None:
    site.write({"web-1.yaml": "rubbish"})
    desired = await open_source(site).load()
    assert {ref("web-1"), ref("web-2")} <= set(desired.resources)
    assert desired.revision.commit == site.git("rev-parse", "HEAD")
    assert desired.revision.tree == site.git("rev-parse", "HEAD^{tree}")


async def test_loading_on_is_loading_anew(site: Clone, open_source: Callable[..., GitSource]) -> None:
    source = open_source(site)
    await source.load()
    edits: list[dict[str, str | None]] = [
        {"web-3.yaml": machine("web-3")},
        {"web-1.yaml": None},
        {"site.yaml": SITE["site.yaml"].replace("memory: 1Gi", "memory: 2Gi")},
        {"sub/_defaults.yaml": "Machine: {spec: {search: [x.example]}}\n", "sub/web-4.yaml": machine("web-4")},
        {"sub/_defaults.yaml": None, "web-1.yaml": machine("web-1")},
    ]
    for edit in edits:
        site.commit(edit)
        here = await source.load()
        anew = await open_source(site).load()
        assert here == anew


async def test_what_became_other_is_told_and_nothing_else(site: Clone, open_source: Callable[..., GitSource]) -> None:
    source = open_source(site)
    first = await source.load()
    assert source.news() is None, "of a first load anything is news"
    site.commit({"web-1.yaml": None, "web-3.yaml": machine("web-3")})
    second = await source.load()
    assert source.news() == {ref("web-1"), ref("web-3")}
    assert source.news() == set()
    assert ref("web-1") not in second.resources
    assert first.nodes is second.nodes, "the loop goes through its nodes only where they are others"


async def test_a_revision_with_mistakes_leaves_the_last_good_one_to_build_on(
    site: Clone, open_source: Callable[..., GitSource]
) -> None:
    source = open_source(site)
    await source.load()
    site.commit({"web-1.yaml": machine("web-1", nonsense="5"), "web-3.yaml": machine("web-3")})
    with pytest.raises(SpecErrors, match="nonsense"):
        await source.load()
    site.commit({"web-1.yaml": machine("web-1")})
    assert await source.load() == await open_source(site).load()


async def test_going_back_and_forth_between_revisions_is_loading_each_anew(
    site: Clone, open_source: Callable[..., GitSource]
) -> None:
    source = open_source(site)
    old = site.git("rev-parse", "HEAD")
    site.commit({"web-2.yaml": None, "web-9.yaml": machine("web-9")})
    for name in (None, old, None, old):
        assert await source.load(name) == await open_source(site).load(name)


async def test_what_a_range_removed_is_told_whatever_is_in_force(
    site: Clone, open_source: Callable[..., GitSource]
) -> None:
    source = open_source(site)
    before = await source.load()
    site.commit({"web-1.yaml": None, "web-3.yaml": machine("web-3")})
    middle = await source.load()
    site.commit({"web-2.yaml": None, "web-1.yaml": machine("web-1")})
    after = await source.load()
    none: frozenset[str] = frozenset()
    assert await source.lineage(after, applied(before), none) == Lineage(removed=frozenset({ref("web-2")}))
    assert await source.lineage(middle, applied(before), none) == Lineage(removed=frozenset({ref("web-1")}))
    assert await source.lineage(after, applied(middle), none) == Lineage(removed=frozenset({ref("web-2")}))
    assert await source.lineage(after, applied(after), none) == Lineage()
    assert (await source.lineage(before, applied(after), none)).older
    assert await open_source(site).load() == after
    fresh = open_source(site)
    await fresh.load()
    assert await fresh.lineage(after, applied(before), none) == Lineage(removed=frozenset({ref("web-2")}))


@pytest.mark.parametrize("seed", range(4))
async def test_what_a_range_removed_is_the_same_however_it_was_followed(
    site: Clone, open_source: Callable[..., GitSource], seed: int
) -> None:
    """Commit by commit, with mistakes and applies in between, it is what a look at the two trees tells."""
    random, names = Random(seed), [f"web-{number}" for number in range(1, 6)]
    source = open_source(site)
    last = applied(await source.load())
    for number in range(12):
        edit: dict[str, str | None] = {"notes.txt": str(number)}
        for name in random.sample(names, 2):
            there = (site.path / f"{name}.yaml").exists()
            edit[f"{name}.yaml"] = (
                None if there and random.random() < 0.6 else machine(name, search=f"[x{random.randrange(3)}.example]")
            )
        if number % 4 == 2:
            edit["odd.yaml"] = machine("odd", nonsense="5")
        elif (site.path / "odd.yaml").exists():
            edit["odd.yaml"] = None
        site.commit(edit)
        if edit.get("odd.yaml"):
            with pytest.raises(SpecErrors):
                await source.load(since=last)
            continue
        here = await source.load(since=last)
        anew = open_source(site)
        there_as_well = await anew.load()
        assert await source.lineage(here, last, frozenset()) == await anew.lineage(there_as_well, last, frozenset())
        if random.random() < 0.3:
            last = applied(here)


async def test_a_replica_that_is_no_longer_wanted_counts_as_removed(
    site: Clone, open_source: Callable[..., GitSource]
) -> None:
    site.commit({"api.yaml": machine("api", replicas="3")})
    source = open_source(site)
    before = await source.load()
    site.commit({"api.yaml": machine("api", replicas="[1, 3]")})
    after = await source.load()
    found = await source.lineage(after, applied(before), frozenset())
    assert found == Lineage(removed=frozenset({ref("api-2")}))


async def test_what_was_applied_and_holds_mistakes_by_now_breaks_the_lineage(
    site: Clone, open_source: Callable[..., GitSource]
) -> None:
    site.commit({"odd.yaml": machine("odd", nonsense="5")})
    tree, commit = site.git("rev-parse", "HEAD^{tree}"), site.git("rev-parse", "HEAD")
    site.commit({"odd.yaml": None, "web-1.yaml": None})
    source = open_source(site)
    desired = await source.load()
    revision = desired.revision
    before = Applied("p", 1, 1, commit, tree, "main", "", revision.repository)
    found = await source.lineage(desired, before, frozenset())
    assert found.removed == frozenset()
    assert "cannot be read any more" in (found.broken or "")


async def test_a_dirty_tree_is_planned_with_its_lineage(site: Clone, open_source: Callable[..., GitSource]) -> None:
    source = open_source(site)
    before = await source.load()
    site.write({"web-1.yaml": None, "web-3.yaml": machine("web-3")})
    source.dirty = True
    desired = await source.load()
    assert desired.revision.commit is None
    assert ref("web-3") in desired.resources
    found = await source.lineage(desired, applied(before), frozenset())
    assert found == Lineage(removed=frozenset({ref("web-1")}))
    source.dirty = False
    assert await source.load() == before


async def test_a_root_beneath_the_top_is_its_own_site(site: Clone, open_source: Callable[..., GitSource]) -> None:
    site.commit({f"sites/a/{name}": text for name, text in SITE.items()})
    desired = await open_source(site, root="sites/a").load()
    assert desired.revision.root == "sites/a"
    assert ref("web-1") not in desired.resources


async def test_a_mirror_is_fetched_for_its_head_and_not_for_a_named_revision(site: Clone, tmp_path: Path) -> None:
    mirror = Mirror(str(site.path), tmp_path / "mirrors")
    with mirror.fetch() as repository:
        source = GitSource(repository, CAPABILITIES, mirror=mirror)
        assert ref("web-1") in (await source.load()).resources
        later = site.commit({"web-1.yaml": None})
        with pytest.raises(RevisionMissing):
            await source.load(later)
        assert (await source.load()).revision.commit == later


async def test_a_secret_that_changed_is_noticed_without_a_commit(
    site: Clone, open_source: Callable[..., GitSource]
) -> None:
    values = {"pw": "one"}
    site.commit({"web-3.yaml": machine("web-3", metadata="{password: {secret: pw}}")})
    source = open_source(site, keyed=values.get)
    first = await source.load()
    again = await source.load()
    assert first.resources[ref("web-3")] == again.resources[ref("web-3")]
    values["pw"] = "two"
    second = await source.load()
    assert first.resources[ref("web-3")].digest != second.resources[ref("web-3")].digest
    assert first.resources[ref("web-1")] == second.resources[ref("web-1")]


async def test_a_tree_that_was_read_before_is_recalled_without_reading(
    site: Clone, open_source: Callable[..., GitSource], tmp_path: Path
) -> None:
    memory = TreeMemory(tmp_path / "trees", CAPABILITIES)
    first = open_source(site)
    first.memory = memory
    read = await first.load()
    again = open_source(site)
    again.memory = memory
    recalled = await again.load()
    assert recalled == read
    assert again._loader is None, "nothing was read"
    assert again.loader.desired.resources == read.resources, "but it can be, when somebody asks for a document"


async def test_what_others_could_have_written_is_not_recalled(
    site: Clone, open_source: Callable[..., GitSource], tmp_path: Path
) -> None:
    source = open_source(site)
    source.memory = TreeMemory(tmp_path / "trees", CAPABILITIES)
    desired = await source.load()
    (kept,) = (tmp_path / "trees").glob("*.msgpack")
    (known,) = (tmp_path / "trees").glob("*.id")
    assert source.memory.recall_id(desired.revision.tree) == desired.datacenter_id
    known.chmod(0o666)
    assert source.memory.recall_id(desired.revision.tree) is None
    assert source.memory.recall(desired.revision.tree) is not None
    kept.chmod(0o666)
    assert source.memory.recall(desired.revision.tree) is None
    kept.chmod(0o600)
    kept.write_bytes(b"nonsense")
    assert source.memory.recall(desired.revision.tree) is None


async def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "trees").write_text("a file, no folder")
    memory = TreeMemory(tmp_path / "trees")
    memory.keep("t", Remembered(Desired("", "", Revision(None, ""), Policy(), {}, {})))
    assert memory.recall("t") is None


async def test_a_large_tree_is_read_by_processes_that_git_was_begun_for(
    site: Clone, open_source: Callable[..., GitSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each asks for just what git was asked for: who asks for other files begins a git of his own, and that is told."""
    documents = {f"acme/{n // 50}/m{n}.yaml": machine(f"m{n}") for n in range(1_000)}
    tenant = {"acme/zoo/beta.yaml": "apiVersion: trueup/v1\nkind: Tenant\nmetadata: {name: beta}\nspec: {}\n"}
    site.commit({**documents, **tenant, "acme/_defaults.yaml": "Machine: {spec: {deletionProtection: false}}\n"})
    alone = (await open_source(site).load()).resources
    monkeypatch.setattr("reconciler.edge.shares.FORKED", 500)
    monkeypatch.setattr(Loader.__init__, "__kwdefaults__", {"bulk_from": 100, "fork_from": 500})
    begun: list[int] = []
    soon = CommitTree.soon

    def noted(self: CommitTree, blobs: Sequence[str]) -> None:
        begun.append(len(blobs))
        soon(self, blobs)

    def never(self: Objects, names: Sequence[str]) -> Iterator[bytes]:
        assert len(names) < 100, "git was begun for these already"
        return read_many(self, names)

    read_many = Objects.read_many
    monkeypatch.setattr(CommitTree, "soon", noted)
    monkeypatch.setattr(Objects, "read_many", never)
    source = open_source(site)
    assert (await source.load()).resources == alone
    assert len(begun) == 2
    assert sum(begun) == len(documents) + 5
    assert source.loader.sorted is None


async def test_a_large_tree_is_kept_beside_the_rest(
    site: Clone, open_source: Callable[..., GitSource], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.edge.remembered._LARGE", 1)
    memory = TreeMemory(tmp_path / "trees", CAPABILITIES)
    source = open_source(site)
    source.memory = memory
    read = await source.load()
    memory.settle()
    found = memory.recall(read.revision.tree)
    assert found is not None
    assert found.desired.resources == read.resources
    memory.settle()  # nothing is left to wait for
    (kept,) = (tmp_path / "trees").glob("*.msgpack")
    kept.unlink()
    kept.mkdir()  # what cannot be written is done without here, too
    memory.keep(read.revision.tree, found)
    memory.settle()
    assert memory.recall(read.revision.tree) is None


OTHER = {"site.yaml": SITE["site.yaml"].replace("bookworm", "trixie")}
CHANGED = "images are immutable, and deb held other contents when a plan was applied last"


@pytest.mark.parametrize("kept", [False, True])
async def test_an_image_that_would_hold_other_contents_than_at_the_last_apply_is_a_mistake(
    site: Clone, open_source: Callable[..., GitSource], tmp_path: Path, kept: bool
) -> None:
    source = open_source(site)
    memory = source.memory = TreeMemory(tmp_path / "trees", CAPABILITIES) if kept else None
    before = await source.load()
    site.commit(OTHER)
    for where in (source, open_source(site)):  # with the last good tree in force, and in a fresh process
        where.memory = memory
        with pytest.raises(SpecErrors) as caught:
            await where.load(since=applied(before))
        (told,) = caught.value.diagnostics
        assert (told.file, told.line, told.column, told.field) == ("site.yaml", 19, 31, "Image/deb:source")
        assert CHANGED in told.summary
        assert "deb-2" in told.fix
    assert source.loader.desired.revision == before.revision, "the last good tree stays in force"
    assert await open_source(site).load(), "and nothing is wrong with the tree by itself"
    if kept:  # it is known by now, and still not taken unseen
        again = open_source(site)
        again.memory = memory
        await again.load()
        with pytest.raises(SpecErrors):
            await again.load(since=applied(before))


@pytest.mark.parametrize("between", [{"web-1.yaml": machine("web-1")}, {"new/_defaults.yaml": "Machine: {}\n"}])
async def test_it_is_told_as_well_of_a_later_commit_than_the_first_after_the_apply(
    site: Clone, open_source: Callable[..., GitSource], between: dict[str, str]
) -> None:
    source = open_source(site)
    before = applied(await source.load())
    for files in (between, {**between, "notes.txt": "later"}):
        site.commit(files)
        await source.load(since=before)
    site.commit(OTHER)
    with pytest.raises(SpecErrors, match=CHANGED):
        await source.load(since=before)
    site.commit({"site.yaml": SITE["site.yaml"], "notes.txt": None})
    await source.load(since=before)
    site.commit(OTHER)
    with pytest.raises(SpecErrors, match=CHANGED):
        await source.load(since=before)


async def test_it_is_told_beside_all_other_mistakes_wherever_its_document_went(
    site: Clone, open_source: Callable[..., GitSource]
) -> None:
    before = await open_source(site).load()
    images = "apiVersion: trueup/v1\nkind: Images\nitems:\n  deb: {type: rootfs, source: {debian: trixie}}\n"
    without = SITE["site.yaml"].partition("apiVersion: trueup/v1\nkind: Images")
    rest = without[2].partition("---\n")[2]
    site.commit({"site.yaml": without[0] + rest, "new/images.yaml": images, "web-1.yaml": machine("web-1", node="x")})
    with pytest.raises(SpecErrors) as caught:
        await open_source(site).load(since=applied(before))
    assert [one.file for one in caught.value.diagnostics] == ["new/images.yaml", "web-1.yaml"]


async def test_another_name_another_place_and_another_recipe_of_something_else_are_no_mistakes(
    site: Clone, open_source: Callable[..., GitSource]
) -> None:
    before = await open_source(site).load()
    added = SITE["site.yaml"].replace("  deb:", "  deb-2: {type: rootfs, source: {debian: trixie}}\n  deb:")
    site.commit({"site.yaml": None, "sub/site.yaml": added.replace("memory: 1Gi", "memory: 2Gi")})
    source = open_source(site)
    assert "Image/deb-2" in (await source.load(since=applied(before))).resources


async def test_a_dirty_tree_keeps_its_images_too(site: Clone, open_source: Callable[..., GitSource]) -> None:
    before = await open_source(site).load()
    site.write(OTHER)
    with pytest.raises(SpecErrors, match=CHANGED):
        await open_source(site, dirty=True).load(since=applied(before))


async def test_what_was_applied_and_cannot_be_read_any_more_is_compared_with_nothing(
    site: Clone, open_source: Callable[..., GitSource]
) -> None:
    before = applied(await open_source(site).load())
    site.commit(OTHER)
    for gone in ({"tree": "1" * 40}, {"root": "elsewhere"}):
        assert await open_source(site).load(since=msgspec.structs.replace(before, **gone))
