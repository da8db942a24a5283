"""A tenant's project: from what the server says of it to normalised fields, and back. Pure.

Owns: the keys of a project, what of them is always the same, and whose certificates let in.
Must not go here: sending (tenants), machines and volumes, which say themselves which project they live in (reading).

What is always the same is the safe choice of everything that the servers let a tenant do: networks and images are those
of all and can be used, volumes and profiles are the tenant's own; nothing of the host, no privileges, no nesting.
Snapshots are allowed, since quarantine takes one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from drivers.incus import marks as marking
from drivers.incus import units
from drivers.incus.reading import network_ref
from drivers.incus.records import Certificate, Config, Project, View
from drivers.incus.writing import network_name
from reconciler.core.refs import Ref, name_of

ALWAYS = {
    "features.images": "false",
    "features.networks": "false",
    "features.profiles": "true",
    "features.storage.volumes": "true",
    "restricted": "true",
    "restricted.snapshots": "allow",
}
ACCESS, NICS = "restricted.networks.access", "restricted.devices.nic"
"""The networks that may be used; that nothing may be attached to any, which an empty list would not say."""
LIMITS = {"machines": "limits.instances", "memory": "limits.memory", "disk": "limits.disk"}
UNASKED = {"features.storage.buckets": "true"}
"""What a server sets itself."""


def identity(name: str) -> str:
    """Projects have no identity but their name, which cannot be copied within a server."""
    return f"project:{name}"


def read(project: Project, certificates: Iterable[Certificate], view: View) -> dict[str, Any]:
    """`extra`: what is other than it always is, set by hand."""
    config = project.config
    limits = {field: _amount(field, config[key]) for field, key in LIMITS.items() if config.get(key)}
    fields: dict[str, Any] = {"limits": limits, "certificates": _named(project.name, certificates)}
    fields["networks"] = sorted(_form_name(each, view) for each in config.get(ACCESS, "").split(",") if each)
    expected = _fixed(bool(fields["networks"]))
    strange = {
        key: config.get(key, "not said")
        for key in sorted({*config, *expected})
        if config.get(key) != expected.get(key) and not _is_told(key, config)
    }
    fields["extra"] = strange
    return {key: value for key, value in fields.items() if value}


def _amount(field: str, text: str) -> int | str:
    return units.count(text) if field == "machines" else units.size(text)


def _is_told(key: str, config: Config) -> bool:
    told = key in LIMITS.values() or key == ACCESS or config.get(key) == UNASKED.get(key, object())
    return told or key.startswith("user.")


def _fixed(networks: bool) -> Config:
    return ALWAYS if networks else {**ALWAYS, NICS: "block"}


def _named(project: str, certificates: Iterable[Certificate]) -> dict[str, str]:
    """Fingerprints by name, of those that let into this project."""
    found: dict[str, str] = {}
    for each in sorted(certificates, key=lambda each: each.fingerprint):
        if lets_in(each, project):
            found[each.name if each.name not in found else f"{each.name} {each.fingerprint[:12]}"] = each.fingerprint
    return found


def lets_in(certificate: Certificate, project: str) -> bool:
    return certificate.restricted and project in (certificate.projects or ())


def _form_name(native: str, view: View) -> str:
    """What a form calls a network that is ours, whatever it is called there; of another its own name."""
    network = view.networks.get(native)
    ref = network_ref(network, view) if network is not None else None
    return network_name(name_of(Ref(ref)), ref) if ref is not None else native


def write(fields: Mapping[str, Any], old: Config, view: View) -> Config:
    """All of a project's configuration but the marks. Notes that people made (`user.*`) stay."""
    natives = {_form_name(name, view): name for name in sorted(view.networks)}
    networks = sorted(natives.get(name, name) for name in fields.get("networks", ()))
    config = {key: value for key, value in old.items() if key.startswith("user.") or key in UNASKED}
    config.update(_fixed(bool(networks)))
    if networks:
        config[ACCESS] = ",".join(networks)
    for field, key in LIMITS.items():
        amount = fields.get("limits", {}).get(field)
        if amount is not None:
            config[key] = str(amount) if field == "machines" else units.write_size(amount)
    return config


def held(project: Project) -> tuple[str, ...]:
    """What lives in it beside instances, which are told of themselves."""
    paths = (path.removeprefix("/1.0/").partition("?")[0] for path in project.used_by or ())
    own = (path for path in paths if not path.startswith("instances/") and path != "profiles/default")
    return tuple(sorted(own))


def others_marks(config: Config, suffix: str) -> list[str]:
    """Keys of other members' marks."""
    return [key for key in config if key.startswith(marking.MARKS + ".") and key != marking.MARKS + suffix]
