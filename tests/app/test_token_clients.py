"""Clients of the configuration, with the secrets and keys that their files hold."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from extauthz.app import token_clients
from extauthz.app.token_clients import ClientFiles
from extauthz.config import Tokens
from extauthz.errors import ConfigError
from extauthz.identity import ClientAssertions
from extauthz.tokens.client_authentication import secret_digest
from extauthz.tokens.clients import Client
from tests.tokens.parts import public_jwk

SECRET = "kq3v0Zc1eX9Jm2pVtYw8uB7nR5aLdQfG"


def files(folder: Path, *clients: Mapping[str, object]) -> ClientFiles:
    """The clients, with paths below a folder."""
    written = {"issuer": "https://auth.example.com", "audiences": ["orders"], "clients": list(clients)}
    tokens = Tokens.model_validate(written, context={"folder": folder})
    return ClientFiles(tokens, ClientAssertions(frozenset({"ES256"})))


def test_what_is_written_is_what_a_client_may_have(tmp_path: Path) -> None:
    """All of it, and grants as OAuth writes them."""
    (tmp_path / "a").write_text(SECRET + "\n")
    (tmp_path / "b").write_text("x" * 27)
    jwks = {"keys": [public_jwk(generate_private_key(SECP256R1()), "k")]}
    (tmp_path / "keys").write_text(json.dumps(jwks))
    read = files(
        tmp_path,
        {
            "id": "one",
            "secretFiles": ["a", "b"],
            "scopes": ["r", "w", "r"],
            "roles": ["user"],
            "refresh": True,
            "renew": True,
        },
        {
            "id": "two",
            "jwksFile": "keys",
            "exchange": {"providers": ["p"], "mayGrant": ["user"]},
            "audiences": ["x", "y"],
        },
        {"id": "three", "certificateSubject": "spiffe://x/y", "lifetime": "1m", "mayIntrospect": True},
        {"id": "four", "secretFile": "a", "secretIn": "form"},
    ).read()
    one, two, three, four = (read[name] for name in ("one", "two", "three", "four"))
    assert one.secret_digests == (secret_digest(SECRET), secret_digest("x" * 27))
    assert (one.scopes, one.audiences) == (("r", "w"), ("orders",))
    assert one.grants == {"client_credentials", "refresh_token"}
    assert (two.authentication, two.public_keys, two.audiences) == ("private_key_jwt", jwks, ("x", "y"))
    assert two.grants == {"urn:ietf:params:oauth:grant-type:token-exchange"}
    assert two.exchange is not None
    assert two.exchange.providers == {"p"}
    assert two.exchange.may_grant == frozenset({"user"})
    assert (three.authentication, three.certificate_subject, three.lifetime) == ("tls_client_auth", "spiffe://x/y", 60)
    assert (three.may_introspect, one.may_introspect) == (True, False)
    assert (one.authentication, four.authentication) == ("client_secret_basic", "client_secret_post")
    assert SECRET not in repr(read)


@pytest.mark.parametrize(
    "content", [b"", b"short", b"x" * 26, b"x" * 2000, b"\xff" * 40, b"two\nlines" * 10, b"\x00" * 40]
)
def test_secrets_that_are_none(tmp_path: Path, content: bytes) -> None:
    """Too short to be digested but once, or no line of text; the message holds nothing of it."""
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ConfigError, match="does not hold one line of 27 to 1024 characters") as caught:
        files(tmp_path, {"id": "one", "secretFile": "a"}).read()
    assert b"short" not in str(caught.value).encode()


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    """Missing files, and sets without a key that can be used: a symmetric one is published, and so is none."""
    (tmp_path / "keys").write_text('{"keys": [{"kty": "oct", "k": "AAAA"}]}')
    with pytest.raises(ConfigError) as caught:
        files(tmp_path, {"id": "one", "secretFile": "gone"}, {"id": "two", "jwksFile": "keys"}).read()
    assert [problem.where.file for problem in caught.value.problems] == [str(tmp_path / "gone"), str(tmp_path / "keys")]


async def test_files_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change is handed on; a broken file changes nothing, and is told until it is mended."""
    monkeypatch.setattr(token_clients, "_LOOK", 0.01)
    path = tmp_path / "a"
    path.write_text(SECRET)
    seen: asyncio.Queue[Mapping[str, Client]] = asyncio.Queue()
    clients = files(tmp_path, {"id": "one", "secretFile": "a"})
    clients.read()
    task = asyncio.create_task(clients.run(seen.put_nowait))
    path.write_text("n" * 40)
    assert (await seen.get())["one"].secret_digests == (secret_digest("n" * 40),)
    path.write_text("short")
    while not clients.error:  # noqa: ASYNC110 - what is waited for is seen by polling
        await asyncio.sleep(0.01)
    assert seen.empty()
    path.write_text("m" * 41)
    assert (await seen.get())["one"].secret_digests == (secret_digest("m" * 41),)
    assert clients.error == ""
    task.cancel()


def test_a_file_that_anybody_may_write_is_nobodys_proof(tmp_path: Path) -> None:
    """Whoever writes it is the client (X5). To be read by all is how Kubernetes mounts Secrets, and allowed."""
    (tmp_path / "a").write_text(SECRET)
    (tmp_path / "a").chmod(0o644)
    assert files(tmp_path, {"id": "one", "secretFile": "a"}).read()
    (tmp_path / "a").chmod(0o646)
    with pytest.raises(ConfigError, match=r"can be written by anybody \(-rw-r--rw-\)") as caught:
        files(tmp_path, {"id": "one", "secretFile": "a"}).read()
    assert SECRET not in str(caught.value)
