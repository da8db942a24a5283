"""One kit that any driver passes (design §7).

In a test module: a fixture `harness` that gives a `reconciler.testing.harness.Harness`, the anyio mark, and

    from reconciler.testing.conformance import *

Must not go here: anything of one driver.
"""

from __future__ import annotations

from reconciler.testing.conformance import firewall, forwards, guard, life, moves, planned, sight, steps, volumes
from reconciler.testing.conformance.firewall import *  # noqa: F403
from reconciler.testing.conformance.forwards import *  # noqa: F403
from reconciler.testing.conformance.guard import *  # noqa: F403
from reconciler.testing.conformance.life import *  # noqa: F403
from reconciler.testing.conformance.moves import *  # noqa: F403
from reconciler.testing.conformance.planned import *  # noqa: F403
from reconciler.testing.conformance.sight import *  # noqa: F403
from reconciler.testing.conformance.steps import *  # noqa: F403
from reconciler.testing.conformance.volumes import *  # noqa: F403

_MODULES = (firewall, forwards, guard, life, moves, planned, sight, steps, volumes)
__all__ = sorted({name for module in _MODULES for name in vars(module) if name.startswith("test_")})
