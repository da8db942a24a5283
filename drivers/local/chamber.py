"""Threads that live in the node's private mount namespace, and the commands they run there.

Owns: entering the namespace, running a command with a time limit, handing blocking work to these threads.
Must not go here: making the namespace (storage), what is run.

Why threads: a thread that has its own view of the file system (CLONE_FS unshared) can enter a mount namespace alone,
and what it spawns is born there. That saves an `nsenter` per command, and plain file access works too.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import msgspec

if TYPE_CHECKING:
    from concurrent.futures import Future

    import anyio
    from anyio import lowlevel

P = ParamSpec("P")
T = TypeVar("T")

_CLONE_FS = 0x00000200
_CLONE_NEWNS = 0x00020000
_CLONE_NEWNET = 0x40000000
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": "/"}

_libc = ctypes.CDLL(None, use_errno=True)


class Done(msgspec.Struct, frozen=True):
    """How a command ended. `text` is what it said on stderr, else on stdout, on one line, for people."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        lines = (self.err.strip() or self.out.strip() or f"exit status {self.code}").splitlines()
        return "; ".join(line.strip() for line in lines[:4])


class Hung(Exception):
    """A command did not end within its time."""


def run(
    argv: Sequence[str],
    *,
    timeout: float = 60,
    stdin: str | None = None,
    keep: Sequence[int] = (),
    path: str | None = None,
) -> Done:
    """Run a command in the calling thread's namespace. `keep`: file descriptors that it inherits, which keeps a lock
    held until the command ends even if we are killed. `path`: another $PATH for it. Raises Hung, and FileNotFoundError
    where it is not installed."""
    try:
        ended = subprocess.run(
            argv,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            pass_fds=tuple(keep),
            env=_ENVIRONMENT if path is None else {**_ENVIRONMENT, "PATH": path},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Hung(f"{argv[0]} {argv[1] if len(argv) > 1 else ''} did not end within {timeout:g} s") from None
    return Done(ended.returncode, ended.stdout, ended.stderr)


def spawn(argv: Sequence[str], *, log: Path) -> None:
    """Start a program that outlives us, its output going to `log`."""
    with log.open("ab") as sink:
        # through a shell that ends at once: the child is then init's, and never a zombie of ours
        script = 'exec setsid "$@" </dev/null &'
        subprocess.run(["sh", "-c", script, "sh", *argv], stdout=sink, stderr=sink, env=_ENVIRONMENT, check=True)


def _call(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def enter(namespace: int) -> None:
    """Take the calling thread, which is not the process's first, into a mount namespace, by a descriptor of it. Raises
    OSError."""
    _call(_libc.unshare(_CLONE_FS), "unshare")
    _call(_libc.setns(namespace, _CLONE_NEWNS), "enter the mount namespace")


def _enter(pin: Path) -> None:
    """The one pinned at `pin`, for the rest of the thread's life."""
    descriptor = os.open(pin, os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def netns_of(pid: int) -> Iterator[None]:
    """The calling thread is in the network namespace of a process while the block runs: for opening a socket."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        away = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _call(_libc.setns(away, _CLONE_NEWNET), f"enter the network of {pid}")
            try:
                yield
            finally:
                _call(_libc.setns(home, _CLONE_NEWNET), "leave the network namespace")
        finally:
            os.close(away)
    finally:
        os.close(home)


class Chamber:
    """A pool of threads in one mount namespace. `pin` None: the host's own."""

    def __init__(self, pin: Path | None, *, workers: int = 16) -> None:
        from concurrent.futures import ThreadPoolExecutor  # with it come logging and more, which a look can do without

        initializer = partial(_enter, pin) if pin else None
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="local", initializer=initializer)

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run blocking work there. Not interrupted by cancellation: what has begun on a node is brought to its end. The
        thread itself tells the loop that it has: another that waits for it takes a twentieth of a look at a node."""
        import anyio
        from anyio import lowlevel

        ended = anyio.Event()
        future: Future[T] = self._executor.submit(function, *args, **kwargs)
        future.add_done_callback(partial(_tell, ended, lowlevel.current_token(), threading.get_ident()))
        with anyio.CancelScope(shield=True):
            await ended.wait()
        return future.result()

    def close(self) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)


def _tell(ended: anyio.Event, loop: lowlevel.EventLoopToken, home: int, _: Future[T]) -> None:
    """`home`: the loop's own thread, which is told at once where the work ended before anybody waited for it."""
    import anyio
    from anyio import from_thread

    if threading.get_ident() == home:
        ended.set()
        return
    with suppress(anyio.RunFinishedError):
        from_thread.run_sync(ended.set, token=loop)
