"""What each verb does to an image: bring it from a file, mark it, remove it.

Owns: one function a verb. Must not go here: machines made from it.

A tarball with its own metadata is sent as it is, and the server's fingerprint is its digest. A bare root filesystem (or
disk) is sent with metadata made here, always the same for the same content; its digest is kept as a property.
"""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import anyio

from drivers.incus import busybox
from drivers.incus import marks as marking
from drivers.incus.act import Act, Denied
from drivers.incus.api import NotFound
from drivers.incus.reading import OS, instance_marks
from drivers.incus.records import Image, Instance

CHUNK = 2**20
_UNIFIED = ("metadata.yaml", "rootfs", "templates")
_METADATA = """\
architecture: %s
creation_date: 1
properties: {os: %s}
templates:
  /etc/hostname: {when: [create, copy, rename], create_only: false, template: hostname.tpl, properties: {}}
"""


def _here(act: Act) -> Image:
    if act.image is None:
        raise Denied(f"there is no image with the uid {act.step.uid}")
    return act.image


async def bring(act: Act) -> None:
    """The verb `import`."""
    fields = act.arg("fields")
    digest = str(fields["digest"])
    there = await _there(act, digest)
    if there is not None:
        await _put(act, there, {**(there.properties or {}), **_properties(act, there.fingerprint, fields)})
        return
    source = act.step.args.get("body", {}).get("source") or {}
    if "busybox" in source:
        await _build(act, fields)
        return
    if "machine" in source:
        await _publish(act, str(source["machine"]), fields)
        return
    path = act.context.files.get(digest)
    if path is None:
        raise Denied(f"the content {digest} was not handed over")
    whole = fields.get("type") != "disk" and await anyio.to_thread.run_sync(is_unified, path)
    if whole:
        await _send_whole(act, path, digest.removeprefix("sha256:"), fields)
    else:
        await _send_split(act, path, fields)


