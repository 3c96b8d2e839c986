"""``KeyBackend`` over the key-value engine, against a real OpenBao."""

import asyncio
import json
from collections.abc import Callable

import pytest

from extauthz.errors import AlreadyRotatedError, KeysWentBackError, SigningError
from extauthz.tokens.public_key import is_by, read_jwk
from extauthz.vault import KvKeys, Vault
from tests.vault.openbao import OpenBao

NewKeys = Callable[[], KvKeys]


@pytest.fixture
def mount(bao: OpenBao) -> str:
    return bao.mount("kv", version="2")


@pytest.fixture
def new_keys(vault: Vault, mount: str) -> NewKeys:
    """Each is one replica."""
    return lambda: KvKeys(vault, f"{mount}/auth/signing-keys")


@pytest.fixture
def keys(new_keys: NewKeys) -> KvKeys:
    return new_keys()


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "RS256", "PS256"])
async def test_replicas_sign_with_the_same_key(new_keys: NewKeys, algorithm: str) -> None:
    """One makes it, another one signs with it; only the public half is told."""
    made = await new_keys().add(algorithm, newest=None, created=7.0)
    other = new_keys()
    [seen] = await other.versions()
    assert seen == made
    assert seen.created == 7.0
    assert seen.public is not None
    assert set(seen.public) <= {"kty", "crv", "x", "y", "n", "e", "kid", "alg", "use"}
    signature = await other.sign(made.kid, b"x")
    assert is_by(read_jwk(seen.public), algorithm, b"x", signature)
    assert not is_by(read_jwk(seen.public), algorithm, b"y", signature)


async def test_two_replicas_rotate_once(new_keys: NewKeys) -> None:
    """K5: they read the same and write at the same time; one is told that it was done."""
    first = await new_keys().add("ES256", newest=None, created=1.0)
    replicas = [new_keys() for _ in range(6)]
    done = await asyncio.gather(
        *(one.add("ES256", newest=first.kid, created=2.0) for one in replicas), return_exceptions=True
    )
    assert sum(not isinstance(result, BaseException) for result in done) == 1
    assert sum(isinstance(result, AlreadyRotatedError) for result in done) == 5
    assert len(await replicas[0].versions()) == 2


async def test_a_removed_key_is_nowhere(keys: KvKeys, bao: OpenBao, mount: str) -> None:
    """Those that are older go with it, and Vault's older versions of the secret hold it no more."""
    first = await keys.add("ES256", newest=None, created=1.0)
    second = await keys.add("ES256", newest=first.kid, created=2.0)
    third = await keys.add("ES256", newest=second.kid, created=3.0)
    await keys.remove(second.kid)
    assert [version.kid for version in await keys.versions()] == [third.kid]
    with pytest.raises(SigningError, match="has no key"):
        await keys.sign(first.kid, b"x")
    versions = bao.api("GET", f"{mount}/metadata/auth/signing-keys")["data"]["versions"]
    assert [version["destroyed"] for _, version in sorted(versions.items())] == [True, True, True, False]


async def test_keys_that_come_back_from_a_backup_sign_nothing(keys: KvKeys, bao: OpenBao, mount: str) -> None:
    """K15, K18: the secret has an older version than was seen. Nothing is signed, until it is past that."""
    first = await keys.add("ES256", newest=None, created=1.0)
    await keys.add("ES256", newest=first.kid, created=2.0)
    old = bao.api("GET", f"{mount}/data/auth/signing-keys?version=1")["data"]["data"]
    bao.api("DELETE", f"{mount}/metadata/auth/signing-keys")
    bao.api("POST", f"{mount}/data/auth/signing-keys", {"data": old})
    with pytest.raises(KeysWentBackError, match="went back from version 2 to 1"):
        await keys.versions()
    with pytest.raises(KeysWentBackError, match="went back"):
        await keys.sign(first.kid, b"x")
    bao.api("POST", f"{mount}/data/auth/signing-keys", {"data": old})
    assert [version.kid for version in await keys.versions()] == [first.kid]


async def test_what_an_operator_deletes_is_gone(keys: KvKeys, bao: OpenBao, mount: str) -> None:
    """It is seen, and the next key begins anew, after the deleted version."""
    first = await keys.add("ES256", newest=None, created=1.0)
    bao.api("DELETE", f"{mount}/data/auth/signing-keys")
    assert await keys.versions() == []
    second = await keys.add("ES256", newest=None, created=2.0)
    assert [version.kid for version in await keys.versions()] == [second.kid]
    assert second.kid != first.kid


@pytest.mark.parametrize(
    "data",
    [
        {"keys": [{"kid": "x"}]},
        {"keys": [{"kid": "x", "algorithm": "ES256", "created": 1, "privateKey": "hunter2"}]},
        {"keys": "hunter2"},
    ],
)
async def test_what_is_no_key_is_told_without_it(keys: KvKeys, bao: OpenBao, mount: str, data: object) -> None:
    """Somebody wrote something else there."""
    bao.api("POST", f"{mount}/data/auth/signing-keys", {"data": data})
    with pytest.raises(SigningError, match="not a list of signing keys") as caught:
        await keys.versions()
    assert "hunter2" not in str(caught.value)


async def test_a_kid_is_its_own_keys(keys: KvKeys, bao: OpenBao, mount: str) -> None:
    """A key under another one's name would sign for it."""
    await keys.add("ES256", newest=None, created=1.0)
    other = json.loads(json.dumps(bao.api("GET", f"{mount}/data/auth/signing-keys")["data"]["data"]))
    other["keys"][0]["kid"] = "another"
    bao.api("POST", f"{mount}/data/auth/signing-keys", {"data": other})
    with pytest.raises(SigningError, match="not a list of signing keys"):
        await keys.versions()


async def test_private_keys_are_in_no_text(keys: KvKeys) -> None:
    """X1: whoever prints the backend or a key sees none."""
    await keys.add("RS256", newest=None, created=1.0)
    shown = f"{keys._keys!r} {vars(keys)!r} {await keys.versions()!r}"
    assert "PRIVATE" not in shown
    assert "RSAPrivateKey" not in shown


async def test_version_one_of_the_engine_is_refused(vault: Vault, bao: OpenBao) -> None:
    """It has no check-and-set."""
    keys = KvKeys(vault, f"{bao.mount('kv', version='1')}/auth/signing-keys")
    with pytest.raises(SigningError, match="need kv of version 2"):
        await keys.versions()
