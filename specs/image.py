"""Image: the contents that a machine starts from. Immutable: other contents are another name."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from specs import rules
from specs.envelope import Label, Model, Reference, Trait, whole
from specs.units import Size

ImageType = Literal["rootfs", "disk", "zone-dataset", "lx-dataset", "zvol"]
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]


class Source(Model):
    """Where the contents come from: exactly one of these."""

    file: str | None = None
    """A tarball or disk on the controller, inside the folders it is allowed to read."""
    url: Annotated[str, StringConstraints(pattern=r"^https?://")] | None = None
    """Where the node or the controller gets a tarball; `digest` says what it must be."""
    folder: str | None = None
    """A root filesystem on the node."""
    machine: Reference | None = None
    """A machine whose disk becomes the image."""
    debian: Annotated[str, StringConstraints(pattern=r"^[a-z]+$")] | None = None
    """A suite, built by mmdebstrap: `bookworm`."""
    busybox: Literal["static"] | None = None
    """A small system made of the static busybox of the node, without any network."""

    _one = whole(rules.one_source)


class Requirements(Model):
    min_memory: Size | None = None
    """A package must have this much memory."""
    min_disk: Size | None = None
    """A package must have this much disk."""
    traits: dict[str, Trait] = Field(default_factory=dict)
    """What a node must have."""


class Image(Model):
    source: Source
    """Where it comes from."""
    digest: Digest | None = None
    """Of the contents. Due for a file and a URL; an image that is built has none."""
    os: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*$")] = "linux"
    """What runs in it."""
    type: ImageType
    """Decides which drivers can take it."""
    requirements: Requirements = Field(default_factory=Requirements)
    """What a machine must have to be made of it."""
    origin: Reference | None = None
    """The image that this one is a difference to."""
    tenants: list[Label] | None = None
    """Who may use it; without it, everybody who can name it."""

    _fetched = whole(rules.digest_where_fetched)
