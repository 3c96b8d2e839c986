"""A shared secret: only for this server, never published, and not one that somebody could guess."""

import base64
import json
import os
from pathlib import Path

import jwt
import pytest
from structlog.testing import capture_logs

from extauthz.errors import SigningError
from extauthz.tokens.secret_key import SecretKeyBackend
from tests.tokens.signing import Clock, signing_keys


def openssl(size: int = 32) -> bytes:
    """The output of ``openssl rand -base64``."""
    return base64.b64encode(os.urandom(size)) + b"\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_bytes(openssl())
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("encoding", ["text", "base64"])
async def test_the_output_of_openssl_is_a_secret(file: Path, encoding: str) -> None:
    """Other libraries that read the file in the same way take the tokens."""
    keys = signing_keys(SecretKeyBackend(str(file), encoding), Clock())  # type: ignore[arg-type]
    await keys.tend()
    signed = await keys.sign({"sub": "a"})
    text = file.read_bytes().strip()
    secret = text if encoding == "text" else base64.b64decode(text)
    assert jwt.decode(signed.token, secret, algorithms=["HS256"]) == {"sub": "a"}
    assert jwt.get_unverified_header(signed.token) == {"alg": "HS256", "kid": signed.kid, "typ": "at+jwt"}
    (version,) = keys.verification_keys()
    assert version.secret == secret


async def test_it_is_never_published(file: Path) -> None:
    """Not in the JWK Set, not in a representation; its name says nothing of it."""
    keys = signing_keys(SecretKeyBackend(str(file)), Clock())
    await keys.tend()
    assert json.loads(keys.jwks()) == {"keys": []}
    secret = file.read_text().strip()
    told = repr(keys.verification_keys()) + repr(keys.state()) + repr(await keys.sign({}))
    assert secret not in told
    assert keys.verification_keys()[0].kid not in secret


async def test_its_limits_are_told_at_the_start(file: Path) -> None:
    """Once, with what to use instead; another secret in the file is told as well, since it refuses all tokens."""
    backend = SecretKeyBackend(str(file))
    with capture_logs() as logs:
        first = await backend.versions()
        await backend.versions()
        file.write_bytes(openssl())
        second = await backend.versions()
    assert [entry["event"] for entry in logs] == ["secret_key.in_use", "secret_key.replaced"]
    assert "HS256" in logs[0]["meaning"]
    assert first[0].kid != second[0].kid
    with pytest.raises(SigningError):
        await backend.sign(first[0].kid, b"a.b")


async def test_a_line_end_is_no_part_of_it(file: Path) -> None:
    """However the file ends, the key is the same; spaces count."""
    text = file.read_bytes().strip()
    kids = []
    for ending in (b"", b"\n", b"\r\n"):
        file.write_bytes(text + ending)
        kids.append((await SecretKeyBackend(str(file)).versions())[0].kid)
    assert len(set(kids)) == 1


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "0 bytes"),
        (b"\n", "0 bytes"),
        (openssl(16), "16 bytes"),
        (openssl(31), "31 bytes"),
        (b"tr0ub4dor&3", "11 bytes"),
        (b"a-string-secret-at-least-256-bits-long", "sample"),
        (b"your-256-bit-secret-your-256-bit-secret", "sample"),
        (b"a" * 44, "sample"),
        (b"0123456789abcdef0123456789abcdef0123456789ABCDEF", "sample"),
        (base64.b64encode(b"\x00" * 32), "sample"),
        (b"-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n", "public key"),
        (b'{"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}', "JWK"),
    ],
)
async def test_what_is_no_secret(file: Path, content: bytes, fault: str) -> None:
    """Too short as what it encodes, a sample, typed, or something public: refused, with how to make one."""
    file.write_bytes(content)
    with pytest.raises(SigningError, match=rf"{fault}.*openssl rand -base64 32") as caught:
        await SecretKeyBackend(str(file)).versions()
    assert not content.strip() or content.strip().decode() not in str(caught.value)


async def test_what_is_said_to_be_base64_must_be(file: Path) -> None:
    """It is not taken as text instead."""
    file.write_bytes(b"&" * 10 + os.urandom(32).hex().encode())
    with pytest.raises(SigningError, match="is not base64"):
        await SecretKeyBackend(str(file), "base64").versions()


async def test_a_secret_that_anybody_may_write_is_refused(file: Path) -> None:
    """Whoever writes it makes tokens."""
    file.chmod(0o602)
    with pytest.raises(SigningError, match="can be written by anybody"):
        await SecretKeyBackend(str(file)).versions()
