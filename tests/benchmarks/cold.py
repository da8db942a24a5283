"""A plan from nothing remembered but the journal: `python -m … SITE STATE [load]`.

Owns: the product's own way from a commit to an ordered plan, begun and ended as `trueup plan` is, without printing it
or laying it down for the next one. Must not go here: comparing.
`load`: only as far as the desired state.
"""

from __future__ import annotations

import sys
from argparse import Namespace

from reconciler.cli import main as cli


async def _planned(args: Namespace) -> int:
    import json
    import resource

    from reconciler.cli import session
    from reconciler.core.rules import Request

    found: dict[str, int] = {}
    async with session.looking(args, plans=not args.load) as here:
        if args.load:
            found["resources"] = len((await here.desired()).resources)
        else:
            plan = (await here.prospect(Request(now=0))).plan
            found |= {"changes": len(plan.changes), "holds": len(plan.holds)}
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    cpu = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    print(json.dumps({**found, "cpu": cpu, "peak": own.ru_maxrss * 1024}))
    return 0


def command(args: Namespace) -> int:
    from reconciler.cli.running import run

    return run(_planned, args)


def main() -> int:
    """In place of `main` of the command: what it was told is known, all else is its own way."""
    site, state, *words = sys.argv[1:]
    args = Namespace(directory=site, state=state, command="plan", revision=None, dirty=False, load="load" in words)
    args.run = f"tests.benchmarks.cold:{command.__name__}"
    code = cli._command(args)(args)
    sys.stdout.flush()
    return code


if __name__ == "__main__":
    cli.process(main)
