"""The fleet from behind: what people, power cuts and other tools do to nodes without asking trueup.

Owns: the control interface for tests, rehearsals and `trueup sim`. Every verb is one transaction.
Must not go here: the driver contract, the command line, rules of a node (this is how they are broken on purpose).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from drivers.sim import faults
from drivers.sim.faults import Fault, How
from drivers.sim.store import Broken, Found, Store, TargetRow, acquire, release
from reconciler.core.observed import Capacity, Claim, Marks, Object
from reconciler.core.values import replaced

BREAKS = ("unreachable", "partial", "hang", "reimaged", "unclaimed")


class NoSuch(LookupError):
    """No such target, or object. The text is one sentence for people."""


class World:
    """A fleet's file, opened to be changed by hand; made where there is none. Objects are named by target, kind and
    native name, or by a Ref or uid that their marks bear."""

    def __init__(self, path: str | Path) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.store: Store = acquire(str(path))

    def close(self) -> None:
        release(self.store)

    def __enter__(self) -> World:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- nodes

    def add_node(
        self,
        name: str,
        *,
        members: Iterable[str] = (),
        memory: int | None = 64 * 2**30,
        cpu: int | None = 16_000,
        disk: int | None = 2 * 2**40,
        carries: Iterable[str] | None = None,
    ) -> tuple[str, ...]:
        """A node, or one target for each of its members. Bytes, thousandths of a core, nicTags. Gives the targets'
        names. A target that is already there keeps its objects and gets the new size."""
        names = tuple(f"{name}/{member}" for member in members) or (name,)
        tags = None if carries is None else tuple(carries)
        with self.store.writing():
            for target in names:
                old = self.store.target(target)
                fresh = old or TargetRow(target, name, f"sim-{target}-1", Capacity())
                self.store.put_target(
                    msgspec.structs.replace(fresh, capacity=Capacity(memory, cpu, disk), carries=tags)
                )
        return names

    def drop_node(self, name: str) -> None:
        with self.store.writing():
            for target in self.store.targets(name):
                self.store.drop_target(target.name)

    def targets(self) -> list[TargetRow]:
        return self.store.targets()

    def target(self, name: str) -> TargetRow:
        row = self.store.target(name)
        if row is None:
            raise NoSuch(f"the fleet has no target {name}")
        return row

    def claim(self, target: str, datacenter: str, *, fence: int = 0) -> None:
        """Write the node mark, as the verb `claim` does."""
        with self.store.writing():
            row = self.target(target)
            claim = Claim(datacenter, row.identity or "", fence)
            self.store.put_target(msgspec.structs.replace(row, claim=claim))

    def set_latency(self, target: str, seconds: Mapping[str, float]) -> None:
        """Seconds by verb, `observe`, or `*` for what is not named."""
        with self.store.writing():
            self.store.put_target(msgspec.structs.replace(self.target(target), latency=dict(seconds)))

    def break_target(self, target: str, how: str, *, reason: str = "on cue", hide: Iterable[str] = ()) -> None:
        """One of BREAKS. `partial` leaves the native names of `hide` out of the listing; `reimaged` gives the target
        another identity, under the old claim; `unclaimed` removes the node mark."""
        with self.store.writing():
            row = self.target(target)
            self.store.put_target(_broken(row, how, reason, tuple(hide)))

    def repair(self, target: str) -> None:
        """Take back every break. What was drifted or deleted stays so."""
        with self.store.writing():
            row = self.target(target)
            broken = row.broken
            self.store.put_target(
                msgspec.structs.replace(
                    row,
                    broken=Broken(),
                    identity=broken.identity or row.identity,
                    claim=broken.claim or row.claim,
                )
            )

    # -- objects

    def find(self, target: str, name: str, kind: str | None = None) -> Found:
        """The object of that native name, Ref or uid. Raises NoSuch, also when the name fits several."""
        fits = [
            found
            for found in self.store.found(target, kind)
            if name == found.object.native_name
            or (found.object.marks and name in (found.object.marks.ref, found.object.marks.uid))
        ]
        if len(fits) != 1:
            raise NoSuch(f"{len(fits)} objects on {target} are named {name}")
        return fits[0]

    def where(self, ref: str) -> str:
        """The one target that holds the Ref. Raises NoSuch."""
        names = sorted({found.target for found in self.store.bearing(ref)})
        if len(names) != 1:
            raise NoSuch(f"{len(names)} targets hold {ref}")
        return names[0]

    def counts(self, target: str) -> dict[str, int]:
        """Objects by kind."""
        rows = self.store.db.execute(
            "SELECT kind, COUNT(*) FROM object WHERE target = ? GROUP BY kind ORDER BY kind", (target,)
        )
        return dict(rows)

    def objects(self, target: str, kind: str | None = None) -> list[Found]:
        return self.store.found(target, kind)

    def put(self, target: str, thing: Object, **gauges: Any) -> Found:
        """Write an object as given. Its digest and, where empty, its native identity are made here."""
        with self.store.writing():
            self.target(target)
            native_id = thing.native_id or self.store.native_id(target)
            return self.store.put(Found(target, msgspec.structs.replace(thing, native_id=native_id), **gauges))

    def add_unmanaged(self, target: str, kind: str, native_name: str, fields: Mapping[str, Any]) -> Found:
        """A thing that people made without us."""
        return self.put(target, Object(kind, native_name, "", dict(fields), digest=""))

    def drift(self, target: str, name: str, path: str, value: Any, *, by: str | None = None) -> None:
        """Set the field at `/a/b` by hand; None removes it. `by`: the culprit, where the node can tell."""
        with self.store.writing():
            found = self.find(target, name)
            thing = found.object
            fields = replaced(thing.fields, path, value)
            self._replace(found, fields=fields, culprit=by)

    def stop(self, target: str, name: str, *, by: str | None = None) -> None:
        self.drift(target, name, "/state", "stopped", by=by)

    def delete(self, target: str, name: str) -> None:
        """It is gone, without us."""
        with self.store.writing():
            self.store.drop(self.find(target, name))

    def unreadable(self, target: str, name: str, path: str, reason: str | None = "permission denied (on cue)") -> None:
        """A field that observation cannot read; None makes it readable again."""
        with self.store.writing():
            found = self.find(target, name)
            unknown = {key: why for key, why in found.object.unknown.items() if key != path}
            self._replace(found, unknown=unknown | ({path: reason} if reason is not None else {}))

    def copy(self, target: str, name: str, native_name: str, *, to: str | None = None) -> Found:
        """As `zfs send` or a clone does: marks travel with the copy, and do not count, for they name another object.
        A copied machine does not run."""
        with self.store.writing():
            found = self.find(target, name)
            place = to or target
            self.target(place)
            fields = found.object.fields
            if "state" in fields:
                fields = {**fields, "state": "stopped"}
            thing = msgspec.structs.replace(
                found.object,
                native_name=native_name,
                native_id=self.store.native_id(place),
                fields=fields,
                marks=None,
            )
            return self.store.put(Found(place, thing, found.used, found.ready, found.object.marks or found.hidden))

    def duplicate(self, target: str, name: str, native_name: str, *, to: str | None = None) -> Found:
        """A forged twin: marks that count, with a uid that another object bears too."""
        with self.store.writing():
            marks = self.find(target, name).object.marks
            twin = self.copy(target, name, native_name, to=to)
            thing = msgspec.structs.replace(twin.object, marks=marks)
            return self.store.put(msgspec.structs.replace(twin, object=thing, hidden=None))

    def set_marks(self, target: str, name: str, marks: Marks | None) -> None:
        with self.store.writing():
            self._replace(self.find(target, name), marks=marks)

    def set_gauges(self, target: str, name: str, *, used: int | None = None, ready: bool | None = None) -> None:
        """Bytes of the disk in use; whether it ever becomes ready. Neither shows in a report's digest."""
        with self.store.writing():
            found = self.find(target, name)
            self.store.put(
                msgspec.structs.replace(
                    found,
                    used=found.used if used is None else used,
                    ready=found.ready if ready is None else ready,
                )
            )

    def _replace(self, found: Found, **changes: Any) -> None:
        self.store.put(msgspec.structs.replace(found, object=msgspec.structs.replace(found.object, **changes)))

    # -- faults and what was done

    def fail(self, how: How | str = How.FAIL, **more: Any) -> int:
        """Arm a fault; see Fault for `target`, `verb`, `ref`, `nth`, `times`, `seconds`, `reason`. Gives its number."""
        return faults.add(self.store, Fault(How(how), **more))

    def faults(self) -> list[tuple[int, Fault]]:
        return faults.listed(self.store)

    def disarm(self, number: int | None = None) -> None:
        faults.remove(self.store, number)

    def acts(self) -> list[tuple[str, str, str, str]]:
        """What the nodes were asked, in order: target, verb, ref, status."""
        return list(self.store.db.execute("SELECT target, verb, ref, status FROM act ORDER BY id"))


def _broken(row: TargetRow, how: str, reason: str, hide: tuple[str, ...]) -> TargetRow:
    broken = row.broken
    if how == "unreachable":
        return msgspec.structs.replace(row, broken=msgspec.structs.replace(broken, unreachable=reason))
    if how == "partial":
        return msgspec.structs.replace(row, broken=msgspec.structs.replace(broken, partial=reason, hide=hide))
    if how == "hang":
        return msgspec.structs.replace(row, broken=msgspec.structs.replace(broken, hang=True))
    if how == "reimaged":
        kept = msgspec.structs.replace(broken, identity=broken.identity or row.identity)
        return msgspec.structs.replace(row, broken=kept, identity=f"{kept.identity}-other")
    if how == "unclaimed":
        kept = msgspec.structs.replace(broken, claim=broken.claim or row.claim)
        return msgspec.structs.replace(row, broken=kept, claim=None)
    raise NoSuch(f"a target breaks in one of these ways: {', '.join(BREAKS)}; not {how!r}")
