"""What each verb does to a tenant's project, and to the certificates that let into it.

Owns: one function a verb. Must not go here: what a project is made of (projects), what lives in it.

Certificates come before the last word on the project: cut short in between, the next plan finds what is left to do. In
a cluster a project is one for all members, and a realisation for each that bears its marks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from drivers.incus import marks as marking
from drivers.incus import projects
from drivers.incus.act import Act, Denied
from drivers.incus.records import Certificate, Config, Project
from reconciler.core.refs import name_of

LEAKY = (
    "LXD 5.0 does not keep the holder of a restricted certificate inside the project: they can delete images "
    "and change networks that all share. Take `certificates` out of the tenant, or say "
    "`options: {certificatesOnLxd: true}` on the node if you trust them"
)


def _here(act: Act) -> Project:
    if act.home is None:
        raise Denied(f"there is no project with the uid {act.step.uid}")
    return act.home


def _marked(act: Act, name: str, **more: Any) -> Config:
    marks = msgspec.structs.replace(act.written(), **more)
    return {marking.MARKS + act.suffix: marking.write(marks, projects.identity(name), act.view.seal)}


async def create(act: Act) -> None:
    name, fields = name_of(act.step.ref), act.arg("fields")
    _trusted(act, fields)
    there = next((each for each in await act.node.tenants() if each.name == name), None)
    if there is not None or name == act.node.project:
        await _join(act, there, name, fields)
        return
    config = {**projects.write(fields, {}, act.view), **_marked(act, name, applied="")}
    await act.api.change("POST", "/1.0/projects", {"name": name, "config": config, "description": ""})
    await _certificates(act, name, fields)
    await _put(act, name, _marked(act, name))


async def _join(act: Act, there: Project | None, name: str, fields: Mapping[str, Any]) -> None:
    """Another member's realisation made it: ours is to bear our marks too."""
    if there is None or not act.suffix or not projects.others_marks(there.config, act.suffix):
        raise Denied(f"there is already a project named {name}: give it another name, or trueup adopt it")
    if projects.read(there, await act.node.certificates(), act.view) != fields:
        raise Denied(f"the project {name} is already there, and is another")
    await _put(act, name, _marked(act, name))


async def update(act: Act) -> None:
    """Whole: on LXD 5.0 a part of a project's configuration brings the features back to what they are by default."""
    project, fields = _here(act), act.arg("fields")
    _trusted(act, fields)
    await _certificates(act, project.name, fields)
    await _put(act, project.name, {**projects.write(fields, project.config, act.view), **_marked(act, project.name)})


async def _put(act: Act, name: str, config: Config) -> None:
    """Configuration that names the features is all of it but for notes; without them it is laid over what is there."""
    said, etag = await act.api.read(f"/1.0/projects/{name}")
    old: Config = said.get("config") or {}
    whole = config if "restricted" in config else {**old, **config}
    body = {"config": whole, "description": said.get("description", "")}
    await act.api.change("PUT", f"/1.0/projects/{name}", body, etag=etag)


def _trusted(act: Act, fields: Mapping[str, Any]) -> None:
    if fields.get("certificates") and act.server.environment.server == "lxd" and not act.node.trusts_lxd:
        raise Denied(LEAKY)


async def _certificates(act: Act, name: str, fields: Mapping[str, Any]) -> None:
    """Bring those that let into the project to what is wanted."""
    want: Mapping[str, str] = fields.get("certificates", {})
    texts = (act.step.args.get("body") or {}).get("certificates") or {}
    there = {each.fingerprint: each for each in await act.node.certificates()}
    for each in there.values():
        if projects.lets_in(each, name) and want.get(each.name) != each.fingerprint:
            await _let_out(act, each, name)
    for holder, fingerprint in sorted(want.items()):
        known = there.get(fingerprint)
        if known is not None and projects.lets_in(known, name) and known.name == holder:
            continue
        if known is not None and not (projects.lets_in(known, name) and known.projects == [name]):
            raise Denied(f"the certificate {holder} ({fingerprint[:12]}) is trusted for something else there already")
        lines = str(texts[holder]["pem"]).splitlines()
        der = "".join(line.strip() for line in lines if "-----" not in line)
        body = {"type": "client", "name": holder, "certificate": der, "restricted": True, "projects": [name]}
        await act.api.change("POST", "/1.0/certificates", body)


async def _let_out(act: Act, certificate: Certificate, name: str) -> None:
    path, rest = (
        f"/1.0/certificates/{certificate.fingerprint}",
        [each for each in certificate.projects or () if each != name],
    )
    if not rest:
        await act.api.change("DELETE", path)
        return
    said, etag = await act.api.read(path)
    body = {key: said[key] for key in ("name", "type", "restricted", "certificate", "description") if key in said}
    await act.api.change("PUT", path, {**body, "projects": rest}, etag=etag)


async def mark(act: Act) -> None:
    project = _here(act)
    await _put(act, project.name, _marked(act, project.name))


async def destroy(act: Act) -> None:
    """When nothing is in it. The certificates go first: without the project they would let into nothing, and stay."""
    act.unprotected()
    project = _here(act)
    if projects.others_marks(project.config, act.suffix) and act.suffix:
        await forget(act)
        return
    said = msgspec.convert(await act.api.get(f"/1.0/projects/{project.name}"), Project)
    inside = [path for path in said.used_by or () if "/instances/" in path] + list(projects.held(said))
    if inside:
        raise Denied(f"{project.name} is not empty: {inside[0].removeprefix('/1.0/').partition('?')[0]} is in it")
    await _certificates(act, project.name, {})
    await act.api.change("DELETE", f"/1.0/projects/{project.name}")


async def forget(act: Act) -> None:
    project = _here(act)
    said, etag = await act.api.read(f"/1.0/projects/{project.name}")
    config = {key: value for key, value in said["config"].items() if key != marking.MARKS + act.suffix}
    body = {"config": config, "description": said.get("description", "")}
    await act.api.change("PUT", f"/1.0/projects/{project.name}", body, etag=etag)


async def adopt(act: Act) -> None:
    name = act.arg("native")
    there = next((each for each in await act.node.tenants() if each.name == name), None)
    if there is None or projects.identity(name) != act.arg("nativeId"):
        raise Denied(f"there is no project {name} with the identity {act.arg('nativeId')}")
    await _put(act, name, _marked(act, name))
