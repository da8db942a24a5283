"""A plan from nothing remembered but the journal: `python -m … SITE STATE [load] [nogc]`.

Owns: the product's own way from a commit to an ordered plan, without printing it. Must not go here: comparing.
`load`: only as far as the desired state. `nogc`: with the collector off from the start, as the limit of what care for
it can give.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
from argparse import Namespace

from reconciler import waiting
from reconciler.cli import session
from reconciler.core.rules import Request


async def main(site: str, state: str, *, load: bool) -> None:
    args = Namespace(directory=site, state=state, command="plan", revision=None, dirty=False)
    found: dict[str, int] = {}
    async with session.looking(args, plans=not load) as here:
        if load:
            found["resources"] = len((await here.desired()).resources)
        else:
            plan = (await here.prospect(Request(now=0))).plan
            found |= {"changes": len(plan.changes), "holds": len(plan.holds)}
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    cpu = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    print(json.dumps({**found, "cpu": cpu, "peak": own.ru_maxrss * 1024}))


if __name__ == "__main__":
    if "nogc" in sys.argv:
        gc.disable()
    waiting.run(main(sys.argv[1], sys.argv[2], load="load" in sys.argv))
