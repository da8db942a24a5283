"""The models' types of quantities: how each is read (quantities.py), and how editors are told of it.

Must not go here: reading them, which field holds which quantity.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from specs.quantities import parse_cores, parse_duration, parse_pace, parse_share, parse_size


def _text_schema(pattern: str, description: str, examples: list[Any]) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "description": description, "examples": examples})


Size = Annotated[
    int,
    BeforeValidator(parse_size),
    _text_schema(
        r"^[0-9]+(\.[0-9]+)?(B|Ki|Mi|Gi|Ti|Pi)$", "A size with its unit, in powers of 1024.", ["512Mi", "25Gi"]
    ),
]
"""Bytes."""

Pace = Annotated[
    int,
    BeforeValidator(parse_pace),
    _text_schema(
        r"^[0-9]+(\.[0-9]+)?(B|Ki|Mi|Gi|Ti|Pi)$", "A size with its unit, in powers of 1024, for each second.", ["20Mi"]
    ),
]
"""Bytes in a second."""

Duration = Annotated[
    int | float,
    BeforeValidator(parse_duration),
    _text_schema(r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$", "A time with its unit.", ["30s", "7d"]),
]
"""Seconds."""

Share = Annotated[
    float,
    BeforeValidator(parse_share),
    _text_schema(r"^[0-9]+(\.[0-9]+)?%$", "A share of the whole.", ["20%"]),
]
"""0 to 1."""

Cores = Annotated[
    int,
    BeforeValidator(parse_cores),
    WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "description": "CPU in cores.", "examples": [0.5, 2]}),
]
"""Thousandths of a core."""
