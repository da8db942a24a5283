"""Repositories and trees: read by object, whole or not at all, and nothing of theirs is run."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from reconciler.edge.forked import Forked, framed
from reconciler.edge.git import CommitTree, Opening, Repository
from reconciler.edge.git.command import run
from reconciler.edge.git.loose import Loose
from reconciler.edge.git.objects import PathChange, TreeDifference
from reconciler.edge.git.trees import Trees
from reconciler.errors import RevisionMissing, SourceRefused, SourceUnreadable

Clone = Any


def asked_of_git(clone: Clone) -> TreeDifference:
    """The difference as git tells it, whatever lies there as a file."""
    return TreeDifference(clone.path, Trees(Loose(clone.path / "nowhere"), lambda _: None))


def tree_at(clone: Clone, root: str = "", revision: str = "HEAD") -> CommitTree:
    with Repository.open(clone.path) as repository:
        return CommitTree(clone.path, repository.tree(repository.commit(revision), root))


def test_a_tree_lists_paths_in_order_and_reads_their_contents(clone: Clone) -> None:
    clone.commit({"b/x.yaml": "x", "b.yaml": "b", "a.yaml": "a", "b-c.yaml": "c", "ü.yaml": "ü"})
    tree = tree_at(clone)
    listed = list(tree.entries())
    assert [path for path, _ in listed] == ["a.yaml", "b-c.yaml", "b.yaml", "b/x.yaml", "ü.yaml"]
    assert list(tree.read([blob for _, blob in listed])) == [b"a", b"c", b"b", b"x", "ü".encode()]


def test_the_commit_counts_and_not_the_working_tree(clone: Clone) -> None:
    clone.commit({"a.yaml": "committed"})
    clone.write({"a.yaml": "edited", "b.yaml": "new"})
    tree = tree_at(clone)
    listed = list(tree.entries())
    assert [path for path, _ in listed] == ["a.yaml"]
    assert list(tree.read([listed[0][1]])) == [b"committed"]


def test_many_blobs_are_streamed_in_the_order_asked_for(clone: Clone) -> None:
    clone.commit({f"{n:04}.yaml": f"document {n}" for n in range(500)})
    tree = tree_at(clone)
    blobs = [blob for _, blob in tree.entries()][::-1]
    assert list(tree.read(blobs)) == [f"document {n}".encode() for n in range(499, -1, -1)]
    assert next(iter(tree.read(blobs))) == b"document 499"


def test_blobs_of_any_size_and_of_git_s_own_words_are_streamed_whole(clone: Clone) -> None:
    sizes = [0, 1, *range(65_420, 65_540, 7), 131_072, 3_000_000, 2]
    files = {f"{n:03}.yaml": f"{n} blob {size}\n"[:size].ljust(size, "x") for n, size in enumerate(sizes)}
    clone.commit(files | {f"z{n}.yaml": f"{'0' * 40} missing\n" * n + "\n" for n in range(9)})
    tree = tree_at(clone)
    told = dict(zip([path for path, _ in tree.entries()], tree.read([blob for _, blob in tree.entries()]), strict=True))
    assert all(told[path] == text.encode() for path, text in files.items())
    assert all(told[f"z{n}.yaml"] == (f"{'0' * 40} missing\n" * n + "\n").encode() for n in range(9))


def test_a_root_is_a_folder_of_the_tree_and_paths_start_there(clone: Clone) -> None:
    clone.commit({"sites/a/dc.yaml": "a", "sites/b/dc.yaml": "b"})
    assert [path for path, _ in tree_at(clone, "sites/a").entries()] == ["dc.yaml"]
    assert [path for path, _ in tree_at(clone, "/sites/a/").entries()] == ["dc.yaml"]
    with pytest.raises(RevisionMissing, match="no folder 'sites/c'"):
        tree_at(clone, "sites/c")
    with pytest.raises(SourceRefused, match="leads out"):
        tree_at(clone, "../x")


def test_hidden_files_and_folders_are_left_out(clone: Clone) -> None:
    clone.commit({"a.yaml": "a", ".ci/b.yaml": "b", "s/.hidden/c.yaml": "c", ".d.yaml": "d"})
    assert [path for path, _ in tree_at(clone).entries()] == ["a.yaml"]


@pytest.mark.parametrize("name", ["web.yaml", "sites"])
def test_a_link_that_could_hide_documents_is_refused(clone: Clone, name: str) -> None:
    clone.commit({"real/a.yaml": "a"})
    (clone.path / name).symlink_to("real")
    clone.commit()
    tree = tree_at(clone)
    assert [path for path, _ in tree.entries()] == ["real/a.yaml"]
    assert tree.refused[name][0] == "this is a symbolic link (to real), which is not followed"


def test_a_link_to_a_file_of_another_kind_is_passed_over(clone: Clone) -> None:
    clone.commit({"a.yaml": "a"})
    (clone.path / "README.md").symlink_to("docs/README.md")
    clone.commit()
    assert [path for path, _ in tree_at(clone).entries()] == ["a.yaml"]


def test_a_submodule_is_refused(clone: Clone) -> None:
    inner = clone.commit({"a.yaml": "a"})
    clone.git("update-index", "--add", "--cacheinfo", f"160000,{inner},vendor")
    clone.git("commit", "--quiet", "-m", "a submodule")
    tree = tree_at(clone)
    assert [path for path, _ in tree.entries()] == ["a.yaml"]
    assert tree.refused["vendor"][0] == "this is a submodule, which is not read"


def test_a_name_that_is_not_utf8_is_refused(clone: Clone) -> None:
    (clone.path / os.fsdecode(b"\xff.yaml")).write_text("a")
    clone.commit()
    tree = tree_at(clone)
    assert list(tree.entries()) == []
    assert tree.refused == {"\ufffd.yaml": ("the file's name is not UTF-8", "rename it")}


@pytest.mark.parametrize("amount", [1, 100])
def test_a_missing_object_is_an_error_and_never_an_empty_answer(clone: Clone, amount: int) -> None:
    clone.commit({f"{n}.yaml": f"a{n}" for n in range(amount)})
    tree = tree_at(clone)
    blobs = [blob for _, blob in tree.entries()]
    (clone.path / ".git/objects" / blobs[0][:2] / blobs[0][2:]).unlink()
    with pytest.raises(SourceUnreadable, match="missing"):
        list(tree.read(blobs))


def test_a_missing_tree_is_an_error_and_never_an_empty_listing(clone: Clone) -> None:
    clone.commit({"s/a.yaml": "a"})
    tree = tree_at(clone)
    inner = clone.git("rev-parse", "HEAD:s")
    (clone.path / ".git/objects" / inner[:2] / inner[2:]).unlink()
    with pytest.raises(SourceUnreadable):
        list(tree.entries())


def test_what_is_asked_for_ahead_is_read_by_a_forked_process_too(clone: Clone) -> None:
    clone.commit({f"{n:04}.yaml": f"document {n}" for n in range(200)})
    tree = tree_at(clone)
    listed = tree.listed()
    assert list(tree.entries()) == listed
    blobs = [blob for _, blob in listed]
    for each in (blobs[:100], blobs[100:]):
        tree.soon(each)
    gits = [each._process for each in tree._soon]

    def read(_: BinaryIO, sink: BinaryIO) -> None:
        sink.write(framed(b"\n".join(tree.reopened().read(blobs[100:]))))

    reader = Forked(read)
    assert reader.answer() == b"\n".join([f"document {n}".encode() for n in range(100, 200)])
    reader.leave()
    reading = tree.read(blobs[:100])
    assert next(reading) == b"document 0"
    assert list(reading) == [f"document {n}".encode() for n in range(1, 100)]
    tree.settle()
    assert [git.returncode is None for git in gits] == [False, False], "nobody is left behind"
    assert list(tree.read(blobs)) == [f"document {n}".encode() for n in range(200)], "and it can be read again"


def test_what_was_asked_for_ahead_and_is_missing_is_told(clone: Clone) -> None:
    clone.commit({f"{n:04}.yaml": f"document {n}" for n in range(100)})
    tree = tree_at(clone)
    blobs = [blob for _, blob in tree.listed()]
    (clone.path / ".git/objects" / blobs[50][:2] / blobs[50][2:]).unlink()
    for ahead in (True, False):
        if ahead:
            tree.soon(blobs)
        with pytest.raises(SourceUnreadable, match=f"{blobs[50]} is missing"):
            list(tree.read(blobs))
    few = blobs[40:60]
    with pytest.raises(SourceUnreadable, match=f"{blobs[50]} is missing"):
        list(tree.read(few))
    assert list(tree.read(few[:5])) == [f"document {n}".encode() for n in range(40, 45)], "answers keep their places"


def test_a_reopened_tree_reads_through_a_process_of_its_own(clone: Clone) -> None:
    clone.commit({"a.yaml": "a"})
    tree = tree_at(clone)
    [(path, blob)] = list(tree.entries())
    again = tree.reopened()
    tree.close()
    assert list(again.entries()) == [(path, blob)]
    assert list(again.read([blob])) == [b"a"]
    again.close()


def test_the_reading_process_may_die_and_is_started_again(clone: Clone) -> None:
    clone.commit({"a.yaml": "a"})
    with Repository.open(clone.path) as repository:
        assert repository.objects.find("HEAD:a.yaml") is not None
        process = repository.objects._names._process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert repository.objects.find("HEAD:a.yaml") is not None


def test_differences_follow_renames_as_removal_and_addition(clone: Clone) -> None:
    clone.commit({"s/a.yaml": "a", "s/b.yaml": "b", "s/t/c.yaml": "c"})
    first = clone.git("rev-parse", "HEAD:s")
    clone.git("mv", "s/a.yaml", "s/z.yaml")
    clone.commit({"s/b.yaml": "b2", "s/t/c.yaml": None, "s/n\newline.yaml": "n"})
    second = clone.git("rev-parse", "HEAD:s")
    ids = {name: clone.git("rev-parse", name) for name in ("HEAD~:s/a.yaml", "HEAD~:s/b.yaml", "HEAD:s/b.yaml")}
    with Repository.open(clone.path) as repository:
        changes = {change.path: change for change in repository.difference.between(first, second)}
        assert set(changes) == {"a.yaml", "b.yaml", "n\newline.yaml", "t/c.yaml", "z.yaml"}
        assert changes["a.yaml"] == PathChange("a.yaml", ids["HEAD~:s/a.yaml"], None, "100644")
        assert changes["b.yaml"] == PathChange("b.yaml", ids["HEAD~:s/b.yaml"], ids["HEAD:s/b.yaml"], "100644")
        assert changes["z.yaml"] == PathChange("z.yaml", None, ids["HEAD~:s/a.yaml"], "100644")
        assert repository.difference.between(first, first) == []
        for difference in (repository.difference, asked_of_git(clone)):
            with pytest.raises(SourceUnreadable):
                difference.between(first, "1" * 40)
            assert len(difference.between(first, second)) == 5
            assert {change.path: change for change in difference.between(first, second)} == changes


@pytest.mark.parametrize("name", ["end\n", "x\nend\n", "\nend\nend\n", "end"])
def test_a_path_that_looks_like_the_end_of_the_answer_is_not_taken_for_it(clone: Clone, name: str) -> None:
    clone.commit({"a.yaml": "a"})
    first = clone.git("rev-parse", "HEAD^{tree}")
    clone.commit({name: "a", "zz.yaml": "z"})
    second = clone.git("rev-parse", "HEAD^{tree}")
    with Repository.open(clone.path) as repository:
        for difference in (repository.difference, asked_of_git(clone)):
            assert {change.path for change in difference.between(first, second)} == {name, "zz.yaml"}
            assert difference.between(second, first)[0].after is None


def test_changes_say_what_the_listing_would(clone: Clone) -> None:
    clone.commit({"a.yaml": "a", "b.yaml": "b", "notes.txt": "n", ".x/c.yaml": "c", "d/e.yaml": "e"})
    with Repository.open(clone.path) as repository:
        before = tree_at(clone)
        clone.write({"a.yaml": None, "d/e.yaml": None, "b.yaml": "b2", "n/new.yaml": "new", ".x/c.yaml": "c2"})
        (clone.path / "d").rmdir()
        (clone.path / "notes.txt").unlink()
        (clone.path / "notes.txt").symlink_to("elsewhere")
        clone.commit({"d": "a file now"})
        after = tree_at(clone)
        was, now = dict(before.entries()), dict(after.entries())
        changes = after.changes(repository.difference, before.id)
        assert {path: blob for path, blob in (was | changes).items() if blob is not None} == now
        assert set(changes) == {"a.yaml", "b.yaml", "d", "d/e.yaml", "n/new.yaml", "notes.txt"}
        assert after.changes(repository.difference, after.id) == {}


def test_changes_refuse_what_the_listing_refuses(clone: Clone) -> None:
    clone.commit({"a.yaml": "a"})
    before = tree_at(clone)
    (clone.path / "sites").symlink_to("/elsewhere")
    clone.commit()
    after = tree_at(clone)
    with Repository.open(clone.path) as repository:
        assert after.changes(repository.difference, before.id) == {"sites": None}
    assert "symbolic link" in after.refused["sites"][0]


def test_new_commits_are_seen_by_an_open_repository(clone: Clone) -> None:
    clone.commit({"a.yaml": "a"})
    with Repository.open(clone.path) as repository:
        before = repository.revision(None)
        clone.commit({"a.yaml": "b"})
        clone.git("pack-refs", "--all")
        clone.git("repack", "-adq")
        after = repository.revision(None)
        assert before.commit != after.commit
        assert [change.path for change in repository.difference.between(before.tree, after.tree)] == ["a.yaml"]


def test_a_revision_says_where_it_came_from(clone: Clone) -> None:
    commit = clone.commit({"sites/a/dc.yaml": "a"})
    with Repository.open(clone.path / "sites/a") as repository:
        root = repository.root_of(clone.path / "sites/a")
        revision = repository.revision(None, root=root)
    assert (revision.commit, revision.branch, revision.root) == (commit, "main", "sites/a")
    assert revision.tree == clone.git("rev-parse", "HEAD:sites/a")
    assert revision.repository == str(clone.path / ".git")


def test_a_commit_beside_the_branch_has_no_branch(clone: Clone) -> None:
    clone.commit({"a.yaml": "a"})
    clone.git("switch", "--quiet", "-c", "feature")
    aside = clone.commit({"a.yaml": "b"})
    with Repository.open(clone.path) as repository:
        assert repository.revision(aside, ref="main").branch is None
        assert repository.revision("main~0", ref="feature").branch == "feature"


@pytest.mark.parametrize("name", ["nope", "--all", "HEAD~9", "", "a b", "HEAD:a.yaml", "x\ny", "\udcff"])
def test_a_revision_that_is_not_there_is_told(clone: Clone, name: str) -> None:
    clone.commit({"a.yaml": "a"})
    with Repository.open(clone.path) as repository, pytest.raises(RevisionMissing, match="there is no commit"):
        repository.commit(name)


def test_an_empty_repository_is_told(clone: Clone) -> None:
    with Repository.open(clone.path) as repository, pytest.raises(RevisionMissing, match="branch main has no commit"):
        repository.revision(None)


def test_a_head_that_cannot_be_read_is_unknown_and_not_on_no_branch(clone: Clone) -> None:
    clone.commit({"a.yaml": "a"})
    with Repository.open(clone.path) as repository:
        (clone.path / ".git" / "HEAD").rename(clone.path / ".git" / "HEAD.gone")
        with pytest.raises(SourceUnreadable, match="HEAD cannot be read"):
            repository.branch_if_any()


def test_what_the_system_does_not_take_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceRefused, match="there is no such folder"):
        Repository.open(tmp_path / ("x" * 200_000))
    with pytest.raises(SourceUnreadable, match="git cannot be started: Argument list too long"):
        run(tmp_path, ("version",), env={"PATH": os.environ["PATH"], "LONG": "x" * 200_000})


def test_a_detached_head_is_read_and_is_on_no_branch(clone: Clone) -> None:
    commit = clone.commit({"a.yaml": "a"})
    clone.git("switch", "--quiet", "--detach")
    with Repository.open(clone.path) as repository:
        with pytest.raises(SourceUnreadable, match="on no branch"):
            repository.branch()
        detached = repository.revision(None)
        assert (detached.commit, detached.branch) == (commit, None)
        named = repository.revision(None, ref="main")
        assert (named.commit, named.branch) == (commit, "main")


def test_a_commit_whose_tree_is_lost_is_damage_and_not_an_empty_tree(clone: Clone) -> None:
    commit = clone.commit({"a.yaml": "a"})
    tree = clone.git("rev-parse", f"{commit}^{{tree}}")
    (clone.path / ".git/objects" / tree[:2] / tree[2:]).unlink()
    with Repository.open(clone.path) as repository, pytest.raises(SourceUnreadable, match="is missing"):
        repository.revision(None)


def test_a_folder_that_is_no_repository_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceRefused, match="no git repository"):
        Repository.open(tmp_path)
    with pytest.raises(SourceRefused, match="no such folder"):
        Repository.open(tmp_path / "missing")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_repository_of_another_user_is_refused_with_the_way_out(clone: Clone) -> None:
    clone.commit({"a.yaml": "a"})
    for place in [clone.path, *clone.path.rglob("*")]:
        os.chown(place, 12345, 12345)
    with pytest.raises(SourceRefused, match="belongs to another user") as caught:
        Repository.open(clone.path)
    assert f"safe.directory {clone.path}" in caught.value.hint


def test_a_damaged_repository_is_one_error(clone: Clone) -> None:
    clone.commit({"a.yaml": "a"})
    (clone.path / ".git/HEAD").write_text("rubbish")
    with pytest.raises((SourceUnreadable, SourceRefused)):
        Repository.open(clone.path)


def test_a_bare_repository_and_a_linked_worktree_read_alike(clone: Clone, clone_of: Callable[..., Clone]) -> None:
    commit = clone.commit({"a.yaml": "a"})
    bare = clone_of(clone.path, "--bare")
    linked = clone.path.parent / "linked"
    clone.git("worktree", "add", "--quiet", str(linked), "-b", "side")
    for place, branch in ((bare.path, "main"), (linked, "side")):
        with Repository.open(place) as repository:
            revision = repository.revision(None)
            assert (revision.commit, revision.branch) == (commit, branch)


def test_a_clone_is_known_by_its_remote_without_credentials(clone: Clone) -> None:
    clone.commit({"a.yaml": "a"})
    clone.git("remote", "add", "origin", "https://ada:s3cret@example.org/dc.git")
    with Repository.open(clone.path) as repository:
        assert repository.identity == "https://example.org/dc.git"


def test_the_environment_of_a_hook_does_not_lead_us_astray(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = clone.commit({"a.yaml": "a"})
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nonexistent")
    monkeypatch.setenv("GIT_WORK_TREE", "/")
    with Repository.open(clone.path) as repository:
        assert repository.revision(None).commit == commit


def test_replacement_objects_and_grafts_do_not_lie_to_us(clone: Clone) -> None:
    first = clone.commit({"a.yaml": "a"})
    second = clone.commit({"a.yaml": "b"})
    clone.git("replace", first, second)
    (clone.path / ".git/info/grafts").write_text(f"{second}\n")
    with Repository.open(clone.path) as repository:
        assert repository.tree(first) != repository.tree(second)
        assert repository.is_ancestor(first, second)


def test_a_partial_clone_fetches_nothing_and_runs_nothing(clone: Clone, clone_of: Callable[..., Clone]) -> None:
    clone.commit({"a.yaml": "a"})
    clone.git("config", "uploadpack.allowFilter", "true")
    partial = clone_of(clone.path, "--filter=blob:none", "--no-checkout")
    trap = clone.path.parent / "ran"
    partial.git("config", "remote.origin.uploadpack", f"touch {trap}; git-upload-pack")
    tree = tree_at(partial)
    with pytest.raises(SourceUnreadable):
        list(tree.read([blob for _, blob in tree.entries()]))
    assert not trap.exists()


def test_git_that_is_not_installed_is_told(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(clone.path))
    with pytest.raises(SourceRefused, match="no `git`"):
        Repository.open(clone.path)


def test_no_process_is_left_behind(clone: Clone) -> None:
    clone.commit({"a.yaml": "a"})
    repository = Repository.open(clone.path)
    repository.revision(None)
    repository.difference.between(repository.tree("HEAD"), repository.tree("HEAD"))
    repository.objects.read("HEAD:a.yaml")
    repository.close()
    children = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "args="], capture_output=True, text=True)
    assert "cat-file" not in children.stdout


def test_a_repository_that_nobody_asks_for_any_more_leaves_no_process_behind(clone: Clone, tmp_path: Path) -> None:
    clone.commit({"a.yaml": "a"})
    for folder in (clone.path, tmp_path):
        Opening(folder).close()
        children = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "args="], capture_output=True, text=True)
        assert f"-C {folder.resolve()} " not in children.stdout


def test_a_repository_that_is_damaged_is_not_told_to_be_begun_anew(clone: Clone) -> None:
    (clone.path / ".git" / "HEAD").write_text("garbage")
    with pytest.raises(SourceRefused, match=r"its \.git cannot be used") as refused:
        Repository.open(clone.path)
    assert "git init" not in refused.value.hint
