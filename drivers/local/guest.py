"""What a zone is told: its keys, resolvers, metadata and user data, as files beside its configuration.

Owns: those files, their rights, and reading them back into fields. They are bound read-only into the zone, so a guest
cannot change them, and rewritten in place, so a change is seen at once.
Must not go here: the LXC configuration, what a secret is (values come in, names and digests go out).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from drivers.local import files
from reconciler.core.values import digest
from reconciler.driver.forms import secret_leaf

FIELDS = ("resolvers", "search", "sshKeys", "userData", "metadata")
_FOLDER = "guest"
_LEAVES = "leaves.json"
FILES = ("resolv.conf", "authorized_keys", "metadata.json", "user-data")


class Told(msgspec.Struct, frozen=True):
    """What is to be told, in the forms of a Machine's body; a secret is {"secret": name, "keyed": digest}."""

    resolvers: Sequence[str] = ()
    search: Sequence[str] = ()
    keys: Sequence[str] = ()
    metadata: Mapping[str, Any] = {}
    user_data: Any = None


class _Leaf(msgspec.Struct, frozen=True):
    """How a secret stands in the form, and a sum of the value that was written, to notice another."""

    leaf: str
    sum: str


class Missing(Exception):
    """A secret that the step names came without its value."""


def write(zone: Path, told: Told, secrets: Mapping[str, str], *, owner: int = 0) -> None:
    """Everything, each file in place. `owner`: the host's id of the zone's root. Raises Missing."""
    folder = zone / _FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    leaves: dict[str, _Leaf] = {}
    known = _leaves(zone)
    metadata = {key: _value(f"metadata/{key}", value, secrets, leaves) for key, value in told.metadata.items()}
    lines = [f"nameserver {resolver}" for resolver in told.resolvers]
    if told.search:
        lines.insert(0, "search " + " ".join(told.search))
    texts = {
        "resolv.conf": "".join(f"{line}\n" for line in lines),
        "authorized_keys": "".join(f"{key}\n" for key in told.keys),
        "metadata.json": msgspec.json.format(msgspec.json.encode(metadata, order="sorted")).decode()
        if metadata
        else "",
        "user-data": "" if told.user_data is None else _value("userData", told.user_data, secrets, leaves),
    }
    # first, and those of before with them: a value is never in a file without being known for a secret
    _keep(zone, {**known, **leaves})
    for name, text in texts.items():
        _put(folder / name, text, 0o644 if name == "resolv.conf" else 0o600, owner)
    if owner:
        os.chown(folder, owner, owner)
    _keep(zone, leaves)


def _keep(zone: Path, leaves: Mapping[str, _Leaf]) -> None:
    files.put(zone / _LEAVES, msgspec.json.encode(leaves, order="sorted").decode(), mode=0o600)


def _leaves(zone: Path) -> dict[str, _Leaf]:
    text = _text(zone / _LEAVES)
    return msgspec.json.decode(text, type=dict[str, _Leaf]) if text else {}


def _value(path: str, value: Any, secrets: Mapping[str, str], leaves: dict[str, _Leaf]) -> str:
    if not isinstance(value, Mapping):
        return str(value)
    name = value["secret"]
    if name not in secrets:
        raise Missing(f"the secret {name} came without its value")
    leaves[path] = _Leaf(secret_leaf(name, value.get("keyed")), _sum(secrets[name]))
    return secrets[name]


def _sum(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _put(path: Path, text: str, mode: int, owner: int) -> None:
    """In place, never by renaming: the zone has the very file bound. An empty text leaves no file. Killed in between,
    a shorter text ends with empty lines, which mean nothing."""
    if not text:
        path.unlink(missing_ok=True)
        return
    data = text.encode()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
    try:
        os.fchmod(descriptor, mode)
        if owner:
            os.fchown(descriptor, owner, owner)
        os.write(descriptor, data + b"\n" * (os.fstat(descriptor).st_size - len(data)))
        os.ftruncate(descriptor, len(data))
    finally:
        os.close(descriptor)


def binds(zone: Path, inside: Path) -> list[tuple[Path, str, str]]:
    """Host path, path in the zone and options, for the files that are there. `inside`: the folder as zones reach it."""
    there = {name for name in FILES if (zone / _FOLDER / name).exists()}
    folder, once = inside / _FOLDER, "bind,ro,create=file,optional"
    found: list[tuple[Path, str, str]] = []
    if there & {"metadata.json", "user-data"}:
        found.append((folder, "/etc/trueup", "bind,ro,create=dir"))
    if "resolv.conf" in there:
        found.append((folder / "resolv.conf", "/etc/resolv.conf", once))
    if "authorized_keys" in there:
        found.append((folder / "authorized_keys", "/root/.ssh/authorized_keys", once))
    return found


def read(zone: Path) -> dict[str, Any]:
    """The fields as they stand in the files."""
    folder = zone / _FOLDER
    fields: dict[str, Any] = {}
    resolvers = _text(folder / "resolv.conf").split("\n")
    if names := [line[11:] for line in resolvers if line.startswith("nameserver ")]:
        fields["resolvers"] = names
    if search := [line[7:].split() for line in resolvers if line.startswith("search ")]:
        fields["search"] = search[0]
    if keys := _text(folder / "authorized_keys").splitlines():
        fields["sshKeys"] = keys
    leaves = _leaves(zone)
    if data := _text(folder / "user-data"):
        fields["userData"] = _leaf(leaves.get("userData"), data, f"text:{digest(data)}")
    if metadata := _text(folder / "metadata.json"):
        found = msgspec.json.decode(metadata, type=dict[str, str])
        fields["metadata"] = {key: _leaf(leaves.get(f"metadata/{key}"), text, text) for key, text in found.items()}
    return fields


def _leaf(leaf: _Leaf | None, text: str, otherwise: str) -> str:
    """A secret that was changed by hand reads as a digest, never as its value."""
    if leaf is None:
        return otherwise
    return leaf.leaf if leaf.sum == _sum(text) else f"changed:{_sum(text)}"


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
