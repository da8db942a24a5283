"""Mirrors: kept up to date, kept whole when the remote is not there, and every failure is one sentence."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from reconciler.edge.git import CommitTree
from reconciler.edge.git.mirror import Mirror
from reconciler.errors import SourceRefused, SourceUnreadable, UsageError

Clone = Any


def test_a_mirror_follows_its_remote(clone: Clone, tmp_path: Path) -> None:
    first = clone.commit({"a.yaml": "a"})
    mirror = Mirror(str(clone.path), tmp_path / "mirrors")
    with mirror.fetch() as repository:
        assert repository.revision(None, ref="main").commit == first
        assert repository.identity == str(clone.path)
    second = clone.commit({"a.yaml": "b"})
    with mirror.fetch() as repository:
        revision = repository.revision(None, ref="main")
        assert revision.commit == second
        assert [path for path, _ in CommitTree(mirror.path, revision.tree).entries()] == ["a.yaml"]


def test_a_forced_push_and_a_dropped_branch_are_followed(clone: Clone, tmp_path: Path) -> None:
    clone.commit({"a.yaml": "a"})
    clone.git("branch", "side")
    mirror = Mirror(f"file://{clone.path}", tmp_path)
    mirror.fetch().close()
    clone.git("commit", "--quiet", "--amend", "-m", "another history")
    clone.git("branch", "-D", "side")
    with mirror.fetch() as repository:
        assert repository.revision(None, ref="main").commit == clone.git("rev-parse", "HEAD")
        assert repository.objects.find("refs/heads/side") is None


def test_the_remotes_own_branch_is_followed_where_none_is_named(clone: Clone, tmp_path: Path) -> None:
    clone.commit({"a.yaml": "a"})
    clone.git("branch", "--quiet", "-M", "main", "trunk")
    with Mirror(str(clone.path), tmp_path).fetch() as repository:
        assert repository.revision(None).branch == "trunk"


def test_a_remote_that_went_away_leaves_the_mirror_as_it_was(clone: Clone, tmp_path: Path) -> None:
    commit = clone.commit({"a.yaml": "a"})
    mirror = Mirror(str(clone.path), tmp_path / "mirrors")
    mirror.fetch().close()
    clone.path.rename(tmp_path / "gone")
    with pytest.raises(SourceUnreadable, match="there is no such repository"):
        mirror.fetch()
    with mirror.open() as repository:
        assert repository.revision(None, ref="main").commit == commit


def test_a_mirror_that_was_never_fetched_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadable, match="has not been fetched yet"):
        Mirror("https://example.org/x.git", tmp_path).open()


@pytest.mark.parametrize("url", ["ext::sh -c touch% /tmp/x", "--upload-pack=touch /tmp/x", "", " "])
def test_urls_that_run_programs_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError):
        Mirror(url, tmp_path)


def test_a_host_that_refuses_is_told_without_the_password(tmp_path: Path) -> None:
    with socket.socket() as free:  # kept, so that nobody else listens there
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with pytest.raises(SourceUnreadable, match="does not answer") as caught:
            Mirror(f"http://ada:s3cret@127.0.0.1:{port}/dc.git", tmp_path).fetch()
    assert "s3cret" not in str(caught.value)
    assert "127.0.0.1" in str(caught.value)


def test_a_host_that_says_nothing_is_given_up_in_time(tmp_path: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        held: list[object] = []
        silent = threading.Thread(target=lambda: held.append(server.accept()), daemon=True)
        silent.start()
        with pytest.raises(SourceUnreadable, match="did not answer in time"):
            Mirror(f"http://127.0.0.1:{server.getsockname()[1]}/dc.git", tmp_path).fetch(timeout=1)


def test_two_urls_that_end_alike_have_mirrors_of_their_own(tmp_path: Path) -> None:
    names = {Mirror(f"https://{host}/team/dc.git", tmp_path).path.name for host in ("a.example", "b.example")}
    assert len(names) == 2
    assert all(name.startswith("dc-") for name in names)


def test_a_remote_that_is_no_repository_is_told(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    with pytest.raises((SourceUnreadable, SourceRefused), match="repository"):
        Mirror(str(tmp_path / "plain"), tmp_path / "mirrors").fetch()
