"""What every document has in common: names, metadata, secrets, and the strictness of the models.

Owns: the base of the models and the types shared by several kinds. Must not go here: any one kind's fields.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel

from specs import values


class Model(BaseModel):
    """Strict and closed: no field is guessed, converted or ignored. Written in camelCase."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        defer_build=True,
        allow_inf_nan=False,
    )


def whole(rule: Callable[[Any], None]) -> Any:
    """What has to hold of a model's fields together: a function that raises SpecError."""

    def check(self: Any) -> Any:
        rule(self)
        return self

    check.rule = rule  # type: ignore[attr-defined]  # the plain record is checked by the same
    return model_validator(mode="after")(check)


FORMS = {
    r"^sha256:[0-9a-f]{64}$": "write sha256: and 64 hex digits",
    r"^https?://": "write http://… or https://…",
    r"^[a-z]+$": "write a suite: bookworm",
    r"^[a-z][a-z0-9-]*$": "a-z, 0-9 and dash, beginning with a letter",
    r"^[a-zA-Z0-9_]{1,31}$": "letters, digits and underscore, at most 31",
    r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$": "a uuid in lower case, as trueup init writes",
    r"^[a-z0-9][a-z0-9-]*(/[a-z0-9][a-z0-9-]*)?$": "write a node, or node/member",
    r"^/": "begin with a slash",
    r"^/.": "begin with a slash, and name a folder beneath the root",
}
"""What the patterns of fields mean, in words."""

Name = Annotated[
    str, AfterValidator(values.name), WithJsonSchema({"type": "string", "pattern": values.NAME, "maxLength": 63})
]
Label = Annotated[
    str, AfterValidator(values.label), WithJsonSchema({"type": "string", "pattern": values.LABEL, "maxLength": 63})
]
"""A name that can be a host's: no dots."""
Reference = Annotated[
    str,
    AfterValidator(values.reference),
    WithJsonSchema({"type": "string", "pattern": r"^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)?$"}),
]
"""The name of something of the same tenant or of the datacenter; `tenant/name`, `datacenter/name` where both exist."""


class Secret(Model):
    """The name of a secret, resolved only when a step runs."""

    secret: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    """The name of a secret; its value is nowhere in git, plans or journals."""


Text = Annotated[str | Secret, BeforeValidator(values.text, json_schema_input_type=str | Secret)]
"""Free text, or `{secret: name}`."""


OnlySecret = Annotated[Secret, BeforeValidator(values.only_secret, json_schema_input_type=Secret)]
"""A field known to be secret: never a literal."""


Ip = Annotated[str, AfterValidator(values.ip)]
Subnet = Annotated[str, AfterValidator(values.subnet)]
Span = Annotated[str, AfterValidator(values.span)]
"""`first-last`."""
Mac = Annotated[str, AfterValidator(values.mac)]
"""Lower case with colons."""

TagValue = str | bool | int
Trait = str | bool
DriftSwitch = Literal["heal", "report", "off"]
Tags = Annotated[dict[str, TagValue], BeforeValidator(values.tags)]


class Metadata(Model):
    """Who a document is about."""

    name: Name
    """Of one kind and tenant, one thing a name."""
    tenant: Label | None = None
    """Whose it is. A folder's `_defaults.yaml` usually says it once."""
    tags: Tags = Field(default_factory=dict)
    """Names and values of yours, to choose by: `--only role=web`."""
    renamed_from: Reference | None = None
    """The name it had before: it is renamed, not destroyed and made anew."""


class SharedMetadata(Model):
    """What the items of a plural document share."""

    tenant: Label | None = None
    """Whose all of these are."""
    tags: Tags = Field(default_factory=dict)
    """Of all of these."""
