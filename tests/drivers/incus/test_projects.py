"""What a project of a server stands for, and back; whose marks count in it. Pure: no server is asked."""

from __future__ import annotations

import msgspec

from drivers.incus import marks as marking
from drivers.incus import projects, reading
from drivers.incus.culprits import Culprits, Event, Lifecycle, Requestor
from drivers.incus.records import Certificate, Instance, Network, Project, View, Volume
from drivers.incus.shape import IncusShape
from reconciler.core.desired import NodeWant
from reconciler.core.observed import Marks
from reconciler.core.plan import Manner
from reconciler.core.refs import Ref, Target, Uid
from reconciler.driver import NativeContext
from reconciler.testing.harness import resource

KEY = "0123"
UUID = "11111111-1111-1111-1111-111111111111"
FIELDS = {
    "limits": {"machines": 3, "memory": 2**29, "disk": 2**30},
    "certificates": {"alice": "aa"},
    "networks": ["closed", "shared"],
}


def marks(ref: str) -> Marks:
    return Marks(Uid("u"), Ref(ref), "dc", 1, 1, 1, "tree:1", "x")


def trusted(name: str, fingerprint: str, *into: str, restricted: bool = True) -> Certificate:
    return Certificate(fingerprint, name, "client", restricted, list(into))


def instance(ref: str, project: str, *, native: str = UUID, **config: str) -> Instance:
    said = {marking.MARKS: marking.write(marks(ref), native, KEY), "volatile.uuid": UUID, **config}
    return Instance("web", project=project, said=said)


def test_what_is_written_is_what_is_read() -> None:
    written = projects.write(FIELDS, {}, View())
    assert written["restricted"] == "true"
    assert projects.read(Project("acme", written), [trusted("alice", "aa", "acme")], View()) == FIELDS
    nothing = projects.write({}, {}, View())
    assert nothing["restricted.devices.nic"] == "block", "no network is no network, not every one"
    assert projects.read(Project("acme", nothing), [], View()) == {}


def test_people_keep_their_notes_and_nothing_else() -> None:
    old = {"user.note": "x", "restricted.containers.privilege": "allow", "limits.cpu": "9"}
    written = projects.write(FIELDS, old, View())
    assert written["user.note"] == "x"
    assert "restricted.containers.privilege" not in written
    assert "limits.cpu" not in written


def test_what_is_not_as_always_is_told() -> None:
    config = {**projects.write(FIELDS, {}, View()), "restricted": "false", "limits.cpu": "9"}
    del config["restricted.snapshots"]
    read = projects.read(Project("acme", config), [], View())
    assert read["extra"] == {"restricted": "false", "restricted.snapshots": "not said", "limits.cpu": "9"}


def test_networks_go_by_their_documents_names_whatever_they_are_called_there() -> None:
    said = {marking.MARKS: marking.write(marks("Network/shared"), "network:default/old0", KEY)}
    view = View({"old0": Network("old0", managed=True, said=said)}, seal=KEY)
    written = projects.write({"networks": ["shared"]}, {}, view)
    assert written["restricted.networks.access"] == "old0"
    assert projects.read(Project("acme", written), [], view)["networks"] == ["shared"]


def test_only_restricted_certificates_of_the_project_let_in() -> None:
    every = [
        trusted("alice", "aa", "acme"), trusted("bob", "bb", "zeta"), trusted("root", "cc", "acme", restricted=False),
        trusted("alice", "dd", "acme", "zeta"),
    ]  # fmt: skip
    assert projects.read(Project("acme"), every, View())["certificates"] == {"alice": "aa", "alice dd": "dd"}


