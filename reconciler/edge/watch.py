"""Noticing that something may have changed, in a repository or a folder.

Owns: file-system events, and looking now and then where there are none. Must not go here: what changed (a trigger is a
reason, never data), fetching from remotes.

The default pace of watchfiles would cost 67 ms; with these steps a commit is noticed within 7-17 ms. Watching a git
folder as a whole would wake up for every object written: only refs, HEAD and packed-refs are looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import anyio

STEP = 5
"""Milliseconds in which events gather before they are told."""

_LONGEST = 500
"""Milliseconds that its thread waits in one go: what being cancelled may take."""

Tell = Callable[[str], None]
"""Called in the event loop's thread with a reason: `refs` or `files`."""

Counts = Callable[[object, str], bool]

_HEADS = ("HEAD", "packed-refs")


async def watch_repository(git_folder: Path, tell: Tell, *, poll: float = 10.0) -> None:
    """Tells `refs` whenever a branch or HEAD may have moved, until cancelled.

    `git_folder` is that of a bare repository, a clone or a linked working tree. Where the host cannot watch (no inotify
    left, a folder that went away), it tells every `poll` seconds instead, and tries to watch again.
    """

    def about_heads(_change: object, path: str) -> bool:
        return path.rpartition("/")[2] in _HEADS

    def no_lock(_change: object, path: str) -> bool:
        return not path.endswith(".lock")

    async with anyio.create_task_group() as group:
        group.start_soon(_follow, _common(git_folder) / "refs", no_lock, lambda: tell("refs"), poll, True)
        group.start_soon(_follow, git_folder, about_heads, lambda: tell("refs"), poll, False)


def _common(git_folder: Path) -> Path:
    """Where the refs are: a linked working tree shares them with the repository that it belongs to."""
    try:
        return (git_folder / (git_folder / "commondir").read_text().strip()).resolve()
    except OSError:
        return git_folder


async def watch_folder(folder: Path, tell: Tell, *, poll: float = 10.0) -> None:
    """Tells `files` whenever something beneath a folder may have changed, until cancelled. What is hidden (.git) does
    not count. Otherwise as `watch_repository`."""

    def visible(_change: object, path: str) -> bool:
        return not any(part.startswith(".") for part in Path(path).relative_to(folder).parts)

    await _follow(folder, visible, lambda: tell("files"), poll, True)


async def _follow(path: Path, counts: Counts, tell: Callable[[], None], poll: float, recursive: bool) -> None:
    from watchfiles import awatch  # 40 ms: only the loop pays for it

    while True:
        # OSError: no such folder, no inotify left; RuntimeError: what its own layer reports
        with suppress(OSError, RuntimeError):
            async for changes in awatch(
                path,
                watch_filter=counts,
                step=STEP,
                debounce=4 * STEP,
                rust_timeout=_LONGEST,
                yield_on_timeout=True,
                recursive=recursive,
            ):
                if changes:
                    tell()
                elif not path.exists():  # noqa: ASYNC240 - one look at a local path, twice a second
                    break  # a watch on what went away stays silent for ever
        await anyio.sleep(poll)
        tell()  # it may have changed while nobody looked
