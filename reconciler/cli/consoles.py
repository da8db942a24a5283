"""`trueup exec`, `console`, `logs`: getting into a machine.

Owns: finding the machine's driver and handing the terminal over. Must not go here: how a driver does it.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import anyio

from reconciler.cli import session
from reconciler.cli.selection import full_ref
from reconciler.core.refs import Ref, Target, Uid, kind_of, node_of, short
from reconciler.driver.console import Console, ConsoleUnavailable
from reconciler.errors import UsageError


class Reached(NamedTuple):
    console: Console
    uid: Uid


def execute(args: Namespace) -> int:
    """Run a command inside; its exit code is ours."""
    return anyio.run(_execute, args)


async def _execute(args: Namespace) -> int:
    async with _reached(args) as found:
        return await found.console.exec(found.uid, args.argv)


def console(args: Namespace) -> int:
    """Attach to the console."""
    return anyio.run(_console, args)


async def _console(args: Namespace) -> int:
    _machine(args.ref)
    if not sys.stdin.isatty():
        raise UsageError("a console needs a terminal", hint=f"trueup logs {args.ref} shows what it wrote")
    async with _reached(args) as found:
        await found.console.console(found.uid)
    return 0


def logs(args: Namespace) -> int:
    """The last lines of the console."""
    return anyio.run(_logs, args)


async def _logs(args: Namespace) -> int:
    async with _reached(args) as found:
        text = await found.console.logs(found.uid, args.lines)
    sys.stdout.write(text if text.endswith("\n") or not text else text + "\n")
    return 0


@asynccontextmanager
async def _reached(args: Namespace) -> AsyncIterator[Reached]:
    """The driver of the node where the machine lives. Raises UsageError where there is no way in."""
    ref = _machine(args.ref)
    async with session.looking(args) as here:
        desired = await here.desired()
        bound = [binding for binding in here.ledger.bindings.of(ref) if binding.quarantined_until is None]
        if not bound:
            raise UsageError(f"no machine {short(ref)} is known to have been made", hint="trueup get machines")
        uid, target = bound[0].uid, Target(bound[0].target)
        await here.nodes.keep(desired.nodes)
        node = desired.nodes.get(node_of(target))
        if node is None:
            raise UsageError(f"it lives on {target}, whose Node document is not there")
        driver = here.nodes.driver(node)
        if not isinstance(driver, Console):
            raise UsageError(f"driver {node.driver} offers no console")
        try:
            yield Reached(driver, uid)
        except ConsoleUnavailable as error:
            raise UsageError(f"{short(ref)} on {target}: {error}") from error


def _machine(name: str) -> Ref:
    ref = full_ref(name)
    if kind_of(ref) != "Machine":
        raise UsageError(f"{ref} is no machine: there is nothing to get into", hint="trueup get machines")
    return ref
