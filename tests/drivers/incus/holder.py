"""Who holds a restricted certificate of a tenant, and tries what they can over HTTPS.

Owns: making a certificate, and raw calls with it. Must not go here: expectations.
"""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path
from typing import Any

import httpx


class Holder:
    """`name` is the certificate's; calls go to one project."""

    def __init__(self, folder: Path, name: str, address: str, project: str) -> None:
        key, crt = folder / f"{name}.key", folder / f"{name}.crt"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "2", "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(crt)],
            check=True, capture_output=True,
        )  # fmt: skip
        self.pem = crt.read_text()
        self.project = project
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(crt, key)
        self.client = httpx.Client(verify=context, base_url=address, timeout=30)

    def call(self, method: str, path: str, data: Any = None) -> tuple[str, Any]:
        """What went wrong, empty if nothing did, and what was answered."""
        path, _, more = path.partition("?")
        query = {"project": self.project, **dict(part.split("=") for part in more.split("&") if part)}
        said = self.client.request(method, path, params=query, json=data).json()
        if said["type"] == "error":
            return said["error"], None
        if said["type"] == "async":
            path = said["operation"].partition("?")[0] + "/wait"
            ended = self.client.get(path, params={"project": self.project, "timeout": "20"}).json()["metadata"]
            return ended["err"], ended
        return "", said["metadata"]

    def may(self, method: str, path: str, data: Any = None) -> Any:
        problem, said = self.call(method, path, data)
        assert not problem, f"{method} {path}: {problem}"
        return said

    def may_not(self, method: str, path: str, data: Any = None) -> str:
        problem, _ = self.call(method, path, data)
        assert problem, f"{method} {path} was let through"
        return problem

    def config(self, name: str) -> dict[str, str]:
        said: dict[str, str] = self.may("GET", f"/1.0/instances/{name}")["config"]
        return said

    def set(self, name: str, **config: str) -> None:
        """Keys of an instance, with `_` for a dot."""
        spelled = {key.replace("__", "."): value for key, value in config.items()}
        self.may("PATCH", f"/1.0/instances/{name}", {"config": spelled})

    def close(self) -> None:
        self.client.close()
