"""What each verb does to a simulated node, and what the node refuses.

Owns: one function a verb. Each finds its precondition proved and runs inside the node's transaction.
Must not go here: proofs common to all verbs (engine), storage (store).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from drivers.sim.shape import KEYS, SimShape
from drivers.sim.store import Found, Store, TargetRow
from reconciler.core.observed import Marks, Object
from reconciler.core.plan import Manner, Step
from reconciler.core.refs import SINGLE, kind_of, make_ref, short, tenant_of
from reconciler.core.values import escape, find, replaced, segments
from reconciler.driver import StepContext
from reconciler.driver.forms import only

CREATED_WITH = ("image", "brand", "disk", "project")
"""Fields that a machine has from its creation; the rest is configuration."""


class Refused(Exception):
    """The node will not: one sentence for people. Nothing is changed."""


class Act(msgspec.Struct, frozen=True):
    """One step with all it acts on."""

    store: Store
    shape: SimShape
    step: Step
    context: StepContext
    target: TargetRow
    found: Found | None
    marks: Marks

    @property
    def kind(self) -> str:
        return kind_of(self.step.ref)

    @property
    def here(self) -> Found:
        """The object that the step is about."""
        if self.found is None:
            raise Refused(f"there is no {self.kind} with the uid {self.step.uid}")
        return self.found

    @property
    def fields(self) -> Mapping[str, Any]:
        return self.here.object.fields

    def arg(self, name: str) -> Any:
        if self.step.args.get(name) is None:
            raise Refused(f"the step says no {name}")
        return self.step.args[name]

    def written(self, **more: Any) -> Marks:
        """The marks as they are written: with the fence and generation of who writes."""
        return msgspec.structs.replace(self.marks, fence=self.context.fence, generation=self.context.generation, **more)

    def keep(self, fields: Mapping[str, Any], **more: Any) -> None:
        """Write the object back with these fields and our marks."""
        changes = {"marks": self.written(), "culprit": None, **more}
        thing = msgspec.structs.replace(self.here.object, fields=dict(fields), **changes)
        self.store.put(msgspec.structs.replace(self.here, object=thing))


def create(act: Act) -> None:
    """A Machine from its image; anything else as it is."""
    if act.kind != "Machine":
        _project_exists(act, act.arg("fields"))
        create_plain(act)
        return
    want = act.arg("fields")
    image = want["image"]
    if not any(found.object.fields.get("digest") == image for found in act.store.found(act.target.name, "Image")):
        raise Refused(f"the image {image} has not been imported")
    _project_exists(act, want)
    fields = {key: want[key] for key in CREATED_WITH if key in want} | {"state": "stopped"}
    _add(act, act.step.uid, fields)


def create_plain(act: Act) -> None:
    _add(act, short(act.step.ref), only(act.arg("fields"), KEYS.get(act.kind, ())))


def _add(act: Act, native: str, fields: Mapping[str, Any]) -> None:
    if act.store.by_native(act.target.name, act.kind, native) is not None:
        raise Refused(f"there is already a {act.kind} named {native}")
    identity = act.store.native_id(act.target.name)
    thing = Object(act.kind, native, identity, dict(fields), digest="", marks=act.written())
    act.store.put(Found(act.target.name, thing))


def disk(act: Act) -> None:
    """Make a data disk, or take it over from the machine that this one replaces."""
    name, want = act.arg("name"), dict(act.arg("disk"))
    source = act.step.args.get("from")
    for old in act.store.by_uid(act.target.name, source) if source else ():
        kept = (old.object.fields.get("disks") or {}).get(name)
        if kept is None:
            continue
        if want.get("size", 0) < kept.get("size", 0):
            raise Refused(f"the disk {name} holds {kept['size']} bytes and cannot shrink to {want.get('size', 0)}")
        fields = replaced(old.object.fields, _disk(name), None)
        act.store.put(msgspec.structs.replace(old, object=msgspec.structs.replace(old.object, fields=fields)))
    disks = {**act.fields.get("disks", {}), name: want}
    act.keep({**act.fields, "disks": disks})


def destroy_disk(act: Act) -> None:
    """For good, with what it holds."""
    _unprotected(act)
    act.keep(replaced(act.fields, _disk(act.arg("name")), None))


def _disk(name: str) -> str:
    return f"/disks/{escape(name)}"


def configure(act: Act) -> None:
    """Write all of the configuration for the next boot."""
    _must_be(act, "stopped")
    want = only(act.arg("fields"), KEYS["Machine"])
    for key in ("image", "brand", "project"):
        if key in act.fields and want.get(key) != act.fields[key]:
            raise Refused(f"{key} is given at creation: it is {act.fields[key]}, not {want.get(key)}")
    _fits_use(act, want)
    here, there = want.get("disks", {}), act.fields.get("disks", {})
    if here.keys() != there.keys():
        raise Refused(
            f"its disks are {sorted(there)}, not {sorted(here)}: making and destroying takes a step of its own"
        )
    _networks_exist(act, want)
    _volumes_exist(act, want)
    act.keep({**want, "state": act.fields["state"]})


def start(act: Act) -> None:
    _must_be(act, "stopped")
    _networks_exist(act, act.fields)
    for network, nic in act.fields.get("nics", {}).items():
        _address_is_free(act, network, nic.get("ip"))
    act.keep({**act.fields, "state": "running"})


def _address_is_free(act: Act, network: str, address: str | None) -> None:
    if not address:
        return
    for other in act.store.mentioning(act.target.node, "Machine", f'"{address}"'):
        same = (other.target, other.object.native_name) == (act.target.name, act.here.object.native_name)
        fields = other.object.fields
        if same or fields.get("state") != "running" or other.object.lifecycle != "live":
            continue
        if (fields.get("nics", {}).get(network) or {}).get("ip") == address:
            raise Refused(f"{address} is already used on {network} by {other.object.native_name}")


def stop(act: Act) -> None:
    _must_be(act, "running")
    act.keep({**act.fields, "state": "stopped"})


def move(act: Act) -> None:
    """Carry it over from another member, with its identity and all that it holds, and the volumes that go along; only
    what is stopped is carried."""
    _must_be(act, "stopped")
    old = act.here
    for uid in act.step.args.get("volumes", {}):
        _along(act, uid)
    if act.store.by_native(act.target.name, act.kind, old.object.native_name) is not None:
        raise Refused(f"there is already a {act.kind} named {old.object.native_name}")
    act.store.drop(old)
    thing = msgspec.structs.replace(old.object, marks=act.written(), culprit=None)
    act.store.put(msgspec.structs.replace(old, target=act.target.name, object=thing))


def _along(act: Act, uid: str) -> None:
    """A volume that is there already came with an earlier attempt."""
    for found in act.store.by_uid(act.here.target, uid):
        for machine in act.store.found(act.here.target, "Machine"):
            if machine != act.here and machine.object.lifecycle == "live" and _mounts(machine.object, found.object):
                raise Refused(f"{machine.object.native_name} mounts {found.object.native_name} too")
        act.store.drop(found)
        act.store.put(msgspec.structs.replace(found, target=act.target.name))


def _mounts(machine: Object, volume: Object) -> bool:
    tenant = tenant_of(machine.marks.ref) if machine.marks else None
    refs = [make_ref("Volume", name, tenant) for name in machine.fields.get("volumes", {})]
    return volume.marks is not None and volume.marks.ref in refs


def update(act: Act) -> None:
    """Set fields while it runs, and for the next boot."""
    fields: Mapping[str, Any] = act.fields
    running = fields.get("state") == "running"
    for path, value in act.arg("set").items():
        before = find(act.fields, path)
        manner = act.shape.manner(act.kind, path, before, value, act.fields)
        if manner in (Manner.REPLACE, Manner.MOVE, Manner.IMPOSSIBLE) or (running and manner is not Manner.LIVE):
            raise Refused(f"{path} cannot be set on a {act.kind} like this: it takes {manner}")
        if segments(path)[0] == "disks" and len(segments(path)) < 3:
            raise Refused(f"{path} comes or goes by a step of its own")
        fields = replaced(fields, path, value)
    if act.kind == "Machine":
        _fits_use(act, fields)
        _networks_exist(act, fields)
        _volumes_exist(act, fields)
    act.keep(fields)


def snapshot(act: Act) -> None:
    """Kept by name; no field shows it."""
    act.keep(act.fields)


def quarantine(act: Act) -> None:
    """Put it aside, whole, until a time: nothing is lost yet."""
    if act.kind == "Machine":
        _must_be(act, "stopped")
    _unprotected(act)
    _unused(act)
    act.keep(
        act.fields,
        lifecycle="quarantined",
        marks=act.written(quarantined_until=act.context.now + float(act.arg("quarantine"))),
    )


def restore(act: Act) -> None:
    act.keep(act.fields, lifecycle="live", marks=act.written(quarantined_until=None))


def purge(act: Act) -> None:
    """For good, and never before the time that the object itself bears."""
    _unprotected(act)
    marks = act.here.object.marks
    until = marks.quarantined_until if marks else None
    if act.here.object.lifecycle != "quarantined" or until is None:
        raise Refused("only what lies in quarantine, with a time, can be purged")
    if act.context.now < until:
        raise Refused(f"its quarantine ends {until - act.context.now:.0f} s from now")
    act.store.drop(act.here)


def mark(act: Act) -> None:
    act.keep(act.fields)


def ready(act: Act) -> None:
    if not act.here.ready:
        raise Refused("it did not become ready in time")
    act.keep(act.fields)


def adopt(act: Act) -> None:
    """Write marks on an object that bears none."""
    found = act.store.by_native(act.target.name, act.kind, act.arg("native"))
    if found is None or found.object.native_id != act.arg("nativeId"):
        raise Refused(f"there is no {act.kind} {act.arg('native')} with the identity {act.arg('nativeId')}")
    if found.object.marks is not None:
        raise Refused(f"{act.arg('native')} is managed already, as {found.object.marks.ref}")
    thing = msgspec.structs.replace(found.object, marks=act.written())
    act.store.put(msgspec.structs.replace(found, object=thing, hidden=None))


def forget(act: Act) -> None:
    """Take the marks off and leave the object as it is."""
    act.store.put(msgspec.structs.replace(act.here, object=msgspec.structs.replace(act.here.object, marks=None)))


def destroy(act: Act) -> None:
    """A Network, an Image or a Tenant's project, when nothing uses it."""
    if act.kind in SINGLE:
        raise Refused(f"a {act.kind} is quarantined, then purged; never destroyed at once")
    _unprotected(act)
    _unused(act)
    act.store.drop(act.here)


