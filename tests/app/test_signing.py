"""From ``tokens.keys`` to the signing keys."""

import base64
import os
from pathlib import Path
from typing import Any

import pytest

from extauthz.app.signing import key_backend, signing_keys
from extauthz.config.signing import KvPlace, SigningKeys, TransitPlace
from extauthz.errors import ConfigError, SigningError
from extauthz.stores import MemoryTokenStore
from extauthz.tokens.key_files import FileKeyBackend
from extauthz.tokens.mounted_keys import MountedKeyBackend
from extauthz.tokens.ports import KeyBackend
from extauthz.tokens.secret_key import SecretKeyBackend
from extauthz.tokens.signing_key import generate_key
from tests.tokens.signing import NOW, Clock, MemoryBackend


def written(beside: Path, **keys: Any) -> SigningKeys:
    return SigningKeys.model_validate(keys, context={"folder": beside})


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        ({}, FileKeyBackend),
        ({"folder": "keys"}, FileKeyBackend),
        ({"mounted": {"current": "current.pem"}}, MountedKeyBackend),
        ({"secretFile": "secret"}, SecretKeyBackend),
    ],
)
def test_each_place_has_its_backend(tmp_path: Path, keys: dict[str, Any], kind: type) -> None:
    """Nothing is opened or made by that."""
    assert isinstance(key_backend(written(tmp_path, **keys)), kind)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        ({"transit": {"mount": "m", "name": "n"}}, TransitPlace(mount="m", name="n")),
        ({"kv": {"path": "secret/keys"}}, KvPlace(path="secret/keys")),
    ],
)
def test_keys_in_vault_are_opened_by_who_knows_it(tmp_path: Path, keys: dict[str, Any], place: object) -> None:
    """It is told where they are; if there is nobody, that is a mistake of the configuration."""
    asked: list[object] = []

    def in_vault(where: object) -> KeyBackend:
        asked.append(where)
        return MemoryBackend()

    assert isinstance(key_backend(written(tmp_path, **keys), in_vault), MemoryBackend)
    assert asked == [place]
    with pytest.raises(ConfigError, match=r"tokens\.keys\.(transit|kv): signing keys are in Vault"):
        key_backend(written(tmp_path, **keys))


async def test_what_vault_signs_is_verified(tmp_path: Path) -> None:
    """F23: a signature by another key is not given out; keys that are in memory need no such proof."""
    backend = MemoryBackend()
    keys = signing_keys(
        written(tmp_path, transit={}), MemoryTokenStore(), longest_token=300.0, now=Clock(), in_vault=lambda _: backend
    )
    await keys.tend()
    assert (await keys.sign({"sub": "x"})).token
    backend.impostor = generate_key("ES256")
    with pytest.raises(SigningError, match="has signed with another key"):
        await keys.sign({"sub": "x"})


async def test_the_times_are_those_that_are_written(tmp_path: Path) -> None:
    """Rotation, publication and the longest token reach the schedule."""
    clock = Clock()
    section = written(tmp_path, rotateEvery="1h", publishDelay="10m", refresh="1s", clockSkew="30s", algorithm="EdDSA")
    keys = signing_keys(section, MemoryTokenStore(), longest_token=900.0, now=clock)
    await keys.tend()
    assert keys.algorithms() == ("EdDSA",)
    assert keys.max_token_lifetime == 900
    assert keys.max_age == 300
    assert keys.state().next_rotation == NOW + 3600
    clock.now += 3600
    await keys.tend()
    first, second = keys.state().keys
    assert (second.signs, first.replaced, first.leaves) == (NOW + 4200, NOW + 4200, NOW + 4200 + 930)
    await keys.close()


async def test_a_revoked_key_is_a_revocation_in_the_store(tmp_path: Path) -> None:
    """For all that it has signed, whatever time is in it, until no replica can know the key any more."""
    clock, store = Clock(), MemoryTokenStore()
    keys = signing_keys(written(tmp_path), store, longest_token=300.0, now=clock)
    await keys.tend()
    [leaked] = [version.kid for version in keys.verification_keys()]
    await keys.revoke(leaked)
    [revocation] = (await store.revocations()).revocations
    assert (revocation.kind, revocation.value) == ("key", leaked)
    assert revocation.before == revocation.until >= NOW + 300 + 60


async def test_keys_of_somebody_else_need_no_times(tmp_path: Path) -> None:
    """Whatever publishDelay is: nothing is made by the clock."""
    (tmp_path / "current.pem").write_bytes(generate_key("ES256").pem())
    (tmp_path / "secret").write_bytes(base64.b64encode(os.urandom(32)))
    for place in ({"mounted": {"current": "current.pem"}, "publishDelay": "30d"}, {"secretFile": "secret"}):
        keys = signing_keys(written(tmp_path, **place), MemoryTokenStore(), longest_token=300.0, now=Clock())
        await keys.tend()
        assert (await keys.sign({})).token
        assert keys.state().next_rotation is None
