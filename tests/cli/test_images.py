"""Images are immutable: what a person sees who edits one."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Run, commit, edit


def test_other_contents_under_the_name_of_an_applied_image_are_an_error_and_a_new_name_is_none(
    folder: Path, run: Run
) -> None:
    assert run("apply", "--yes").code == 0
    edit("images.yaml", "{busybox: static}", "{debian: bookworm}")
    told = "images.yaml:4:16: Image/busybox-1:source: images are immutable, and busybox-1 held other contents"
    for command in (("plan", "--dirty"), ("validate",)):
        found = run(*command)
        assert found.code == 1, found
        assert told in found.out + found.err
    commit("Another image under the same name")
    for command in (("plan",), ("apply", "--yes"), ("validate",)):
        found = run(*command)
        assert found.code == 1, found
        assert told in found.out + found.err
    assert "another name (busybox-2)" in run("plan").err
    commit_again(folder)
    assert run("plan").code == 0


def commit_again(folder: Path) -> None:
    """As the error says: the old one as it was, the new one under another name."""
    text = (folder / "images.yaml").read_text()
    sound = text.replace("{debian: bookworm}", "{busybox: static}")
    (folder / "images.yaml").write_text(f"{sound}---\n{text.replace('busybox-1', 'busybox-2')}")
    commit("Another image")


@pytest.mark.parametrize("before", ["Image: {spec: {source: {busybox: static}}}\n", None])
def test_other_contents_by_the_defaults_of_a_folder_are_an_error_too(
    folder: Path, run: Run, before: str | None
) -> None:
    """Also where there were no defaults before, and the image said itself what it held."""
    given = folder / "_defaults.yaml"
    if before is not None:
        given.write_text(before)
        edit("images.yaml", "spec: {source: {busybox: static}, ", "spec: {")
        commit("Defaults for images")
    assert run("apply", "--yes").code == 0
    given.write_text("Image: {spec: {source: {debian: bookworm}}}\n")
    if before is None:
        edit("images.yaml", "spec: {source: {busybox: static}, ", "spec: {")
    commit("Other defaults")
    for command in (("plan",), ("apply", "--yes"), ("validate",)):
        found = run(*command)
        assert found.code == 1, found
        assert "images are immutable, and busybox-1 held other contents" in found.out + found.err
