"""What a step needs beside its arguments: values of secrets, and fetched image content.

Owns: finding in a step's arguments which secrets and which content it names, and asking the ports for just these.
Must not go here: providers (edge/secrets), downloads (edge/files); values are never kept longer than the step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.core.plan import Step
from reconciler.errors import FileRefused, SecretMissing
from reconciler.ports import Files, Secrets

_PLAIN = frozenset(("marks", "fields", "set"))
"""Arguments in normalised form: a secret stands there as text, never as a map."""

_BY_NAME = frozenset(("metadata", "tags", "traits"))
"""Maps whose keys people choose: one of them may be called `secret`."""

_FETCHED = frozenset(("file", "url", "folder"))
"""Image sources that are fetched on the controller; the others a driver makes on the node."""


Content = tuple[Mapping[str, str], str]
"""Source and digest of an image's content."""


def plain(step: Step) -> bool:
    """True if it surely needs nothing of all this: quicker to tell than what it needs."""
    return step.args.keys() <= _PLAIN and step.verb != "import"


def secret_names(step: Step) -> frozenset[str]:
    """The secrets that the step's arguments name as `{"secret": name}`."""
    return frozenset(name for key, value in step.args.items() if key not in _PLAIN for name in _named(key, value))


def _named(key: str, value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        name = value.get("secret")
        if isinstance(name, str) and key not in _BY_NAME:
            yield name
            return
        for inner, below in value.items():
            yield from _named(inner, below)
    elif isinstance(value, list | tuple):
        for below in value:
            yield from _named("", below)


def content(step: Step) -> Content | None:
    """The image content that an import needs from the controller."""
    if step.verb != "import":
        return None
    body = step.args.get("body", {})
    source = body.get("source", {})
    return (source, body["digest"]) if _FETCHED.intersection(source) else None


def redacted(text: str, secrets: Mapping[str, str]) -> str:
    """What a driver says, without any of the values that it was given for the step (invariant I11)."""
    for name, value in secrets.items():
        if value:
            text = text.replace(value, f"«{name}»")
    return text


async def secrets_for(names: frozenset[str], secrets: Secrets | None) -> Mapping[str, str]:
    """Raises SecretMissing."""
    if not names:
        return {}
    if secrets is None:
        raise SecretMissing(f"no provider of secrets is configured, and {', '.join(sorted(names))} is needed")
    return await secrets.resolve(names)


async def files_for(wanted: Content | None, files: Files | None) -> Mapping[str, str]:
    """Raises FileRefused, FileUnreachable."""
    if wanted is None:
        return {}
    source, digest = wanted
    if files is None:
        raise FileRefused(f"image content {digest} cannot be fetched here")
    return {digest: await files.fetch(source, digest)}
