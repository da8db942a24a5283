"""A repository behind a real sshd: read with the right key, and each way in which ssh says no is one sentence."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from reconciler.edge.git import CommitTree
from reconciler.edge.git.mirror import Mirror
from reconciler.errors import SourceUnreadable

Clone = Any
SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
pytestmark = [pytest.mark.real, pytest.mark.skipif(SSHD is None, reason="there is no sshd here")]


class Server(NamedTuple):
    port: int
    folder: Path
    """Its keys: `user` may come in, `stranger` may not; `known` has the host's key, `other` another one."""

    def url(self, path: Path) -> str:
        return f"ssh://127.0.0.1:{self.port}{path}"

    def ssh(self, *, key: str = "user", known: str = "known") -> str:
        """What GIT_SSH_COMMAND is set to."""
        options = {"IdentitiesOnly": "yes", "UserKnownHostsFile": str(self.folder / known), "ConnectTimeout": "10"}
        return f"ssh -F none -i {self.folder / key} " + " ".join(f"-o {key}={value}" for key, value in options.items())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("sshd")
    for name in ("host", "user", "stranger"):
        subprocess.run(["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "authorized").write_bytes((folder / "user.pub").read_bytes())
    for known, key in (("known", "host"), ("other", "stranger")):
        (folder / known).write_text(f"[127.0.0.1]:{port} " + (folder / f"{key}.pub").read_text())
    (folder / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        f"PidFile {folder}/pid\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    assert SSHD is not None
    daemon = subprocess.Popen([SSHD, "-D", "-f", str(folder / "config"), "-E", str(folder / "log")])
    try:
        _answers(port, daemon)
        yield Server(port, folder)
    finally:
        daemon.terminate()
        daemon.wait(timeout=10)


def _answers(port: int, daemon: subprocess.Popen[bytes]) -> None:
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert daemon.poll() is None, "sshd ended"
        time.sleep(0.05)
    raise AssertionError("sshd does not listen")


def test_a_repository_is_followed_over_ssh(
    server: Server, clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", server.ssh())
    clone.commit({"a.yaml": "a"})
    mirror = Mirror(server.url(clone.path), tmp_path / "mirrors")
    mirror.fetch().close()
    second = clone.commit({"b.yaml": "b"})
    with mirror.fetch() as repository:
        revision = repository.revision(None, ref="main")
        assert revision.commit == second
        assert {path for path, _ in CommitTree(mirror.path, revision.tree).entries()} == {"a.yaml", "b.yaml"}


@pytest.mark.parametrize(
    ("ways", "gone", "told"),
    [
        ({"key": "stranger"}, False, "it does not let us in"),
        ({"known": "nothing"}, False, "its host key is not known"),
        ({"known": "other"}, False, "its host shows another key than the known one"),
        ({}, True, "there is no such repository"),
    ],
)
def test_each_way_to_be_refused_is_one_sentence_and_the_mirror_keeps_what_it_had(
    server: Server,
    clone: Clone,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ways: dict[str, str],
    gone: bool,
    told: str,
) -> None:
    commit = clone.commit({"a.yaml": "a"})
    mirror = Mirror(server.url(clone.path), tmp_path / "mirrors")
    monkeypatch.setenv("GIT_SSH_COMMAND", server.ssh())
    mirror.fetch().close()
    monkeypatch.setenv("GIT_SSH_COMMAND", server.ssh(**ways))
    if gone:
        clone.path.rename(clone.path.with_name("moved"))
    with pytest.raises(SourceUnreadable, match=told):
        mirror.fetch()
    with mirror.open() as repository:
        assert repository.revision(None, ref="main").commit == commit


def test_a_server_that_ends_the_connection_at_once_is_told(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", server.ssh())
    with socket.create_server(("127.0.0.1", 0)) as rude:
        threading.Thread(target=lambda: rude.accept()[0].close(), daemon=True).start()
        with pytest.raises(SourceUnreadable, match="ended the connection"):
            Mirror(f"ssh://127.0.0.1:{rude.getsockname()[1]}/dc.git", tmp_path).fetch()
