"""What several tests of the kit assert alike.

Owns: assertions. Must not go here: tests.
"""

from __future__ import annotations

from typing import Any

from reconciler.core.compare import compare
from reconciler.core.desired import Resource
from reconciler.core.observed import Object
from reconciler.core.plan import Change, Step
from reconciler.driver import Outcome
from reconciler.testing.scene import Scene


async def at_rest(scene: Scene, wanted: Resource, change: Change) -> Object:
    """The change came to its end: what is there is what the change predicted, and nothing more is wanted."""
    found = await scene.there(change.uid)
    assert found.lifecycle == "live"
    assert dict(found.fields) == change.after, f"predicted {change.after}, found {found.fields}"
    compared = compare(wanted, found, None, scene.shape, scene.context(wanted))
    assert compared.at_rest, f"more would be changed: {compared.differences}, {compared.marks}, {compared.unknown}"
    return found


async def refused(scene: Scene, step: Step, **context: Any) -> Outcome:
    """The step is not done, and nothing on the target is touched."""
    before = await scene.look()
    outcome = await scene.apply(step, **context)
    assert outcome.status in ("deferred", "failed"), f"{step.id} should have been refused, it was {outcome.status}"
    assert outcome.reason, "a refusal says why"
    after = await scene.look()
    assert after.digest == before.digest, f"{step.id} was refused ({outcome.reason}), and something was changed"
    return outcome


async def made(scene: Scene, **body: Any) -> tuple[Resource, Object]:
    """A machine at rest to begin with."""
    wanted = scene.fresh(**body)
    change = await scene.run(scene.change(wanted, None))
    return wanted, await scene.there(change.uid)
