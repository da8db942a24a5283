"""`trueup run` and `trueup converge`: the loop as a process, and the calls it answers.

Owns: signals, the socket's answers, what a running loop prints. Must not go here: the loop itself (runtime).
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from secrets import SystemRandom
from threading import Timer
from typing import Any, NoReturn

import anyio
import msgspec
from anyio.abc import TaskGroup, TaskStatus
from anyio.streams.memory import MemoryObjectSendStream

from reconciler.cli import session
from reconciler.cli.applying import result_of
from reconciler.cli.exits import Exit, worst
from reconciler.cli.planning import verdict
from reconciler.cli.progress import Progress
from reconciler.cli.steering import seconds_of
from reconciler.cli.terminal import say, show
from reconciler.cli.writing import Writing, writing
from reconciler.core.ledger import Entry
from reconciler.core.render.outcome import result_text
from reconciler.core.render.plan import summary
from reconciler.edge.beside import compress
from reconciler.edge.calls import Message, NobodyAnswers, call, serve
from reconciler.edge.watch import watch_repository
from reconciler.errors import TrueupError, UsageError
from reconciler.handlers import load
from reconciler.runtime.cycle import attempt
from reconciler.runtime.handling import Handling
from reconciler.runtime.loop import Loop, Settings
from reconciler.runtime.observe import Asking
from reconciler.runtime.rounds import Cadence

_GRACE = 35.0
"""Seconds after a loop's halt in which steps in hand have come to their end (Pace), or were cut off."""
_LONGEST = 10.0
"""Seconds from then to the end of the process. What does not come to its end by then (git, on a disk that hangs) is
left, as if the process were killed."""

_YOUNG = 10_000
"""Objects made before the collector looks at them: a process that stays keeps less of what nobody uses any more than a
command that ends (main)."""


def run(args: Namespace) -> int:
    """Follow git and the nodes; with --once, one cycle."""
    gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])
    if args.once and args.handlers:
        raise UsageError("handlers hang off the loop: --once does not wait for them", hint="leave out one of the two")
    return anyio.run(_once if args.once else _run, args)


async def _once(args: Namespace) -> int:
    async with writing(args) as here:
        progress = Progress(None, sys.stdout, live=False)
        made = await attempt(here.ports, here.nodes, asking=Asking(emit=progress.emit))
        if made.prospect.problem is not None:
            say(f"The newest revision is not in force: {made.prospect.problem}")
        plan = made.prospect.plan
        print(summary(plan))
        if plan.changes:
            show(result_text(result_of(made.summary, plan)), args)
    codes = [Exit(each.exit_code) for each in (*made.resumed, made.summary)]
    if made.prospect.problem is not None:
        codes.append(Exit.ERROR)
    return worst([*codes, verdict(plan, detailed=False)])


async def _run(args: Namespace) -> int:
    ending = Timer(_LONGEST, _leave, [Exit.ERROR])
    ending.daemon = True
    try:
        await _follow(args, ending)
    finally:
        ending.cancel()
    _tell("Stopped.")
    return Exit.DONE


async def _follow(args: Namespace, ending: Timer) -> None:
    """`ending` is started when the loop halts, whatever made it."""
    cadence = Cadence()
    if args.interval:
        every = seconds_of(args.interval)
        cadence = msgspec.structs.replace(cadence, poll=every, node=every)
    async with writing(args) as here:
        progress = Progress(None, sys.stdout, live=False)
        send, hints = anyio.create_memory_object_stream[str](1)
        loop = Loop(
            here.ports,
            Settings(cadence=cadence, compress=compress),
            random=SystemRandom().random,
            watching=lambda: hints,
            emit=progress.emit,
            handling=Handling(load([Path(file) for file in args.handlers], outside=here.repository.top), warn=_tell),
        )
        named = await _named(here)
        here.repository.difference.begin()  # git tells the first commit's, and would have to be started for it
        async with anyio.create_task_group() as group:
            # Whoever is told that it follows may stop it or call it at once.
            await group.start(_stop_on_signal, loop)
            await group.start(serve, here.state, Answers(loop, here, group).answer)
            group.start_soon(_time_the_end, loop, ending)
            _tell(f"Following {here.repository.identity}{named}. Ctrl-C stops.")
            group.start_soon(watch_repository, here.repository.git_folder, _hinting(send))
            await loop.run()
            group.cancel_scope.cancel()


