"""The built wheel, installed by itself, works: what the checkout has beside it does not count."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(*argv: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    ended = subprocess.run(argv, cwd=cwd, env=env, text=True, capture_output=True, timeout=170)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_the_wheel_has_drivers_schemas_and_a_command(tmp_path: Path) -> None:
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        str(ROOT),
    ]
    run(*build)
    wheel = next(tmp_path.glob("trueup-*.whl"))
    place = tmp_path / "site"
    run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(place), str(wheel))
    env = {"PYTHONPATH": str(place), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    told = run(sys.executable, str(place / "bin" / "trueup"), "--version", cwd=tmp_path, env=env)
    assert told.startswith("trueup ")
    where = "import reconciler, drivers.sim, specs; print(reconciler.__file__)"
    assert str(place) in run(sys.executable, "-c", where, cwd=tmp_path, env=env)
    assert (place / "specs" / "schemas").is_dir()
    run(sys.executable, str(place / "bin" / "trueup"), "init", "-C", str(tmp_path / "dc"), cwd=tmp_path, env=env)
