"""``KeyBackend`` over Transit, against a real OpenBao."""

import asyncio
import base64
import json
import time
from collections.abc import Callable
from typing import Any

import joserfc.jwk
import joserfc.jws
import pytest

from extauthz.errors import AlreadyRotatedError, SigningError
from extauthz.tokens.public_key import is_by, read_jwk
from extauthz.tokens.signing import SigningKeys
from extauthz.vault import TransitKeys, Vault
from tests.tokens.signing import SCHEDULE, Once, by_joserfc
from tests.vault.openbao import OpenBao

ALGORITHMS = ("ES256", "EdDSA", "RS256", "PS256")


@pytest.fixture
def mount(bao: OpenBao) -> str:
    return bao.mount("transit")


@pytest.fixture
def keys(vault: Vault, mount: str) -> TransitKeys:
    return TransitKeys(vault, "extauthz", mount=mount)


def encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # for the names of RFC 9864, which few know yet
@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_signature_is_one_for_others(keys: TransitKeys, algorithm: str) -> None:
    """A third party verifies with the published key what Transit signed, and nothing private is published."""
    made = await keys.add(algorithm, newest=None, created=0)
    assert made.public is not None
    assert set(made.public) <= {"kty", "crv", "x", "y", "n", "e", "kid", "alg", "use"}
    assert (made.public["kid"], made.public["alg"], made.public["use"]) == (made.kid, algorithm, "sig")
    head = f"{encoded({'alg': algorithm, 'kid': made.kid})}.{encoded({'sub': 'x'})}"
    signature = await keys.sign(made.kid, head.encode())
    token = f"{head}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
    key = joserfc.jwk.import_key(dict(made.public))
    assert joserfc.jws.deserialize_compact(token, key, algorithms=[algorithm]).payload == b'{"sub": "x"}'


async def test_each_version_is_a_key(keys: TransitKeys) -> None:
    """A rotation makes a new one, the old one signs on until it is removed, and what is older goes with it."""
    first = await keys.add("ES256", newest=None, created=0)
    second = await keys.add("ES256", newest=first.kid, created=0)
    third = await keys.add("ES256", newest=second.kid, created=0)
    assert [version.kid for version in await keys.versions()] == [first.kid, second.kid, third.kid]
    assert first.created < second.created < third.created
    assert await keys.sign(first.kid, b"x")
    await keys.remove(second.kid)
    assert [version.kid for version in await keys.versions()] == [third.kid]
    for gone in (first, second):
        with pytest.raises(SigningError, match="has no key"):
            await keys.sign(gone.kid, b"x")
    await keys.remove(second.kid)  # again: it is gone already


async def test_algorithms_follow_each_other(keys: TransitKeys) -> None:
    """K10: another algorithm comes with a rotation, the old key verifies until it is removed, and can come back as a new one."""
    old = await keys.add("ES256", newest=None, created=0)
    new = await keys.add("EdDSA", newest=old.kid, created=0)
    assert [version.algorithm for version in await keys.versions()] == ["ES256", "EdDSA"]
    await keys.remove(old.kid)
    assert [version.kid for version in await keys.versions()] == [new.kid]
    with pytest.raises(SigningError, match="has no key"):
        await keys.sign(old.kid, b"x")
    back = await keys.add("ES256", newest=new.kid, created=0)
    assert [version.kid for version in await keys.versions()] == [new.kid, back.kid]
    await keys.remove(back.kid)
    assert await keys.versions() == []


async def test_a_removal_needs_no_help_of_the_operator(keys: TransitKeys, bao: OpenBao, mount: str) -> None:
    """The last version ends as well: one that is never used comes after it, and is not told of."""
    made = await keys.add("ES256", newest=None, created=0)
    await keys.remove(made.kid)
    data = bao.api("GET", f"{mount}/keys/extauthz-es256")["data"]
    assert (list(data["keys"]), data["min_encryption_version"], data["min_decryption_version"]) == (["2"], 2, 2)
    assert await keys.versions() == []
    again = await keys.add("ES256", newest=None, created=0)
    assert again.kid.startswith("extauthz-es256-v3-")
    await keys.add("ES256", newest=again.kid, created=0)
    await keys.remove(again.kid)
    assert [version.kid[:17] for version in await keys.versions()] == ["extauthz-es256-v4"]


async def test_who_was_slower_makes_no_key(keys: TransitKeys) -> None:
    """K5: of two who saw the same newest key, the second one is told that it was done."""
    first = await keys.add("ES256", newest=None, created=0)
    await keys.add("ES256", newest=first.kid, created=0)
    with pytest.raises(AlreadyRotatedError):
        await keys.add("ES256", newest=first.kid, created=0)
    with pytest.raises(AlreadyRotatedError):
        await keys.add("ES256", newest=None, created=0)
    assert len(await keys.versions()) == 2