async def _build(act: Act, fields: Any) -> None:
    """Made here, of this host's own busybox; what it was made by stands for its content."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "image.tar.gz")
        try:
            made = await anyio.to_thread.run_sync(busybox.build, path, str(fields["digest"]))
        except busybox.NoBusybox as error:
            raise Denied(str(error)) from error
        await _send_whole(act, str(path), made.removeprefix("sha256:"), fields)


SNAPSHOT = "trueup-image"


async def _publish(act: Act, ref: str, fields: Any) -> None:
    """From a snapshot of a machine of ours, so that it need not stop. The image bears its digest from the start: cut
    short after that, it is found by it."""
    found = next((each for each in await act.node.instances() if _bears(act, each, ref)), None)
    if found is None:
        raise Denied(f"{ref} is not on this node, and an image of it is made where it is")
    name, project = found.name, found.project
    snapshots = f"/1.0/instances/{name}/snapshots"
    with suppress(NotFound):
        await act.api.change("DELETE", f"{snapshots}/{SNAPSHOT}", project=project)
    await act.api.change("POST", snapshots, {"name": SNAPSHOT, "stateful": False}, project=project)
    said = _properties(act, "", fields)
    del said[marking.IMAGE_MARKS + act.suffix]
    body = {"source": {"type": "snapshot", "name": f"{name}/{SNAPSHOT}"}, "properties": said, "public": False}
    await act.api.change("POST", "/1.0/images", body, project=project)
    await act.api.change("DELETE", f"{snapshots}/{SNAPSHOT}", project=project)
    made = await _there(act, str(fields["digest"]))
    if made is None:
        raise Denied(f"{ref} was published, and the image is not there")
    await _put(act, made, {**(made.properties or {}), **_properties(act, made.fingerprint, fields)})


def _bears(act: Act, instance: Instance, ref: str) -> bool:
    marks = instance_marks(instance, act.view.seal, act.view.base)
    return marks is not None and marks.ref == ref and marks.quarantined_until is None


async def _there(act: Act, digest: str) -> Image | None:
    """Content that the server has already, brought by whomever."""
    for image in await act.node.images():
        if (image.properties or {}).get(marking.DIGEST) == digest or f"sha256:{image.fingerprint}" == digest:
            return image
    return None


def _properties(act: Act, fingerprint: str, fields: Any) -> dict[str, str]:
    return {
        marking.DIGEST: str(fields["digest"]),
        marking.IMAGE_TYPE: str(fields["type"]),
        OS: str(fields["os"]),
        marking.IMAGE_MARKS + act.suffix: marking.write(act.written(), fingerprint, act.view.seal),
    }


def _header(act: Act) -> str:
    return "X-Incus-properties" if act.server.environment.server == "incus" else "X-LXD-properties"


async def _send_whole(act: Act, path: str, fingerprint: str, fields: Any) -> None:
    async def content() -> AsyncIterator[bytes]:
        async with await anyio.open_file(path, "rb") as file:
            while data := await file.read(CHUNK):
                yield data

    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Length": str((await anyio.Path(path).stat()).st_size),
        _header(act): urlencode(_properties(act, fingerprint, fields)),
    }
    done = await act.api.upload("/1.0/images", content(), headers, project=act.project)
    made = (done.metadata or {}).get("fingerprint")
    if made != fingerprint:
        await act.api.change("DELETE", f"/1.0/images/{made}", project=act.project)
        raise Denied(f"the content of {path} is {made}, not {fingerprint}")


async def _send_split(act: Act, path: str, fields: Any) -> None:
    """Its fingerprint is over both parts and known only afterwards, so its marks are written then."""
    import httpx  # as long to import as the rest of the driver, and made for forms

    part = "rootfs.img" if fields.get("type") == "disk" else "rootfs"
    metadata = made_metadata(str(fields["os"]))
    file = await anyio.to_thread.run_sync(Path(path).open, "rb")
    with file:
        files: Any = {"metadata": ("metadata.tar", metadata, "application/octet-stream"),
                      part: (Path(path).name, file, "application/octet-stream")}  # fmt: skip
        form = httpx.Request("POST", "http://node", files=files)
        assert isinstance(form.stream, httpx.AsyncByteStream)
        headers = {name: form.headers[name] for name in ("Content-Type", "Content-Length")}
        done = await act.api.upload("/1.0/images", aiter(form.stream), headers, project=act.project)
    fingerprint = str((done.metadata or {}).get("fingerprint"))
    image, etag = await act.api.read(f"/1.0/images/{fingerprint}", project=act.project)
    properties = {**(image.get("properties") or {}), **_properties(act, fingerprint, fields)}
    await _write(act, fingerprint, image, properties, etag)


def is_unified(path: str) -> bool:
    """Whether a tarball brings its own metadata; the first name that tells decides."""
    try:
        with tarfile.open(path, "r|*") as tar:
            for member in tar:
                name = member.name.removeprefix("./").split("/")[0]
                if name in _UNIFIED:
                    return True
                if name not in ("", "."):
                    return False
    except (tarfile.TarError, OSError):
        return True
    return False


def made_metadata(os: str, architecture: str = "x86_64") -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, text in (
            ("metadata.yaml", _METADATA % (architecture, os)),
            ("templates/hostname.tpl", "{{ container.name }}\n"),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return raw.getvalue()


async def _put(act: Act, image: Image, properties: dict[str, str]) -> None:
    said, etag = await act.api.read(f"/1.0/images/{image.fingerprint}", project=act.project)
    await _write(act, image.fingerprint, said, properties, etag)


async def _write(act: Act, fingerprint: str, said: Any, properties: dict[str, str], etag: str) -> None:
    keep = {key: said[key] for key in ("auto_update", "public", "expires_at", "profiles") if key in said}
    body = {**keep, "properties": properties}
    await act.api.change("PUT", f"/1.0/images/{fingerprint}", body, etag=etag, project=act.project)


async def mark(act: Act) -> None:
    image = _here(act)
    text = marking.write(act.written(), image.fingerprint, act.view.seal)
    await _put(act, image, {**(image.properties or {}), marking.IMAGE_MARKS + act.suffix: text})


async def update(act: Act) -> None:
    """What is said of it; its content is never another."""
    image, said = _here(act), dict(act.arg("set"))
    os = said.pop("/os", None)
    if os is None or said:
        raise Denied(f"{', '.join(said) or 'nothing'} of an image can be set")
    text = marking.write(act.written(), image.fingerprint, act.view.seal)
    told = {OS: str(os), marking.IMAGE_MARKS + act.suffix: text}
    await _put(act, image, {**(image.properties or {}), **told})


async def adopt(act: Act) -> None:
    name = act.arg("native")
    for image in await act.node.images():
        if image.fingerprint == name == act.arg("nativeId"):
            act.image = image
            await mark(act)
            return
    raise Denied(f"there is no image {name}")


async def forget(act: Act) -> None:
    image = _here(act)
    gone = marking.IMAGE_MARKS + act.suffix
    await _put(act, image, {key: value for key, value in (image.properties or {}).items() if key != gone})


async def destroy(act: Act) -> None:
    """When no machine was made from it; the server itself would let it go."""
    act.unprotected()
    image = _here(act)
    for instance in await act.node.instances():
        if instance.config.get("volatile.base_image") == image.fingerprint:
            raise Denied(f"{image.fingerprint[:12]} is in use by {instance.name}")
    others = [key for key in image.properties or {} if key.startswith(marking.IMAGE_MARKS + ".")]
    if act.suffix and any(key != marking.IMAGE_MARKS + act.suffix for key in others):
        await forget(act)
        return
    await act.api.change("DELETE", f"/1.0/images/{image.fingerprint}", project=act.project)
