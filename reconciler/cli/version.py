"""The version of trueup that is running. Owns: reading it, without slowing the start. Nothing else goes here."""

from __future__ import annotations


def version() -> str:
    """As installed; `0` where it runs from a tree that was never installed."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("trueup")
    except PackageNotFoundError:
        return "0"
