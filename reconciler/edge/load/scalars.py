"""What a plain scalar means: exactly what ruamel's YAML 1.2 says.

Owns: asking ruamel's own resolver and constructor, once per text. Must not go here: rules of our own.
"""

from __future__ import annotations

import functools
from typing import Any

_TEXTS = 200_000
"""So many distinct texts are remembered; then the memory starts anew."""


@functools.cache
def _ruamel() -> tuple[Any, Any, Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.nodes import ScalarNode

    yaml = YAML(typ="safe", pure=True)
    return yaml.resolver, yaml.constructor, ScalarNode


@functools.cache
def _telling() -> frozenset[str]:
    """The letters with which a scalar must begin to be anything but text, as ruamel's resolver has them."""
    return frozenset(_ruamel()[0].versioned_resolver)


def construct(text: str) -> Any:
    """The value of a plain scalar. Raises ruamel's YAMLError or ValueError where it has none (`<<`, `=`)."""
    if text[:1] not in _telling():
        return text
    resolver, constructor, node = _ruamel()
    tag = resolver.resolve(node, text, (True, False))
    return constructor.construct_object(node(tag, text), deep=True)


class PlainScalars(dict[str, Any]):
    """{text: value}, filled on demand: a fleet has few distinct plain scalars."""

    def __missing__(self, text: str) -> Any:
        if len(self) >= _TEXTS:
            self.clear()
        value = self[text] = construct(text)
        return value


PLAIN = PlainScalars()
