"""Noticing changes: a commit and an edit are told, reading and looking are not, and a gap is bridged by polling."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from reconciler.edge.watch import watch_folder, watch_repository

pytestmark = pytest.mark.anyio

Clone = Any


class Told:
    def __init__(self) -> None:
        self.reasons: list[str] = []
        self._some = anyio.Event()

    def __call__(self, reason: str) -> None:
        self.reasons.append(reason)
        self._some.set()

    def forget(self) -> None:
        self.reasons.clear()
        self._some = anyio.Event()

    async def wait(self) -> None:
        """For a reason since the last `forget`."""
        with anyio.fail_after(30):
            await self._some.wait()


def watched() -> set[int]:
    """The inodes of which the kernel tells this process."""
    found: set[int] = set()
    for file in Path("/proc/self/fdinfo").iterdir():
        with suppress(OSError):  # it was closed meanwhile
            found |= {int(inode, 16) for inode in re.findall(r"(?m)^inotify wd:\w+ ino:(\w+)", file.read_text())}
    return found


def beneath(folder: Path) -> tuple[Path, ...]:
    """The folder and all folders in it."""
    return (folder, *(each for each in folder.rglob("*") if each.is_dir()))


@asynccontextmanager
async def watching(
    watch: Callable[..., Coroutine[Any, Any, None]], path: Path, *folders: Path, poll: float = 60
) -> AsyncIterator[Told]:
    """`folders`: whose watches must stand before anything happens."""
    told = Told()
    inodes = {folder.stat().st_ino for folder in folders}

    async def run() -> None:
        await watch(path, told, poll=poll)

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        with anyio.fail_after(30):
            while not watched() >= inodes:  # noqa: ASYNC110 - nobody announces it
                await anyio.sleep(0.01)
        told.forget()
        yield told
        group.cancel_scope.cancel()


def watching_repository(path: Path, *, refs: Path | None = None, poll: float = 60) -> AbstractAsyncContextManager[Told]:
    """`refs`: where they are, if not beneath it."""
    return watching(watch_repository, path, path, *beneath(refs or path / "refs"), poll=poll)


async def test_a_commit_is_noticed_and_reading_is_not(clone: Clone) -> None:
    clone.commit({"a.yaml": "a"})
    async with watching_repository(clone.path / ".git") as told:
        await anyio.to_thread.run_sync(clone.git, "log")
        await anyio.to_thread.run_sync(clone.git, "cat-file", "-p", "HEAD")
        await anyio.sleep(0.2)
        assert told.reasons == []
        await anyio.to_thread.run_sync(clone.commit, {"a.yaml": "b"})
        await told.wait()
        assert set(told.reasons) == {"refs"}


@pytest.mark.parametrize(
    "command", [("branch", "team/feature"), ("pack-refs", "--all"), ("switch", "--quiet", "-c", "other")]
)
async def test_whatever_moves_a_branch_is_noticed(clone: Clone, command: tuple[str, ...]) -> None:
    clone.commit({"a.yaml": "a"})
    async with watching_repository(clone.path / ".git") as told:
        await anyio.to_thread.run_sync(clone.git, *command)
        await told.wait()


async def test_a_push_to_a_bare_repository_is_noticed(clone: Clone, clone_of: Callable[..., Clone]) -> None:
    clone.commit({"a.yaml": "a"})
    bare = clone_of(clone.path, "--bare")
    clone.commit({"a.yaml": "b"})
    async with watching_repository(bare.path) as told:
        await anyio.to_thread.run_sync(clone.git, "push", "--quiet", str(bare.path), "main")
        await told.wait()


async def test_a_commit_in_a_linked_working_tree_is_noticed(clone: Clone) -> None:
    clone.commit({"a.yaml": "a"})
    linked = type(clone)(clone.path.parent / "linked")
    clone.git("worktree", "add", "--quiet", str(linked.path), "-b", "side")
    async with watching_repository(clone.path / ".git/worktrees/linked", refs=clone.path / ".git/refs") as told:
        await anyio.to_thread.run_sync(linked.commit, {"a.yaml": "b"})
        await told.wait()


async def test_an_edit_is_noticed_and_what_is_hidden_is_not(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "sites").mkdir()
    async with watching(watch_folder, tmp_path, *beneath(tmp_path)) as told:
        (tmp_path / ".git/index").write_text("x")
        await anyio.sleep(0.2)
        assert told.reasons == []
        (tmp_path / "sites/a.yaml").write_text("a")
        await told.wait()
        assert set(told.reasons) == {"files"}


async def test_a_folder_that_cannot_be_watched_is_looked_at_now_and_then(tmp_path: Path) -> None:
    async with watching(watch_folder, tmp_path / "missing", poll=0.05) as told:
        await told.wait()
        (tmp_path / "missing").mkdir()
        await anyio.sleep(0.2)
        told.forget()
        (tmp_path / "missing/a.yaml").write_text("a")
        await told.wait()


async def test_a_repository_that_went_away_does_not_end_the_watching(clone: Clone) -> None:
    clone.commit({"a.yaml": "a"})
    async with watching_repository(clone.path / ".git", poll=0.05) as told:
        await anyio.to_thread.run_sync(shutil.rmtree, clone.path)
        await told.wait()
        told.forget()
        await told.wait()
