"""Stored plans: what an approval names.

Owns: plans as files by digest, found by prefix, the oldest pruned. Must not go here: making or showing plans.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from reconciler.core.plan import Plan, from_json, to_json
from reconciler.edge.state import write_whole
from reconciler.errors import PlanMissing, PlanUnknown, StateUnusable
from reconciler.waiting import blocking

if TYPE_CHECKING:
    from reconciler.edge.beside import Begun

KEPT = 200
"""Stored plans beyond this many are pruned, the oldest first."""

_SHORTEST = 4


class PlanFiles:
    """Plans in one folder, a file each."""

    def __init__(self, folder: Path, *, kept: int = KEPT) -> None:
        self._folder = folder
        self._kept = kept

    async def save(self, plan: Plan) -> None:
        """Durable on return. Raises StateUnusable."""
        await blocking(self._save, plan)

    def begin(self, plan: Plan) -> Begun[None]:
        """The same beside the rest: durable for who has asked for its result."""
        from reconciler.edge.beside import begun

        return begun(partial(self._save, plan))

    async def find(self, digest_prefix: str) -> Plan:
        """The plan whose digest begins so (at least 4 hex digits). Raises PlanMissing."""
        return await blocking(self._find, digest_prefix)

    def _save(self, plan: Plan) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_whole(self._folder / f"{plan.digest}.json", to_json(plan))
            self._prune()
        except OSError as error:
            raise StateUnusable(f"{self._folder}: the plan cannot be stored: {error.strerror}") from error

    def _prune(self) -> None:
        files = []
        for path in self._folder.glob("*.json"):
            with suppress(FileNotFoundError):  # another process prunes, too
                files.append((path.stat().st_mtime_ns, path.name, path))
        for *_, old in sorted(files, reverse=True)[self._kept :]:
            old.unlink(missing_ok=True)

    def _find(self, prefix: str) -> Plan:
        if not re.fullmatch(rf"[0-9a-f]{{{_SHORTEST},64}}", prefix):
            raise PlanMissing(
                f"{prefix!r} names no plan", hint=f"a plan is named by {_SHORTEST} or more of its digest's hex digits"
            )
        found = sorted(self._folder.glob(f"{prefix}*.json")) if self._folder.is_dir() else []
        if not found:
            raise PlanUnknown(f"no stored plan begins with {prefix}", hint="`trueup plan` makes and stores one")
        if len(found) > 1:
            names = ", ".join(path.stem[: len(prefix) + 4] for path in found[:5])
            raise PlanMissing(f"{len(found)} stored plans begin with {prefix}: {names}", hint="give more digits")
        with suppress(OSError):
            os.utime(found[0])  # who asks for a plan may carry it out: it is not among the oldest then
        return read_plan(found[0])


def read_plan(path: Path) -> Plan:
    """The plan in a file. Raises PlanMissing if it is not there, no plan, or not as it was made."""
    try:
        return from_json(path.read_bytes())
    except FileNotFoundError as error:
        raise PlanMissing(f"{path}: there is no such file") from error
    except OSError as error:
        raise PlanMissing(f"{path}: cannot be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise PlanMissing(f"{path}: this is no plan: {error}", hint="trueup plan --out FILE makes one") from error
    except ValueError as error:
        raise PlanMissing(
            f"{path}: {error}", hint="plan again; a plan is applied as it was made or not at all"
        ) from error
