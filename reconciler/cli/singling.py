"""One document out of a file as it was, back into the file as it is: what `trueup restore` commits.

Owns: the new text of that file. Must not go here: finding the file, committing.
"""

from __future__ import annotations

from typing import Any

from reconciler.edge.load.document import Declared
from reconciler.edge.load.stream import Chunk, cut

_MODELINE = "# yaml-language-server:"


def brought_back(before: bytes, now: bytes | None, declared: Declared) -> bytes | None:
    """The file with that one document as it was `before` (contents), and all else as it is `now` (None: the file is
    gone). None where that cannot be had: the document is there with another content, and not only it was changed."""
    was = cut(declared.file, before)[0]
    document = was[declared.index]
    left = cut(declared.file, now)[0] if now is not None else []
    texts = {_bare(chunk) for chunk in left}
    gone = [chunk for chunk in was if _bare(chunk) not in texts]
    added = texts - {_bare(chunk) for chunk in was}
    if gone == [document] and not added:
        return before
    if declared.prefix == ("spec",) and not any(_is(chunk, declared) for chunk in left):
        return _joined(now, document)
    if gone == [document] and len(added) == 1 and _differ_by(document, added.pop(), declared):
        return before
    return None


def _joined(now: bytes | None, document: Chunk) -> bytes:
    rest = (now or b"").decode().rstrip()
    lines = [line for line in _bare(document).splitlines() if not line.startswith(_MODELINE)]
    text = "\n".join(lines).strip("\n")
    return f"{rest}\n---\n{text}\n".encode() if rest else f"{text}\n".encode()


def _bare(chunk: Chunk) -> str:
    """Without the line that separates it from the one before."""
    text = chunk.text
    return (text.partition("\n")[2] if text.startswith("---") else text).strip("\n")


def _is(chunk: Chunk, declared: Declared) -> bool:
    value = _value(chunk.text)
    name = value.get("metadata", {}).get("name") if isinstance(value.get("metadata"), dict) else None
    return (value.get("kind"), name) == (declared.kind, declared.name)


def _differ_by(document: Chunk, now: str, declared: Declared) -> bool:
    """Whether only this very thing is other: a group's number, or an item of a short form."""
    was, value = _value(document.text), _value(now)
    for each in (was, value):
        holder = each.get(str(declared.prefix[0]))
        if isinstance(holder, dict):
            holder.pop("replicas" if declared.prefix == ("spec",) else declared.prefix[1], None)
    return was == value


def _value(text: str) -> dict[str, Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        value = YAML(typ="safe", pure=True).load(text)
    except YAMLError:
        return {}
    return value if isinstance(value, dict) else {}
