"""``tokens.keys``: where the signing keys are, and times that fit together."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from extauthz.config.signing import SigningKeys, signing_faults

PATH = ("tokens", "keys")


def read(**written: Any) -> SigningKeys:
    """The section as it is read from a file in /etc/extauthz."""
    return SigningKeys.model_validate(written, context={"folder": Path("/etc/extauthz")})


def faults(longest_token: float = 300.0, **written: Any) -> list[str]:
    return [
        f"{'.'.join(map(str, fault.path))}: {fault.message} ({fault.hint})"
        for fault in signing_faults(PATH, read(**written), longest_token=longest_token)
    ]


def test_the_defaults() -> None:
    """ES256 keys in a folder beside the file, for a month each, published ten minutes before they sign."""
    keys = read()
    assert (keys.place, keys.folder) == ("folder", "/etc/extauthz/signing-keys")
    assert (keys.algorithm, keys.rotate_every, keys.publish_delay) == ("ES256", 30 * 86_400, 600)
    assert faults() == []


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ({"folder": "keys/"}, "folder"),
        ({"mounted": {"current": "current.pem", "next": "next.pem", "previous": "previous.pem"}}, "mounted"),
        ({"mounted": {"current": "current.pem"}, "algorithm": "PS256", "publishDelay": "1h"}, "mounted"),
        ({"secretFile": "secret"}, "secretFile"),
        ({"secretFile": "secret", "encoding": "base64", "refresh": "1s"}, "secretFile"),
        ({"transit": {}}, "transit"),
        ({"transit": {"mount": "keys", "name": "auth"}, "algorithm": "EdDSA", "rotateEvery": "1d"}, "transit"),
        ({"kv": {}}, "kv"),
        ({"kv": {"path": "secret/auth/signing"}}, "kv"),
    ],
)
def test_keys_are_in_one_place(written: dict[str, Any], place: str) -> None:
    """Whichever it is, what is written about it holds together."""
    assert faults(**written) == []
    assert read(**written).place == place


def test_paths_are_relative_to_the_file() -> None:
    """As all others."""
    assert read(folder="a").folder == "/etc/extauthz/a"
    assert read(secretFile="b").secret_file == "/etc/extauthz/b"
    mounted = read(mounted={"current": "c.pem", "next": "/n.pem"}).mounted
    assert mounted is not None
    assert (mounted.current, mounted.next, mounted.previous) == ("/etc/extauthz/c.pem", "/n.pem", None)


def test_two_places_are_refused() -> None:
    """Nobody guesses which one is meant."""
    assert faults(folder="a", transit={}) == [
        "tokens.keys.transit: keys are in one place, not in folder and in transit (remove one)"
    ]
    assert len(faults(secretFile="a", mounted={"current": "b"})) == 1


@pytest.mark.parametrize(
    ("written", "where"),
    [
        ({"encoding": "base64"}, "encoding"),
        ({"secretFile": "a", "algorithm": "RS256"}, "algorithm"),
        ({"secretFile": "a", "publishDelay": "5m"}, "publishDelay"),
        ({"secretFile": "a", "rotateEvery": "1d"}, "rotateEvery"),
        ({"mounted": {"current": "a"}, "rotateEvery": "1d"}, "rotateEvery"),
        ({"mounted": {"current": "a"}, "algorithm": "EdDSA"}, "algorithm"),
        ({"publishDelay": "30d"}, "publishDelay"),
        ({"rotateEvery": "5m"}, "publishDelay"),
        ({"publishDelay": "30s"}, "publishDelay"),
        ({"rotateEvery": "11s", "publishDelay": "10s", "clockSkew": "1s", "refresh": "1s"}, "rotateEvery"),
    ],
)
def test_what_does_not_fit(written: dict[str, Any], where: str) -> None:
    """It is told at the value that the person should look at, with what to do."""
    [fault] = faults(longest_token=3600.0, **written)
    assert fault.startswith(f"tokens.keys.{where}: ")
    assert fault.endswith(")")
    assert "()" not in fault


def test_quick_rotations_are_possible() -> None:
    """For tests and demos: keys of two seconds, if nobody's clock is off and tokens are short."""
    times = {"rotateEvery": "2s", "publishDelay": "1s", "clockSkew": "0s", "refresh": "100ms"}
    assert faults(longest_token=5.0, **times) == []


@pytest.mark.parametrize("algorithm", ["HS256", "none", "ES384", "es256"])
def test_other_algorithms(algorithm: str) -> None:
    """HS256 comes with secretFile and not by name, and no other signs."""
    with pytest.raises(ValidationError):
        read(algorithm=algorithm)
