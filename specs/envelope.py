"""What every document has in common: names, metadata, secrets, and the strictness of the models.

Owns: the base of the models and the types shared by several kinds. Must not go here: any one kind's fields.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

API_VERSION = "trueup/v1"


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


def SpecError(summary: str, fix: str, *, fields: tuple[str, ...] = ()) -> PydanticCustomError:
    """A mistake in one value: what is wrong, and what to write instead. `fields`: which ones, where several do not
    fit together."""
    return PydanticCustomError("spec", "{summary}", {"summary": summary, "fix": fix, "fields": fields})


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

_NAME = r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$"
_LABEL = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
_NAME_RE, _LABEL_RE = re.compile(_NAME), re.compile(_LABEL)


def _name(value: str) -> str:
    if len(value) > 63 or not _NAME_RE.match(value):
        raise SpecError(
            f"{value!r} is not a name",
            "1 to 63 of a-z, 0-9, dot, dash and underscore, beginning and ending with a-z or 0-9",
        )
    return value


@functools.lru_cache(4096)
def _label(value: str) -> str:
    if len(value) > 63 or not _LABEL_RE.match(value):
        raise SpecError(
            f"{value!r} is not a name that a host can bear",
            "1 to 63 of a-z, 0-9 and dash, beginning and ending with a-z or 0-9",
        )
    return value


@functools.lru_cache(65536)
def _reference(value: str) -> str:
    for part in value.split("/", 1):
        if len(part) > 63 or not _NAME_RE.match(part):
            raise SpecError(f"{value!r} is not a reference", "write a name, tenant/name or datacenter/name")
    return value


Name = Annotated[str, AfterValidator(_name), WithJsonSchema({"type": "string", "pattern": _NAME, "maxLength": 63})]
Label = Annotated[str, AfterValidator(_label), WithJsonSchema({"type": "string", "pattern": _LABEL, "maxLength": 63})]
"""A name that can be a host's: no dots."""
Reference = Annotated[
    str,
    AfterValidator(_reference),
    WithJsonSchema({"type": "string", "pattern": r"^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)?$"}),
]
"""The name of something of the same tenant or of the datacenter; `tenant/name`, `datacenter/name` where both exist."""


class Secret(Model):
    """The name of a secret, resolved only when a step runs."""

    secret: Annotated[str, StringConstraints(min_length=1, max_length=200)]


def text_due(value: Any) -> tuple[str, str]:
    """What is wrong with a value where text is due, and what to write instead."""
    if isinstance(value, (dict, list)) or value is None:
        shown = "nothing" if value is None else "a map" if isinstance(value, dict) else "a list"
        return f"text is due here, not {shown}", ""
    spelled = str(value).lower() if isinstance(value, bool) else str(value)
    kind = {bool: "a truth value", int: "a number", float: "a number"}.get(type(value), "a date")
    return f"text is due here, and {spelled} is read as {kind}", f'put it in quotes: "{spelled}"'


def _text(value: Any) -> Any:
    if isinstance(value, (str, dict)):
        return value
    raise SpecError(*text_due(value))


Text = Annotated[str | Secret, BeforeValidator(_text, json_schema_input_type=str | Secret)]
"""Free text, or `{secret: name}`."""


def _only_secret(value: Any) -> Any:
    if isinstance(value, dict):
        return value
    raise SpecError("a secret must not stand here in clear", "write {secret: NAME} and keep the value with a provider")


OnlySecret = Annotated[Secret, BeforeValidator(_only_secret, json_schema_input_type=Secret)]
"""A field known to be secret: never a literal."""


@functools.lru_cache(4096)
def _ip(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise SpecError(f"{value!r} is not an address", "write it as 10.0.1.5 or 2001:db8::5") from None


@functools.lru_cache(4096)
def _subnet(value: str) -> str:
    if "/" not in value:
        raise SpecError(f"{value!r} has no prefix length, and a subnet needs one", f"write it as {value}/24")
    try:
        return str(ipaddress.ip_network(value))
    except ValueError as wrong:
        if "host bits" in str(wrong):
            network = ipaddress.ip_network(value, strict=False)
            raise SpecError(f"{value!r} is an address within a subnet", f"write {network}") from None
        raise SpecError(f"{value!r} is not a subnet", "write it as 10.0.1.0/24") from None


def _span(value: str) -> str:
    first, dash, last = value.partition("-")
    try:
        low, high = ipaddress.ip_address(first.strip()), ipaddress.ip_address(last.strip())
    except ValueError:
        raise SpecError(f"{value!r} is not a range of addresses", "write it as 10.0.1.10-10.0.1.250") from None
    if not dash or low.version != high.version or int(low) > int(high):
        raise SpecError(f"{value!r} ends before it begins", f"write {high}-{low}")
    return f"{low}-{high}"


_MAC_RE = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def _mac(value: str) -> str:
    mac = value.lower().replace("-", ":")
    if not _MAC_RE.fullmatch(mac):
        raise SpecError(f"{value!r} is not a MAC address", "write it as 02:00:5e:10:00:01")
    if int(mac[1], 16) & 1:
        raise SpecError(f"{value!r} is a group address, no interface can have it", "make the second digit even")
    return mac


Ip = Annotated[str, AfterValidator(_ip)]
Subnet = Annotated[str, AfterValidator(_subnet)]
Span = Annotated[str, AfterValidator(_span)]
"""`first-last`."""
Mac = Annotated[str, AfterValidator(_mac)]
"""Lower case with colons."""

TagValue = str | bool | int
Trait = str | bool
DriftSwitch = Literal["heal", "report", "off"]


def _tags(value: Any) -> Any:
    if isinstance(value, dict):
        for key in value:
            if not key or len(key) > 63 or "/" in key:
                raise SpecError(f"{key!r} is not a tag", "1 to 63 characters without a slash")
    return value


class Metadata(Model):
    """Who a document is about."""

    name: Name
    tenant: Label | None = None
    """Whose it is. A folder's `_defaults.yaml` usually says it once."""
    tags: Annotated[dict[str, TagValue], BeforeValidator(_tags)] = Field(default_factory=dict)
    renamed_from: Reference | None = None
    """The name it had before: it is renamed, not destroyed and made anew."""


class SharedMetadata(Model):
    """What the items of a plural document share."""

    tenant: Label | None = None
    tags: Annotated[dict[str, TagValue], BeforeValidator(_tags)] = Field(default_factory=dict)
