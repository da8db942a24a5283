"""What a target tells, and what of it nobody has read."""

from __future__ import annotations

import msgspec

from reconciler.core.observed import Object, Unread


def test_what_nobody_has_read_has_all_that_an_object_has() -> None:
    whole, unread = ({each.name: each for each in msgspec.structs.fields(kind)} for kind in (Object, Unread))
    assert [*whole] == [*unread]
    for name, field in whole.items():
        assert (unread[name].default, unread[name].required) == (field.default, field.required), name
        assert name == "fields" or unread[name].type == field.type, name
