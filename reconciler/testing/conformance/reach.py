"""Who gets a connection to whom, asked from within the machines of a rehearsal.

Owns: asking. Must not go here: what should be reached.
"""

from __future__ import annotations

from reconciler.core.observed import Object
from reconciler.core.refs import Ref, kind_of
from reconciler.testing.harness import Harness
from reconciler.testing.rehearsal import Rehearsal


class Reach:
    """Who gets a connection to whom, asked from within the machines themselves."""

    def __init__(self, harness: Harness, rehearsal: Rehearsal) -> None:
        self.harness, self.rehearsal = harness, rehearsal

    async def thing(self, ref: Ref) -> Object:
        """A machine wherever it was placed; of what each target has one of its own, the harness's."""
        everywhere = kind_of(ref) == "Machine"
        reports = [each for each in await self.rehearsal.observe() if everywhere or each.target == self.harness.target]
        objects = [thing for report in reports for thing in report.objects]
        (found,) = [thing for thing in objects if thing.marks is not None and thing.marks.ref == ref]
        return found

    async def listen(self, ref: Ref, *ports: int) -> bool:
        script = "; ".join(f"httpd -p {port}" for port in ports)
        return await self.harness.hand_shell(await self.thing(ref), script) is not None

    async def got(self, source: Ref, *asked: tuple[Ref | str, int]) -> list[bool]:
        """For each machine (or address) and port whether there is a connection; all are asked at once, since silence
        takes time, and again where there was none, since a busy host may take longer than a second."""
        lines = []
        for number, (to, port) in enumerate(asked):
            ip = await self._address(Ref(to)) if "/" in to else to
            once = f"echo | nc -w $within {ip} {port} >/dev/null 2>&1 && echo {number} && break"
            lines.append(f"(for within in 1 3; do {once}; done) &")
        said = await self.harness.hand_shell(await self.thing(source), "\n".join([*lines, "wait"]))
        return [str(number) in (said or "").split() for number in range(len(asked))]

    async def bears(self, ref: Ref) -> bool | None:
        """Whether a machine comes by the address that it was given; None if nobody can tell."""
        address = await self._address(ref)
        script = f"for i in $(seq 100); do ip -4 -o addr | grep -q ' {address}/' && echo yes && exit; sleep 0.1; done"
        said = await self.harness.hand_shell(await self.thing(ref), script)
        return None if said is None else "yes" in said

    async def _address(self, ref: Ref) -> str:
        (nic,) = (await self.thing(ref)).fields["nics"].values()
        return str(nic["ip"]).partition("/")[0]