async def test_a_key_that_was_made_anew_has_another_kid(keys: TransitKeys, bao: OpenBao, mount: str) -> None:
    """An operator deletes the key and makes it again: version 1 again, and no kid is given twice. F23: its signature is not
    taken for the old key's.
    """
    old = await keys.add("ES256", newest=None, created=0)
    signing = SigningKeys(keys, SCHEDULE, Once(), now=time.time)
    await signing.refresh()
    bao.api("POST", f"{mount}/keys/extauthz-es256/config", {"deletion_allowed": True})
    bao.api("DELETE", f"{mount}/keys/extauthz-es256")
    bao.api("POST", f"{mount}/keys/extauthz-es256", {"type": "ecdsa-p256"})
    signed = await signing.sign({"sub": "x"})
    [new] = await keys.versions()
    assert signed.kid == new.kid != old.kid
    assert by_joserfc(signed.token, json.loads(signing.jwks()), ["ES256"])
    assert new.kid.startswith("extauthz-es256-v1-")
    with pytest.raises(SigningError, match="has no key"):
        await keys.sign(old.kid, b"x")


async def test_a_key_that_was_deleted_signs_no_more(keys: TransitKeys, bao: OpenBao, mount: str) -> None:
    """By an operator, behind our back: no other key signs for it, and the next one begins anew."""
    old = await keys.add("ES256", newest=None, created=0)
    other = await keys.add("EdDSA", newest=old.kid, created=0)
    bao.api("POST", f"{mount}/keys/extauthz-es256/config", {"deletion_allowed": True})
    bao.api("DELETE", f"{mount}/keys/extauthz-es256")
    with pytest.raises(SigningError, match="signing key not found"):
        await keys.sign(old.kid, b"x")
    assert [version.kid for version in await keys.versions()] == [other.kid]
    new = await keys.add("ES256", newest=other.kid, created=0)
    assert new.kid != old.kid


async def test_what_operators_do_is_seen(keys: TransitKeys, bao: OpenBao, mount: str) -> None:
    """K13: a rotation and a raised min_decryption_version behind our back, with min_encryption_version in the way."""
    first = await keys.add("ES256", newest=None, created=0)
    bao.api("POST", f"{mount}/keys/extauthz-es256/rotate")
    bao.api("POST", f"{mount}/keys/extauthz-es256/config", {"min_encryption_version": 1})
    _, second = await keys.versions()
    assert await keys.sign(second.kid, b"x")
    with pytest.raises(AlreadyRotatedError):
        await keys.add("ES256", newest=first.kid, created=0)
    await keys.remove(first.kid)
    assert [version.kid for version in await keys.versions()] == [second.kid]
    third = await keys.add("ES256", newest=second.kid, created=0)
    bao.api("POST", f"{mount}/keys/extauthz-es256/config", {"min_decryption_version": 3})
    assert [version.kid for version in await keys.versions()] == [third.kid]
    with pytest.raises(SigningError, match="has no key"):
        await keys.sign(second.kid, b"x")


async def test_a_version_that_is_ended_behind_our_back_signs_no_more(
    keys: TransitKeys, bao: OpenBao, mount: str
) -> None:
    """Although it is known here: no other key signs in its place."""
    first = await keys.add("ES256", newest=None, created=0)
    await keys.add("ES256", newest=first.kid, created=0)
    bao.api("POST", f"{mount}/keys/extauthz-es256/config", {"min_decryption_version": 2})
    with pytest.raises(SigningError, match="HTTP"):
        await keys.sign(first.kid, b"x")


async def test_a_key_of_another_kind_is_refused(keys: TransitKeys, bao: OpenBao, mount: str) -> None:
    """An operator's key under our name that can't be used for the algorithm."""
    bao.api("POST", f"{mount}/keys/extauthz-es256", {"type": "ecdsa-p384"})
    with pytest.raises(SigningError, match="is ecdsa-p384, and ES256 needs ecdsa-p256"):
        await keys.versions()


async def test_secrets_that_must_be_known_here_are_not_made(keys: TransitKeys) -> None:
    """HS256 would need the key itself."""
    with pytest.raises(SigningError, match="no keys for HS256"):
        await keys.add("HS256", newest=None, created=0)


async def test_many_signatures_at_a_time(keys: TransitKeys) -> None:
    """Each is its own, however they come."""
    made = await keys.add("EdDSA", newest=None, created=0)
    inputs = [str(number).encode() for number in range(40)]
    signatures = await asyncio.gather(*(keys.sign(made.kid, text) for text in inputs))
    assert len(set(signatures)) == 40
    # Ed25519 is deterministic.
    assert await keys.sign(made.kid, inputs[7]) == signatures[7]
    assert made.public is not None
    judge = read_jwk(made.public)
    assert all(is_by(judge, "EdDSA", *pair) for pair in zip(inputs, signatures, strict=True))


async def test_a_foreign_signature_is_not_given_away(keys: TransitKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    """F23: Vault answers with success, and with a signature over something else."""
    await keys.add("EdDSA", newest=None, created=0)
    signing = SigningKeys(keys, SCHEDULE, Once(), now=time.time)
    await signing.refresh()
    assert (await signing.sign({"sub": "x"})).token
    real: Callable[..., bytes] = keys._signature
    monkeypatch.setattr(keys, "_signature", lambda client, version, text: real(client, version, text + b"!"))
    with pytest.raises(SigningError, match="has signed with another key"):
        await signing.sign({"sub": "x"})