def _unused(act: Act) -> None:
    user = _user(act)
    if user:
        raise Refused(f"{act.here.object.native_name} is in use by {user}")


def _user(act: Act) -> str | None:
    """A machine that needs this network, volume, image or project; what is in quarantine needs the last two."""
    thing = act.here.object
    for held in act.store.found(act.target.name, "Volume") if act.kind == "Tenant" else ():
        if held.object.fields.get("project") == thing.native_name:
            return held.object.native_name
    for machine in act.store.found(act.target.name, "Machine"):
        fields = machine.object.fields
        if act.kind == "Image" and fields.get("image") == thing.fields.get("digest"):
            return machine.object.native_name
        if act.kind == "Tenant" and fields.get("project") == thing.native_name:
            return machine.object.native_name
        attached = any(_is_named(thing.native_name, name) for name in fields.get("nics", {}))
        mounted = any(_volume(act, machine.object, name) == act.found for name in fields.get("volumes", {}))
        if machine.object.lifecycle == "live" and (mounted if act.kind == "Volume" else attached):
            return machine.object.native_name
    return None


def _project_exists(act: Act, fields: Mapping[str, Any]) -> None:
    name = fields.get("project")
    if name is not None and act.store.by_native(act.target.name, "Tenant", name) is None:
        raise Refused(f"there is no project {name}")


