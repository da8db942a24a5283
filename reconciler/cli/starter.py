"""The tree that `trueup init` writes.

Owns: its files. Must not go here: anything that has to be asked; people edit files.
"""

from __future__ import annotations

import os
import re
import subprocess
import uuid
from pathlib import Path

from reconciler.errors import UsageError
from specs.schema import COMBINED, DEFAULTS
from specs.schema import copy as write_schemas

SCHEMAS = ".trueup/schemas"
"""Where the tree keeps its schemas: of the version that wrote it, and there without a network. The loader reads no
hidden folder. `trueup schema --write .trueup/schemas` brings them up to date."""

_FILES = {
    "datacenter.yaml": """\
# What this datacenter is to be. Change it by commits; `trueup plan` shows what each one would do.
apiVersion: trueup/v1
kind: Datacenter
metadata: {name: NAME}
spec:
  id: ID  # every identity comes from it: never change it
  follow: approve  # auto: the loop applies what is merged; off: it only looks
  drift: report  # heal: changes made by hand are undone; off: nobody looks
""",
    "nodes.yaml": """\
apiVersion: trueup/v1
kind: Node
metadata: {name: here}
spec:
  driver: local  # this host; others: incus, smartos, sim
  nics: {lan: none}  # nicTag: interface of the host, or none for machines of this node only
""",
    "networks.yaml": """\
apiVersion: trueup/v1
kind: Network
metadata: {name: lan}
spec:
  nicTag: lan
  subnet: 10.80.1.0/24
  range: 10.80.1.100-10.80.1.199  # addresses to give out; authored ones lie outside
  gateway: 10.80.1.1
  nat: true
""",
    "packages.yaml": """\
apiVersion: trueup/v1
kind: Packages
items:
  s: {cpu: 0.5, memory: 128Mi, disk: 512Mi}
  m: {cpu: 1, memory: 512Mi, disk: 4Gi}
""",
    "images.yaml": """\
apiVersion: trueup/v1
kind: Image
metadata: {name: busybox-1}
spec:
  source: {busybox: static}  # built on the node; also {debian: bookworm}, {url: …}, {file: …}
  type: rootfs
""",
    "tenants/first/_defaults.yaml": """\
"*":  # every kind in this folder
  metadata: {tenant: first}
Machine:
  spec: {image: busybox-1, package: s, nics: [lan]}
""",
    "tenants/first/tenant.yaml": """\
apiVersion: trueup/v1
kind: Tenant
metadata: {name: first}
spec: {}
""",
    "tenants/first/machines.yaml": """\
apiVersion: trueup/v1
kind: Machine
metadata: {name: web}
spec:
  replicas: 2
  ready: {http: ":8080/healthz", within: 30s}  # what the image busybox answers
""",
}

_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")


def write(folder: Path, name: str) -> list[Path]:
    """Writes the files; returns their paths. Raises UsageError: no such name, a file in the way."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot be a datacenter's name", hint="a-z, 0-9, dot, dash; name it with --name")
    try:
        there = [path for path in _FILES if (folder / path).exists()]
    except OSError as error:
        raise UsageError(f"{folder} cannot be looked into: {error.strerror}") from error
    if there:
        raise UsageError(
            f"{folder / there[0]} is there already", hint="init writes over nothing: choose another folder"
        )
    identity = str(uuid.UUID(bytes=os.urandom(16), version=4))
    made = []
    try:
        for path, text in _FILES.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(_modeline(path) + text.replace("NAME", name).replace("ID", identity), encoding="utf-8")
            made.append(target)
        made += write_schemas(folder / SCHEMAS, (COMBINED, DEFAULTS))
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be written: {error.strerror}") from error
    _repository(folder)
    return made


def _modeline(path: str) -> str:
    """The line by which editors find the schema of a file."""
    schema = DEFAULTS if path.endswith("_defaults.yaml") else COMBINED
    return f"# yaml-language-server: $schema={'../' * path.count('/')}{SCHEMAS}/{schema}\n"


def _repository(folder: Path) -> None:
    """A git repository, unless the folder lies in one. Without git the files are there all the same."""
    try:
        inside = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "--is-inside-work-tree"], capture_output=True, check=False
        )
        if inside.returncode != 0:
            subprocess.run(["git", "init", "--quiet", "--initial-branch=main", str(folder)], check=False)
    except FileNotFoundError:
        return
