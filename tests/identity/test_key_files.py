"""Keys that are local: inline, in files that change, and secrets (docs/security.md T20, T27)."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from extauthz.errors import KeySetError
from extauthz.identity import Authenticator, FileKeys, InlineKeys, SecretFile
from tests.identity.issuer import (
    OTHER_RSA_KEY,
    RSA_KEY,
    SECRET,
    Clock,
    authenticator,
    bearer,
    jwk,
    jwks,
    mint,
    provider,
    settle,
    word,
)

OLD = json.dumps(jwks(jwk(RSA_KEY, "k1")))
NEW = json.dumps(jwks(jwk(OTHER_RSA_KEY, "k2")))
OLD_TOKEN = mint()
NEW_TOKEN = mint(key=OTHER_RSA_KEY, header={"kid": "k2"})


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def look(clock: Clock) -> None:
    """Let the file be looked at once."""
    await clock.advance(2)
    for _ in range(200):
        await asyncio.sleep(0.002)
        if clock._sleepers:
            return
    pytest.fail("the file was not looked at")


def with_file(path: Path, clock: Clock) -> Authenticator:
    return authenticator(provider(keys=FileKeys(str(path))), now=clock.now, sleep=clock.sleep)


async def verdicts(subject: Authenticator) -> list[str]:
    return [word(subject.authenticate(bearer(token))) for token in (OLD_TOKEN, NEW_TOKEN)]


async def test_a_file_is_read_again_when_it_changes(tmp_path: Path, clock: Clock) -> None:
    """T57: keys of a changed file are in force after the next look, 2 s later at most; nobody waits for files."""
    path = tmp_path / "jwks.json"
    path.write_text(OLD)
    subject = with_file(path, clock)
    assert subject.started()
    task = asyncio.create_task(subject.run())
    await settle()
    assert await verdicts(subject) == ["identity", "key-unknown"]
    path.write_text(NEW)
    await look(clock)
    assert await verdicts(subject) == ["key-unknown", "identity"]
    task.cancel()


async def test_a_broken_file_changes_nothing(tmp_path: Path, clock: Clock) -> None:
    """T56: half a file, and no file, keep the keys in force, and the state says what is wrong."""
    path = tmp_path / "jwks.json"
    path.write_text(OLD)
    subject = with_file(path, clock)
    task = asyncio.create_task(subject.run())
    await settle()
    path.write_text(NEW[:50])
    await look(clock)
    assert await verdicts(subject) == ["identity", "key-unknown"]
    assert subject.states()[0].error == f"{path}: the key set is not JSON"
    path.unlink()
    await look(clock)
    assert await verdicts(subject) == ["identity", "key-unknown"]
    assert "No such file" in subject.states()[0].error
    path.write_text(NEW)
    await look(clock)
    assert await verdicts(subject) == ["key-unknown", "identity"]
    assert subject.states()[0].error == ""
    task.cancel()


async def test_a_swapped_link_is_a_changed_file(tmp_path: Path, clock: Clock) -> None:
    """Kubernetes replaces a ConfigMap by swapping the link ``..data``; the path itself never changes."""
    for name, content in (("one", OLD), ("two", NEW)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "jwks.json").write_text(content)
        os.utime(tmp_path / name / "jwks.json", (1, 1))
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "jwks.json").symlink_to("..data/jwks.json")
    subject = with_file(tmp_path / "jwks.json", clock)
    task = asyncio.create_task(subject.run())
    await settle()
    (tmp_path / "..data_tmp").symlink_to("two")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    await look(clock)
    assert await verdicts(subject) == ["key-unknown", "identity"]
    task.cancel()


async def test_a_secret_is_read_again_when_it_changes(tmp_path: Path, clock: Clock) -> None:
    """T57: a rotated secret is in force after the next look."""
    path = tmp_path / "secret"
    path.write_bytes(SECRET)
    hs = {"keys": SecretFile(str(path)), "algorithms": frozenset({"HS256"})}
    subject = authenticator(provider(**hs), now=clock.now, sleep=clock.sleep)
    task = asyncio.create_task(subject.run())
    await settle()
    path.write_bytes(SECRET[::-1])
    await look(clock)
    old = mint(key=SECRET, header={"alg": "HS256"})
    new = mint(key=SECRET[::-1], header={"alg": "HS256"})
    assert word(subject.authenticate(bearer(old))) == "signature-invalid"
    assert word(subject.authenticate(bearer(new))) == "identity"
    task.cancel()


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "No such file"), (b"{}", "no list of keys"), (b"x" * (1 << 20) + b"x", "larger than"), (b"\xff", "UTF-8")],
)
def test_a_wrong_file_stops_the_start(tmp_path: Path, content: bytes | None, message: str) -> None:
    """Local keys that can't be used are told at once, with their path."""
    path = tmp_path / "jwks.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(KeySetError, match=message) as caught:
        authenticator(provider(keys=FileKeys(str(path))))
    assert str(path) in str(caught.value)
    assert "corporate" in str(caught.value)


def test_a_weak_secret_stops_the_start_and_is_not_shown(tmp_path: Path) -> None:
    """T20: a short secret is refused; the error names the file and nothing in it."""
    path = tmp_path / "secret"
    path.write_bytes(b"hunter2\n")
    with pytest.raises(KeySetError, match="7 bytes") as caught:
        authenticator(provider(keys=SecretFile(str(path)), algorithms=frozenset({"HS256"})))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("keys", [{}, {"keys": []}, {"keys": [jwk(SECRET)]}, {"keys": [jwk(RSA_KEY, use="enc")]}])
def test_wrong_inline_keys_stop_the_start(keys: Any) -> None:
    """T16, T27: what is wrong in a fetched set is wrong in the configuration too."""
    with pytest.raises(KeySetError, match="corporate"):
        authenticator(provider(keys=InlineKeys(keys)))


def test_inline_keys_are_always_current() -> None:
    """They are part of the configuration: there is nothing that could grow old."""
    state = authenticator().states()[0]
    assert (state.name, state.usable, state.age_seconds, state.error) == ("corporate", True, 0.0, "")