async def _named(here: Writing) -> str:
    """The datacenter's name, where the tree can be read as it stands."""
    with suppress(TrueupError):
        return f" for {(await here.desired()).datacenter}"
    return ""


def _hinting(send: MemoryObjectSendStream[str]) -> Callable[[str], None]:
    """One hint that waits is as good as many."""

    def tell(reason: str) -> None:
        with suppress(anyio.WouldBlock):
            send.send_nowait(reason)

    return tell


async def _stop_on_signal(loop: Loop, *, task_status: TaskStatus[None]) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            loop.stop("stopping")
            _tell("Stopping: the steps in hand come to their end first. Ctrl-C once more leaves them.")
            break
        async for number in signals:
            _leave(128 + number)


async def _time_the_end(loop: Loop, ending: Timer) -> None:
    await loop.halted.wait()
    with anyio.move_on_after(_GRACE):
        while loop.executing:  # noqa: ASYNC110 - steps in hand, which nobody announces
            await anyio.sleep(0.2)
    ending.start()


def _leave(code: int) -> NoReturn:
    _tell("Left at once: what was in hand may have happened or not; the next loop looks, and goes on from there.")
    os._exit(code)


def _tell(line: str) -> None:
    """A remark. Who reads them, or what we print, may have gone: that ends no loop."""
    try:
        say(line)
    except OSError:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        with suppress(OSError):
            say(line)


class Answers:
    """What a running loop answers at its socket: `{"do": status | converge | note | apply}`."""

    def __init__(self, loop: Loop, here: Writing, group: TaskGroup) -> None:
        self._loop = loop
        self._here = here
        self._group = group

    async def answer(self, request: Message) -> AsyncIterator[Message]:
        what = request.get("do")
        if what == "status":
            yield {"status": msgspec.to_builtins(self._loop.status)}
        elif what == "converge":
            self._loop.converge(str(request.get("reason", "")))
            yield {"heard": True}
        elif what == "note":
            await self._loop.note([msgspec.convert(entry, type=Entry) for entry in request.get("entries", ())])
            yield {"noted": True}
        elif what == "apply":
            async for message in self._apply(str(request.get("plan", "")), moves=bool(request.get("moves", True))):
                yield message
        else:
            raise UsageError(f"the loop does not know {what!r}", hint="is it of another version of trueup?")

    async def _apply(self, digest: str, *, moves: bool) -> AsyncIterator[Message]:
        """Events as they come, then the summary. The work goes on if the caller hangs up."""
        plan = await self._here.ports.plans.find(digest)
        send, receive = anyio.create_memory_object_stream[Message](float("inf"))

        def tell(message: Message) -> None:
            with suppress(anyio.BrokenResourceError):  # nobody listens any more
                send.send_nowait(message)

        async def work() -> None:
            with send:
                try:
                    done = await self._loop.apply(
                        plan, lambda event: tell({"event": msgspec.to_builtins(event)}), moves=moves
                    )
                except Exception as error:
                    tell(_refusal(error))
                else:
                    tell({"summary": msgspec.to_builtins(done)})

        self._group.start_soon(work)
        with receive:
            async for message in receive:
                yield message


def _refusal(error: Exception) -> Message:
    message: dict[str, Any] = {"error": getattr(error, "message", type(error).__name__)}
    return {**message, "hint": getattr(error, "hint", ""), "exit": int(getattr(error, "exit_code", 1))}


def converge(args: Namespace) -> int:
    """Wake a running loop."""
    return anyio.run(_converge, args)


async def _converge(args: Namespace) -> int:
    async with session.looking(args) as here:
        try:
            async with call(here.state, {"do": "converge", "reason": args.reason}) as answers:
                async for _ in answers:
                    pass
        except NobodyAnswers as error:
            raise UsageError("no loop runs for this datacenter here", hint="trueup run, or trueup apply") from error
    print("The loop looks now.")
    return Exit.DONE
