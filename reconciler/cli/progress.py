"""Live progress: events of the runtime as lines, with one line that moves where there is a terminal.

Owns: turning events into lines. Must not go here: what happens (runtime), the page at the end (core.render.outcome).
"""

from __future__ import annotations

from typing import TextIO

import msgspec

from reconciler.core.plan import Plan
from reconciler.core.refs import short
from reconciler.core.render.outcome import down_words, step_line
from reconciler.core.render.quantities import clean
from reconciler.runtime.events import Event, NodeAsked, StepEnded, StepProgress, StepStarted, Stopping

_WIPE = "\r\x1b[2K"
_WIDTH = 100
"""Columns of the moving line, at most: one that wraps cannot be wiped."""
_NAMED = 10
"""So many of the steps in hand are named when all is stopped."""


def _columns() -> int:
    from shutil import get_terminal_size  # only where a line moves

    return min(_WIDTH, get_terminal_size().columns - 1)


class Progress:
    """Tells of steps as they end. On a terminal a last line says what is in hand."""

    def __init__(self, plan: Plan | None, stream: TextIO, *, live: bool) -> None:
        self._summaries = {step.id: step.summary for step in plan.steps} if plan else {}
        self._endless = plan is None
        self._stream = stream
        self._live = live
        self._done = 0
        self._running: dict[str, str] = {}

    def emit(self, event: Event) -> None:
        if isinstance(event, StepStarted):
            self._summaries.setdefault(event.step, event.summary)
            self._running[event.step] = f"{short(event.ref)} {event.summary}"
        elif isinstance(event, StepProgress):
            self._running[event.step] = f"{short(event.ref)} {event.text}"
        elif isinstance(event, StepEnded):
            self._running.pop(event.step, None)
            self._done += 1
            self._ended(event)
        elif isinstance(event, Stopping):
            in_hand = f"{len(event.in_hand)} in hand may take {event.grace:.0f} s" if event.in_hand else "none in hand"
            self._line(f"  Stopping: {event.reason}; {in_hand}")
            for step in event.in_hand[:_NAMED]:
                self._line(clean(f"      {self._running.get(step, step)}"))
        self._moving()

    def _ended(self, event: StepEnded) -> None:
        if event.status == "deferred" and not event.seconds:
            return  # it never began: the page at the end tells why, once a change
        summary = self._summaries.get(event.step, event.verb)
        if self._endless:
            self._summaries.pop(event.step, None)
        text = f"{summary}: {event.reason}" if event.status in ("failed", "unconfirmed") and event.reason else summary
        text += f"; {down_words(event.down)}" if event.down is not None else ""
        self._line(step_line(event.status, event.ref, event.target, text, event.seconds))

    def _line(self, text: str) -> None:
        self._stream.write(f"{_WIPE if self._live else ''}{text}\n")
        self._stream.flush()

    def _moving(self) -> None:
        if not self._live:
            return
        now = "; ".join(list(self._running.values())[:3])
        more = f" and {len(self._running) - 3} more" if len(self._running) > 3 else ""
        room = _columns() - len(more)
        text = clean(f"  … {self._done} of {len(self._summaries)} steps   {now}")[:room] + more if now else ""
        self._stream.write(_WIPE + text)
        self._stream.flush()

    def close(self) -> None:
        """Take the moving line away."""
        if self._live:
            self._stream.write(_WIPE)
            self._stream.flush()


class Counting:
    """A moving line while nodes are asked; silent where there is no terminal."""

    def __init__(self, stream: TextIO, *, live: bool) -> None:
        self._stream = stream
        self._live = live

    def emit(self, event: Event) -> None:
        if self._live and isinstance(event, NodeAsked):
            text = clean(f"  … asked {event.done} of {event.all} nodes: {event.node}")
            self._stream.write(_WIPE + (text[: _columns()] if event.done < event.all else ""))
            self._stream.flush()


class JsonLines:
    """Every event as one line of JSON, for programs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def emit(self, event: Event) -> None:
        self._stream.write(msgspec.json.encode(event).decode() + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Nothing moves here."""
