"""How single values are written, whatever the kind: names, references, addresses, texts.

Owns: what is right, what it comes to, and what to write instead. Free of any library of models: the models (pydantic)
and the plain records (msgspec) read with the same functions. Must not go here: quantities, rules of one kind.

Each function raises SpecError.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from typing import Any

API_VERSION = "trueup/v1"


class SpecError(ValueError):
    """A mistake in one value: what is wrong, and what to write instead. `fields`: which ones, where several do not fit
    together."""

    def __init__(self, summary: str, fix: str, *, fields: tuple[str, ...] = ()) -> None:
        super().__init__(summary)
        self.summary, self.fix, self.fields = summary, fix, fields


NAME = r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$"
LABEL = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
_NAME_FORM, _LABEL_FORM = re.compile(NAME), re.compile(LABEL)


def name(value: str) -> str:
    if len(value) > 63 or not _NAME_FORM.fullmatch(value):
        raise SpecError(
            f"{value!r} is not a name",
            "1 to 63 of a-z, 0-9, dot, dash and underscore, beginning and ending with a-z or 0-9",
        )
    return value


@functools.lru_cache(4096)
def label(value: str) -> str:
    if len(value) > 63 or not _LABEL_FORM.fullmatch(value):
        raise SpecError(
            f"{value!r} is not a name that a host can bear",
            "1 to 63 of a-z, 0-9 and dash, beginning and ending with a-z or 0-9",
        )
    return value


@functools.lru_cache(65536)
def reference(value: str) -> str:
    for part in value.split("/", 1):
        if len(part) > 63 or not _NAME_FORM.fullmatch(part):
            raise SpecError(f"{value!r} is not a reference", "write a name, tenant/name or datacenter/name")
    return value


def text_due(value: Any) -> tuple[str, str]:
    """What is wrong with a value where text is due, and what to write instead."""
    if isinstance(value, (dict, list)) or value is None:
        shown = "nothing" if value is None else "a map" if isinstance(value, dict) else "a list"
        return f"text is due here, not {shown}", ""
    spelled = str(value).lower() if isinstance(value, bool) else str(value)
    kind = {bool: "a truth value", int: "a number", float: "a number"}.get(type(value), "a date")
    return f"text is due here, and {spelled} is read as {kind}", f'put it in quotes: "{spelled}"'


def text(value: Any) -> Any:
    if isinstance(value, (str, dict)):
        return value
    raise SpecError(*text_due(value))


def only_secret(value: Any) -> Any:
    if isinstance(value, dict):
        return value
    raise SpecError("a secret must not stand here in clear", "write {secret: NAME} and keep the value with a provider")


@functools.lru_cache(4096)
def ip(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise SpecError(f"{value!r} is not an address", "write it as 10.0.1.5 or 2001:db8::5") from None


@functools.lru_cache(4096)
def subnet(value: str) -> str:
    if "/" not in value:
        raise SpecError(f"{value!r} has no prefix length, and a subnet needs one", f"write it as {value}/24")
    try:
        return str(ipaddress.ip_network(value))
    except ValueError as wrong:
        if "host bits" in str(wrong):
            network = ipaddress.ip_network(value, strict=False)
            raise SpecError(f"{value!r} is an address within a subnet", f"write {network}") from None
        raise SpecError(f"{value!r} is not a subnet", "write it as 10.0.1.0/24") from None


def span(value: str) -> str:
    first, dash, last = value.partition("-")
    try:
        low, high = ipaddress.ip_address(first.strip()), ipaddress.ip_address(last.strip())
    except ValueError:
        raise SpecError(f"{value!r} is not a range of addresses", "write it as 10.0.1.10-10.0.1.250") from None
    if not dash or low.version != high.version or int(low) > int(high):
        raise SpecError(f"{value!r} ends before it begins", f"write {high}-{low}")
    return f"{low}-{high}"


_MAC_FORM = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def mac(value: str) -> str:
    found = value.lower().replace("-", ":")
    if not _MAC_FORM.fullmatch(found):
        raise SpecError(f"{value!r} is not a MAC address", "write it as 02:00:5e:10:00:01")
    if int(found[1], 16) & 1:
        raise SpecError(f"{value!r} is a group address, no interface can have it", "make the second digit even")
    return found


def tags(value: Any) -> Any:
    if isinstance(value, dict):
        for key in value:
            if isinstance(key, str) and (not key or len(key) > 63 or "/" in key):
                raise SpecError(f"{key!r} is not a tag", "1 to 63 characters without a slash")
    return value
