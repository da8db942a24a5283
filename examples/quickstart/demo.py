"""Tell trueup's story, on real zones of this host where it can run them, else on the simulated node.

Every line after a `$` is the command that is run. Takes under two minutes; leaves nothing behind.
`--sim` tells it on the simulated node in any case; `--keep` leaves the repository and the node for you to play with;
`--clean FOLDER` removes what that left.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TRUEUP = str(Path(sys.executable).with_name("trueup"))


class StoryBroke(Exception):
    """Something that the story promises did not happen."""


class Story:
    """A repository, a controller's state folder and the commands that are told."""

    def __init__(self, work: Path, *, colour: bool) -> None:
        self.work, self.repo, self.state = work, work / "quickstart", work / "state"
        self.colour = colour
        self.environment = {**os.environ, "TRUEUP_STATE": str(self.state)}
        self.environment["GIT_AUTHOR_NAME"] = self.environment["GIT_COMMITTER_NAME"] = "you"
        self.environment["GIT_AUTHOR_EMAIL"] = self.environment["GIT_COMMITTER_EMAIL"] = "you@example.org"

    def say(self, text: str) -> None:
        print(f"\n\033[1m# {text}\033[0m" if self.colour else f"\n# {text}", flush=True)

    def run(self, line: str, *, quiet: bool = False, expect: int = 0) -> str:
        """Run one command line in the repository and show what it says."""
        print(f"$ {line}", flush=True)
        argv = shlex.split(line)
        if argv[0] == "trueup":
            argv[0] = TRUEUP
        told = subprocess.run(
            argv, cwd=self.repo, env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        if not quiet:
            print("\n".join(f"  {each}" for each in told.stdout.splitlines()), flush=True)
        if told.returncode != expect:
            raise StoryBroke(
                f"`{line}` ended with {told.returncode}, not {expect}" + (f":\n{told.stdout}" if quiet else "")
            )
        return told.stdout

    def shell(self, line: str) -> None:
        """Something that a person does by hand, with a redirection in it."""
        print(f"$ {line}", flush=True)
        subprocess.run(["sh", "-c", line], check=True)

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.repo / name
        text = path.read_text()
        if old not in text:
            raise StoryBroke(f"{name} does not hold {old!r}")
        path.write_text(text.replace(old, new))

    def must(self, text: str, wanted: str) -> None:
        if wanted not in text:
            raise StoryBroke(f"expected to read {wanted!r}")


class Node:
    """What is read and done on the node behind trueup's back, by the node's own means."""

    def __init__(self, story: Story) -> None:
        self.story = story

    def uid(self, name: str) -> str:
        line = [TRUEUP, "get", "machine", "--json"]
        told = subprocess.run(line, cwd=self.story.repo, env=self.story.environment, capture_output=True, text=True)
        found = [each["uid"] for each in json.loads(told.stdout) if each["ref"].endswith(f"/{name}")]
        if not found:
            raise StoryBroke(f"there is no {name}")
        return str(found[0])


class Local(Node):
    """This host: control groups, ZFS, zones."""

    def __init__(self, story: Story) -> None:
        from drivers.local.place import Place

        super().__init__(story)
        self.place = Place((story.state / "local" / "here").absolute())

    def prepare(self) -> None:
        """Nothing: a node that is declared is brought up when it is first asked."""

    def answers(self) -> None:
        self.story.must(self.story.run("trueup exec shop/cache -- wget -qO- http://10.77.2.10:8080/healthz"), "ok")

    def read_back(self, name: str, memory: int) -> None:
        group = self._group(name)
        self.story.must(self.story.run(f"cat {group}"), str(memory))
        if self.place.pin.exists() and shutil.which("zfs"):
            quota = f"nsenter --mount={self.place.pin} zfs get -r -H -o name,property,value refquota"
            zone = self.uid(name)
            told = subprocess.run(shlex.split(quota), capture_output=True, text=True).stdout
            print(f"$ {quota} | grep {zone}")
            print("\n".join(f"  {line}" for line in told.splitlines() if zone in line and "@" not in line), flush=True)

    def drift(self, name: str, memory: int) -> None:
        group = self._group(name)
        self.story.shell(f"echo {memory} > {group}")

    def write(self, name: str) -> None:
        self.story.run(f"trueup exec {name} -- sh -c 'echo precious > /note'")

    def read(self, name: str) -> None:
        self.story.must(self.story.run(f"trueup exec {name} -- cat /note"), "precious")

    def leave(self) -> None:
        """Not a command of trueup's: it removes whatever there is, quarantine too."""
        import anyio

        from drivers.local import DRIVER
        from reconciler.core.desired import NodeWant

        driver = DRIVER.open(NodeWant("here", "local", ""), {"state": str(self.story.state)})
        anyio.run(driver.tear_down)

    def _group(self, name: str) -> Path:
        """The file that holds the memory cap, of cgroup v1 or v2."""
        zone = self.uid(name)
        root = Path("/sys/fs/cgroup")
        places = (
            root / "memory" / self.place.cgroup / zone / "memory.limit_in_bytes",
            root / self.place.cgroup / zone / "memory.max",
        )
        for path in places:
            if path.exists():
                return path
        raise StoryBroke(f"no control group of {name} was found")


class Simulated(Node):
    """The same story where zones cannot run."""

    def prepare(self) -> None:
        fleet = self.story.work / "fleet.db"
        self.story.edit("nodes.yaml", "driver: local ", f"driver: sim\n  address: sim:{fleet} ")
        self.story.run(f"trueup sim --fleet {fleet} add-node here --memory 8Gi --cpu 2 --disk 40Gi")
        self.fleet = fleet

    def answers(self) -> None:
        self.story.say("(a simulated machine has no network to answer on)")

    def read_back(self, name: str, memory: int) -> None:
        told = self.story.run(f"trueup sim --fleet {self.fleet} list here --json", quiet=True)
        self.story.must(told, str(memory))

    def drift(self, name: str, memory: int) -> None:
        self.story.run(f"trueup sim --fleet {self.fleet} drift Machine/{name} memory={memory // 2**20}Mi --by somebody")

    def write(self, name: str) -> None:
        """A simulated machine keeps no files."""

    def read(self, name: str) -> None:
        """See `write`."""

    def leave(self) -> None:
        """The fleet is a file in the work folder."""


def tell(story: Story, node: Node) -> None:
    """The story itself."""
    story.say("A repository of specs: one node, two networks, three packages, one image, eight machines.")
    node.prepare()
    story.run("git init -q -b main .")
    story.run("git add -A")
    story.run("git commit -q -m 'What we want'")
    story.run("trueup validate")

    story.say("What would happen? Read it, then let exactly that happen.")
    page = story.run("trueup plan")
    story.run(f"trueup apply {digest_of(page)} --yes")
    story.run("trueup get machine")
    node.answers()

    story.say("A commit resizes a package: every machine of that size grows, live.")
    story.edit("packages.yaml", "memory: 64Mi", "memory: 96Mi")
    story.run("git commit -q -a -m 'xs grows to 96Mi'")
    page = story.run("trueup plan")
    story.run(f"trueup apply {digest_of(page)} --yes")
    node.read_back("shop/web-1", 96 * 2**20)

    story.say("Somebody changes a zone by hand. Git knows nothing of it; trueup sees it, and puts it back.")
    node.drift("shop/web-2", 48 * 2**20)
    story.must(story.run("trueup drift"), "48Mi")
    story.run("trueup heal shop/web-2 --yes")
    node.read_back("shop/web-2", 96 * 2**20)

    story.say("A commit removes a machine that holds data. It goes to quarantine, not to nowhere.")
    node.write("shop/cache")
    story.edit("tenants/shop/db.yaml", CACHE, "")
    story.run("git commit -q -a -m 'No cache any more'")
    page = story.run("trueup plan")
    story.must(page, "destroyed")
    story.run(f"trueup apply {digest_of(page)} --yes")

    story.say("That was a mistake. `git revert` brings the same machine back, with its data.")
    story.run("git revert --no-edit HEAD", quiet=True)
    page = story.run("trueup plan")
    story.run(f"trueup apply {digest_of(page)} --yes")
    node.read("shop/cache")
    story.must(story.run("trueup plan"), "Nothing to do")


CACHE = """---
apiVersion: trueup/v1
kind: Machine
metadata: {name: cache, tags: {role: cache}}
spec: {nics: [back]}
"""


def digest_of(page: str) -> str:
    """The plan's own name, as its page tells it."""
    found = re.search(r"^plan ([0-9a-f]{8})", page, re.MULTILINE)
    if found is None:
        raise StoryBroke("the plan has no digest")
    return found[1]


def why_not_real() -> str | None:
    from drivers.local import unusable

    return unusable()


def clean(work: Path) -> int:
    """Remove what `--keep` left: the node, the repository, the state folder."""
    story = Story(work, colour=False)
    if not story.repo.is_dir() or not story.state.is_dir():
        print(f"{work} holds no kept story", file=sys.stderr)
        return 1
    node: Node = Local(story) if (story.state / "local").is_dir() else Simulated(story)
    node.leave()
    shutil.rmtree(work)
    print(f"{work} is gone, and all that ran there.")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sim", action="store_true", help="tell it on the simulated node")
    parser.add_argument("--keep", action="store_true", help="leave repository and node behind")
    parser.add_argument("--clean", metavar="FOLDER", help="remove what --keep left in FOLDER")
    asked = parser.parse_args()
    if asked.clean:
        return clean(Path(asked.clean).absolute())
    why = "asked for" if asked.sim else why_not_real()
    began = time.monotonic()
    # Sockets and mounts live beneath it, and their paths must be short.
    work = Path(tempfile.mkdtemp(prefix="trueup-demo-"))
    story = Story(work, colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ)
    shutil.copytree(HERE, story.repo, ignore=shutil.ignore_patterns("demo.py", "__pycache__", "*.txt"))
    node: Node = Local(story) if why is None else Simulated(story)
    if why is not None:
        story.say(f"On the simulated node ({why}).")
    code = 0
    try:
        tell(story, node)
    except StoryBroke as broke:
        print(f"\nThe story broke: {broke}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        code = 130
    if asked.keep:
        story.say(f"Left for you: cd {story.repo}; export TRUEUP_STATE={story.state} PATH={Path(TRUEUP).parent}:$PATH")
        story.say(f"When you have seen enough: {sys.executable} {Path(__file__).resolve()} --clean {work}")
        return code
    story.say("Clean up: zones, pool, bridges, everything.")
    node.leave()
    shutil.rmtree(work)
    if code == 0:
        print(NEXT.format(seconds=time.monotonic() - began), flush=True)
    return code


NEXT = """
That was all of it, in {seconds:.0f} s; nothing is left behind. What to try next:
  .venv/bin/trueup init ~/dc    a repository of your own, then follow what it says
  .venv/bin/trueup run          in such a repository, the loop: it follows git and heals drift by itself
  .venv/bin/python examples/quickstart/demo.py --keep   the same story, left running for you to break
  docs/getting-started/quickstart.md   the same by hand, step by step"""


if __name__ == "__main__":
    sys.exit(main())
