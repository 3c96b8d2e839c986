"""Published vectors: the JOSE cookbook (RFC 7520), RFC 7797 and RFC 8037."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from extauthz.identity import ASYMMETRIC_ALGORITHMS
from extauthz.identity.keys import Key, UnusableKeyError, read_public_key, secret_key
from tests.identity.issuer import judge, word

VECTORS = Path(__file__).resolve().parent.parent / "vectors" / "rfc7520"
ALL = {str(path.relative_to(VECTORS)): json.loads(path.read_text()) for path in sorted(VECTORS.rglob("*.json"))}
SIGNED = {name: vector for name, vector in ALL.items() if name.startswith("jws/") or name == "curve25519/jws.json"}


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def key_of(jwk: dict[str, Any]) -> Key:
    return secret_key(decode(jwk["k"])) if jwk["kty"] == "oct" else read_public_key(jwk)


def tokens(value: Any) -> Iterator[str]:
    """Everything in a vector that could be sent as a token."""
    if isinstance(value, dict):
        if "compact" in value:
            yield value["compact"]
        for name in ("json", "json_flat"):
            if name in value:
                yield json.dumps(value[name])
        for inner in value.values():
            yield from tokens(inner)


@pytest.mark.parametrize("name", [name for name in SIGNED if "compact" in SIGNED[name]["output"]])
def test_signatures_of_the_cookbook_verify_until_a_bit_is_turned(name: str) -> None:
    """RFC 7520 section 4, RFC 8037 appendix A: the published signatures are good, and no altered one is."""
    signing = SIGNED[name]["signing"]
    key = key_of(SIGNED[name]["input"]["key"])
    algorithm = signing["protected"]["alg"]
    message, signature = signing["sig-input"].encode(), decode(signing["sig"])
    assert key.verifies(algorithm, message, signature)
    for index in range(len(signature)):
        broken = signature[:index] + bytes([signature[index] ^ 1]) + signature[index + 1 :]
        assert not key.verifies(algorithm, message, broken)


@pytest.mark.parametrize("name", [name for name in ALL if not name.startswith("jwk/")])
def test_nothing_of_the_cookbook_is_a_bearer_token(name: str) -> None:
    """T7, T29: prose, detached, unencoded, JSON-serialised, nested and encrypted forms are refused with a clean reason."""
    sent = list(tokens(ALL[name]))
    assert sent
    for token in sent:
        verdict = word(judge(token, algorithms=ASYMMETRIC_ALGORITHMS))
        assert verdict in {"token-malformed", "credentials-ambiguous", "claim-invalid", "issuer-unknown"}


@pytest.mark.parametrize("name", [name for name in ALL if name.startswith("jwk/")])
def test_the_keys_of_the_cookbook_are_read_by_their_public_half(name: str) -> None:
    """RFC 7520 section 3: RSA and EC keys are usable, private ones by their public half; symmetric ones never are."""
    if ALL[name]["kty"] == "oct":
        with pytest.raises(UnusableKeyError):
            read_public_key(ALL[name])
    else:
        assert read_public_key(ALL[name]).id == "bilbo.baggins@hobbiton.example"