def test_marks_count_in_the_project_of_the_tenant_that_they_name() -> None:
    assert reading.instance_marks(instance("Machine/acme/web", "acme"), KEY, "default") is not None
    assert reading.instance_marks(instance("Machine/acme/web", "default"), KEY, "default") is not None
    assert reading.instance_marks(instance("Machine/zeta/web", "acme"), KEY, "default") is None
    volume = Volume("v", project="acme", pool="local")
    for ref, counts in (("Volume/acme/v", True), ("Volume/zeta/v", False)):
        volume.config = {marking.MARKS: marking.write(marks(ref), reading.volume_identity(volume), KEY)}
        assert (reading.volume_marks(volume, KEY, "default") is not None) == counts
    other = Volume("v", project="zeta", pool="local", config=volume.config)
    assert reading.volume_marks(other, KEY, "default") is None, "a name is another's in another project"


def test_what_was_never_made_whole_is_so_only_where_it_was_made_and_until_it_runs() -> None:
    native = marking.unborn("acme", "web")
    begun = instance("Machine/acme/web", "acme", native=native)
    assert reading.instance_marks(begun, KEY, "default") is None
    assert reading.unborn_marks(begun, KEY, "default") is not None
    elsewhere = msgspec.structs.replace(begun, name="copy")
    assert reading.unborn_marks(elsewhere, KEY, "default") is None
    ran = instance("Machine/acme/web", "acme", native=native, **{"volatile.last_state.power": "RUNNING"})
    assert reading.unborn_marks(ran, KEY, "default") is None


def test_stash_brings_back_interfaces_on_networks_and_nothing_else() -> None:
    nic = {"type": "nic", "network": "n"}
    devices = {"nic": nic, "host": {"type": "disk", "source": "/"}, "raw": {"type": "nic"}, "x": 1}
    said = {marking.STASH: msgspec.json.encode({"name": "web", "devices": devices}).decode()}
    assert reading.stashed(Instance("q", said=said))["devices"] == {"nic": nic}
    odd = {marking.STASH: '{"devices": 7}'}
    assert reading.stashed(Instance("q", said=odd))["devices"] == {}


def test_form_says_the_project_and_nothing_passes_from_one_to_another() -> None:
    shape = IncusShape()
    node = NodeWant("inc", "incus", "", projects=True)
    volume = resource(Ref("Volume/acme/shop"), {"size": 5})
    assert shape.native(volume, NativeContext(node, Target("inc"))) == {"size": 5, "project": "acme"}
    assert shape.manner("Volume", "/project", None, "acme", {}) is Manner.IMPOSSIBLE
    assert shape.manner("Machine", "/project", "acme", None, {}) is Manner.IMPOSSIBLE
    refs = ["Network/shared", "Network/acme/a-name-that-is-too-long"]
    tenant = resource(Ref("Tenant/acme"), {"limits": {"cpu": 5}, "certificates": {}, "networks": refs})
    networks = shape.native(tenant, NativeContext(node, Target("inc")))["networks"]
    assert networks[0] == "shared"
    assert networks[1].startswith("tu")
    assert shape.manner("Tenant", "/limits/memory", 1, 2, {}) is Manner.LIVE
    assert shape.normalise("Tenant", {"name": "acme", "config": {"limits.instances": "2"}})["limits"] == {"machines": 2}


def test_what_lives_in_a_project_is_told_but_for_instances() -> None:
    used = [f"/1.0/{what}?project=acme" for what in ("instances/web", "profiles/default", "profiles/theirs")]
    assert projects.held(Project("acme", used_by=used)) == ("profiles/theirs",)


def test_who_changed_a_machine_is_told_by_the_project_too() -> None:
    culprits = Culprits()
    who = Requestor("alice", "tls", "10.0.0.9:1")
    for project in ("acme", "default"):
        changed = Lifecycle("instance-updated", f"/1.0/instances/web?project={project}", who)
        culprits.note(Event("lifecycle", project=project, metadata=changed), lambda name: name == "web", "default")
    assert culprits.of("Machine", "web") is None, "that was ours"
    assert "alice" in (culprits.of("Machine", "acme/web") or "")