def _is_named(native: str, name: str) -> bool:
    return native == name or native.endswith(f"/{name}")


def _networks_exist(act: Act, fields: Mapping[str, Any]) -> None:
    wanted = fields.get("nics", {})
    if not wanted:
        return
    there = [found.object.native_name for found in act.store.found(act.target.name, "Network")]
    for name in wanted:
        if not any(_is_named(native, name) for native in there):
            raise Refused(f"there is no network {name} to attach to")


def _volumes_exist(act: Act, fields: Mapping[str, Any]) -> None:
    for name in fields.get("volumes", {}):
        if _volume(act, act.here.object, name) is None:
            raise Refused(f"there is no volume {name} to mount")


def _volume(act: Act, machine: Object, name: str) -> Found | None:
    """The volume that a machine means by a name: its tenant's."""
    ref = make_ref("Volume", name, tenant_of(machine.marks.ref) if machine.marks else None)
    for found in act.store.found(act.target.name, "Volume"):
        if found.object.lifecycle == "live" and found.object.marks is not None and found.object.marks.ref == ref:
            return found
    return None


def _fits_use(act: Act, want: Mapping[str, Any]) -> None:
    size = want.get("disk")
    if size is not None and size < act.here.used:
        raise Refused(f"{act.here.used} bytes of the disk are in use: it cannot shrink to {size}")


def _must_be(act: Act, state: str) -> None:
    if act.fields.get("state") != state:
        raise Refused(f"it is {act.fields.get('state')}, not {state}")


def _unprotected(act: Act) -> None:
    marks = act.here.object.marks
    if marks is not None and marks.protected:
        raise Refused("it is protected: lifting that takes a change of its own first")
