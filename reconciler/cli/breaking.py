"""`trueup apply --break-glass`: a commit that is not merged, applied at once because the loop, or the review, is gone.

Owns: what is noted so that the loop leaves those things alone afterwards. Must not go here: carrying out (applying).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from reconciler.cli.writing import Writing
from reconciler.core.ledger import Held
from reconciler.core.plan import Plan
from reconciler.core.refs import Ref, kind_of
from reconciler.errors import RevisionMissing, UsageError

_OVER = "over"
"""A digest that nothing has: it ends a hold."""


async def applied_last(here: Writing) -> dict[Ref, str]:
    """Digests of what the loop takes for wanted until something is merged. Raises UsageError."""
    last = here.ledger.applied
    if last is None or last.revision.startswith("tree:"):
        return {}
    try:
        # taken at once: the next load may alter what this one gave
        return {ref: each.digest for ref, each in (await here.desired(last.revision)).resources.items()}
    except RevisionMissing as error:
        raise UsageError(
            f"this clone does not hold {last.revision[:12]}, which was applied last", hint="git fetch, then again"
        ) from error


def holds(plan: Plan, base: Mapping[Ref, str], reason: str) -> list[Held]:
    """For each thing of the plan: the loop leaves it until its document, as the loop sees it, changes."""
    commit = (plan.commit or "")[:12]
    sentence = f"{commit} was applied past the branch: {reason}; merge it"
    return [
        Held(ref, sentence, base.get(ref, ""))
        for ref in sorted({change.ref for change in plan.changes if kind_of(change.ref) != "Node"})
    ]


def ended(held: dict[Ref, Held], refs: list[Ref]) -> list[Held]:
    """Entries that end the holds on these."""
    return [msgspec.structs.replace(held[ref], digest=_OVER) for ref in refs if is_held(held, ref)]


def is_held(held: dict[Ref, Held], ref: Ref) -> bool:
    return ref in held and held[ref].digest != _OVER
