"""The tree that `trueup init` writes, in the language server that editors use: it validates, completes and explains.

Long: the server (npm's `yaml-language-server`) is installed for the run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli.main import main

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


class Editor:
    """Speaks the language server protocol over standard streams: one question, one answer."""

    def __init__(self, server: Path, root: Path) -> None:
        self.root = root
        self._process = subprocess.Popen(
            ["node", str(server), "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root
        )
        self._number = 0
        folders = [{"uri": root.as_uri(), "name": root.name}]
        self.ask("initialize", {"processId": os.getpid(), "rootUri": root.as_uri(), "workspaceFolders": folders,
                                "capabilities": {"workspace": {"configuration": True}}})  # fmt: skip
        self._send({"method": "initialized", "params": {}})

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, method: str, params: dict[str, Any]) -> Any:
        self._number += 1
        number = self._number
        self._send({"id": number, "method": method, "params": params})
        return self._until(lambda said: said.get("id") == number and "method" not in said)["result"]

    def mistakes(self, file: str, text: str) -> list[tuple[int, str]]:
        """What is marked in a file with this text: lines from 1, and what is said there."""
        uri = (self.root / file).as_uri()
        document = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
        self._send({"method": "textDocument/didOpen", "params": {"textDocument": document}})
        published = "textDocument/publishDiagnostics"
        told = self._until(lambda said: said.get("method") == published and said["params"]["uri"] == uri)
        return [(each["range"]["start"]["line"] + 1, each["message"]) for each in told["params"]["diagnostics"]]

    def at(self, file: str, line: int, column: int) -> dict[str, Any]:
        """Where the cursor is, from 1."""
        place = {"line": line - 1, "character": column - 1}
        return {"textDocument": {"uri": (self.root / file).as_uri()}, "position": place}

    def _until(self, wanted: Any) -> dict[str, Any]:
        while True:
            said = self._receive()
            if "method" in said and "id" in said:
                asked = said["params"]["items"] if said["method"] == "workspace/configuration" else []
                answer = [{"validate": True, "completion": True, "hover": True} for _ in asked] or None
                self._send({"id": said["id"], "result": answer})
            elif wanted(said):
                return said

    def _send(self, said: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **said}).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self._process.stdin.flush()

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        length = 0
        while (line := self._process.stdout.readline().strip()) or not length:
            assert line or self._process.poll() is None, "the language server ended"
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        said: dict[str, Any] = json.loads(self._process.stdout.read(length))
        return said


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("npm") is None:
        pytest.skip("NOT RUN: there is no npm here")
    folder = tmp_path_factory.mktemp("npm")
    subprocess.run(["npm", "install", "--silent", "yaml-language-server@1"], cwd=folder, check=True, timeout=240)
    return folder / "node_modules" / ".bin" / "yaml-language-server"


@pytest.fixture
def editor(server: Path, tmp_path: Path) -> Iterator[Editor]:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert main(["-C", str(tmp_path), "init"]) == 0
    opened = Editor(server, tmp_path)
    yield opened
    opened.close()


def test_an_editor_validates_completes_and_explains(editor: Editor) -> None:
    files = sorted(path.relative_to(editor.root) for path in editor.root.rglob("*.yaml"))
    assert len(files) == 8
    for file in files:
        assert editor.mistakes(str(file), (editor.root / file).read_text()) == []
    text = (editor.root / "packages.yaml").read_text()
    line = next(number for number, each in enumerate(text.splitlines(), 1) if "memory:" in each)
    assert editor.mistakes("wrong.yaml", text.replace("memory:", "memry:", 1)) == [
        (line, "Property memry is not allowed.")
    ]
    first = (editor.root / "tenants/first/machines.yaml").read_text().splitlines()[0]
    new = f"{first}\napiVersion: trueup/v1\nkind: Machine\nmetadata: {{name: a}}\nspec:\n  image: x\n  \n"
    editor.mistakes("tenants/first/new.yaml", new)
    offered = editor.ask("textDocument/completion", editor.at("tenants/first/new.yaml", 7, 3))["items"]
    assert {"package", "nics", "disks", "ready"} <= {each["label"] for each in offered}
    explained = editor.ask("textDocument/hover", editor.at("tenants/first/new.yaml", 6, 5))["contents"]["value"]
    assert "An Image" in explained
