"""The images that some documents declare, read by themselves.

Owns: reading them, and the rule that an image's contents never change. Must not go here: which documents to compare
(edge/images.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from reconciler.edge.held import Held
from reconciler.edge.load.attempt import Attempt
from reconciler.edge.load.document import Declared
from reconciler.edge.load.findings import Finding
from reconciler.edge.load.lower import image_digest
from reconciler.edge.load.reading import Reader
from reconciler.edge.load.records import Records
from reconciler.edge.load.tree import MemoryTree


def images_of(files: Mapping[str, bytes]) -> dict[str, str]:
    """Ref → digest of the contents. `files` are documents and the defaults above them; what is wrong in them is no
    matter here."""
    tree = MemoryTree(files)
    attempt = Attempt(Records(), tree, {})
    Reader(attempt).read_changes(dict(tree.entries()))
    units = attempt.units.values()
    return {one.ref: image_digest(one.spec) for unit in units for one in unit.reading.declared if _known(one)}


def check_images(images: Iterable[Declared], held: Held) -> Iterator[Finding]:
    """Other contents under the same name."""
    for image in images:
        before = held.images.get(image.ref)
        if before is None or before == image_digest(image.spec):
            continue
        summary = f"images are immutable, and {image.name} held other contents {held.when}{_shown(before)}"
        path = "digest" if image.spec.digest else "source"
        yield image.finding((path,), summary, f"add an image under another name ({_next(image.name)}) and name that")


def _known(declared: Declared) -> bool:
    return declared.kind == "Image" and not declared.nameless and declared.sure("digest", "source")


def _shown(digest: str) -> str:
    """Of contents that are built there is nothing to show."""
    return f", {digest[:19]}…" if digest.startswith("sha256:") else ""


def _next(name: str) -> str:
    """`debian-12` after `debian-11`; `debian-2` after `debian`."""
    first, dash, last = name.rpartition("-")
    return f"{first}-{int(last) + 1}" if dash and last.isdecimal() else f"{name}-2"
