"""A repository and a controller's state folder, used as people do: git and the command line.

Owns: running both, and the example cut down to one host. Must not go here: what else stands in a repository.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

TRUEUP = str(Path(sys.executable).with_name("trueup"))
EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "incus-cluster"
_NODE = """\
apiVersion: trueup/v1
kind: Node
metadata: {name: inc}
spec: {driver: incus, address: "unix:%s", storage: {pool: local}, nics: {front: none}}
"""
_MACHINE = """\
apiVersion: trueup/v1
kind: Machine
metadata: {name: web}
spec: {}
"""


class Desk:
    """`repo`, empty at first, and the state beside it."""

    def __init__(self, folder: Path) -> None:
        self.repo = folder / "dc"
        self.environment = {**os.environ, "TRUEUP_STATE": str(folder / "state"), "NO_COLOR": "1"}
        self.repo.mkdir()
        self.git("init", "-q", "-b", "main")

    def write(self, name: str, text: str) -> None:
        path = self.repo / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def edit(self, name: str, before: str, after: str) -> None:
        path = self.repo / name
        assert before in path.read_text()
        path.write_text(path.read_text().replace(before, after))

    def git(self, *args: str) -> None:
        who = ["-c", "user.name=you", "-c", "user.email=you@example.org"]
        subprocess.run(["git", *who, *args], cwd=self.repo, check=True, capture_output=True)

    def commit(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)

    def trueup(self, *args: str, code: int = 0, patience: float = 120) -> str:
        """Its output; `patience` in seconds. Raises AssertionError if it ends with another code."""
        done = subprocess.run(
            [TRUEUP, "-C", str(self.repo), *args],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=patience,
            check=False,
        )
        assert done.returncode == code, f"trueup {' '.join(args)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def one_host(folder: Path, socket: str | Path) -> Desk:
    """The example with one host and one machine, `web`."""
    desk = Desk(folder)
    shutil.copytree(EXAMPLE, desk.repo, dirs_exist_ok=True)
    desk.write("nodes.yaml", _NODE % socket)
    tenant = (desk.repo / "shop" / "machines.yaml").read_text().partition("---")[0]
    desk.write("shop/machines.yaml", f"{tenant}---\n{_MACHINE}")
    desk.commit("begin")
    return desk
