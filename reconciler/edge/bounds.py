"""Which versions of trueup a datacenter allows to act on it.

Owns: `requires`, told against the version that is installed. Must not go here: other versions' rules.
"""

from __future__ import annotations

from reconciler.errors import UsageError


def require(bounds: str | None) -> None:
    """`requires` of the Datacenter: another version of trueup refuses (it might read a field otherwise). Raises
    UsageError."""
    if bounds is None:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        own = version("trueup")
    except PackageNotFoundError:
        return
    if not satisfies(own, bounds):
        raise UsageError(
            f"this is trueup {own}, and the datacenter requires {bounds}",
            hint="install a version that it allows, or change `requires` in its document",
        )


def satisfies(version: str, bounds: str) -> bool:
    """Whether `0.3.1` is within `>=0.3 <0.5`. Only leading numbers count."""
    own = _numbers(version)
    for bound in bounds.replace(",", " ").split():
        operator = bound.rstrip("0123456789.")
        other = _numbers(bound[len(operator) :])
        width = max(len(own), len(other))
        left, right = own + (0,) * (width - len(own)), other + (0,) * (width - len(other))
        ok = {">=": left >= right, "<=": left <= right, "==": left == right, ">": left > right, "<": left < right}
        if not ok[operator]:
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    found = []
    for part in version.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        found.append(int(digits))
    return tuple(found)
