"""Which keys may verify (docs/security.md T14 to T21, T26 to T28)."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from extauthz.errors import KeySetError
from extauthz.identity import ASYMMETRIC_ALGORITHMS
from extauthz.identity.key_sets import KeySet, key_set_of_jwks, parse_key_set, secret_key_set
from extauthz.identity.keys import _FIELD_PRIME, _SMALL_ORDER_Y, Key, UnusableKeyError, read_public_key
from tests.identity.issuer import (
    EC384_KEY,
    EC521_KEY,
    EC_KEY,
    ED_KEY,
    OTHER_RSA_KEY,
    RSA_KEY,
    SECRET,
    PrivateKey,
    b64,
    jwk,
    jwks,
    number,
    sign,
)

ALL = ASYMMETRIC_ALGORITHMS
SIGNERS: list[tuple[PrivateKey, str]] = [
    *((RSA_KEY, name) for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
    (EC_KEY, "ES256"),
    (EC384_KEY, "ES384"),
    (EC521_KEY, "ES512"),
    (ED_KEY, "EdDSA"),
]


def unusable(entry: Any) -> str:
    with pytest.raises(UnusableKeyError) as caught:
        read_public_key(entry)
    return str(caught.value)


@pytest.mark.parametrize(("key", "algorithm"), SIGNERS)
def test_each_algorithm_verifies_its_own_signatures_alone(key: PrivateKey, algorithm: str) -> None:
    """T13, T14, T17: a signature verifies under its algorithm, and under no other."""
    signature = sign(algorithm, key, b"message")
    read = read_public_key(jwk(key))
    assert [name for name in sorted(ALL) if read.verifies(name, b"message", signature)] == [algorithm]
    assert not read.verifies(algorithm, b"massage", signature)


@pytest.mark.parametrize(("key", "algorithm"), SIGNERS)
def test_every_flipped_bit_breaks_a_signature(key: PrivateKey, algorithm: str) -> None:
    """T18, T19: no signature verifies after one bit is turned, a byte is added or one is missing."""
    signature = sign(algorithm, key, b"message")
    read = read_public_key(jwk(key))
    for bit in range(0, len(signature) * 8, 37):
        broken = bytearray(signature)
        broken[bit // 8] ^= 1 << bit % 8
        assert not read.verifies(algorithm, b"message", bytes(broken))
    for other in (b"", signature + b"\0", b"\0" + signature, signature[:-1], signature * 2):
        assert not read.verifies(algorithm, b"message", other)


def test_psychic_signatures_are_refused() -> None:
    """T18: r or s of 0, of the group's order or beyond, and the DER form, verify nothing (CVE-2022-21449)."""
    read = read_public_key(jwk(EC_KEY))
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    for r in (0, 1, order - 1, order, order + 1, (1 << 256) - 1):
        for s in (0, order, order + 1):
            assert not read.verifies("ES256", b"m", r.to_bytes(32, "big") + s.to_bytes(32, "big"))
    assert not read.verifies("ES256", b"m", EC_KEY.sign(b"m", ec.ECDSA(hashes.SHA256())))


def test_pss_salt_is_as_long_as_the_hash() -> None:
    """T19: another salt length is another scheme."""
    digest = hashes.SHA256()
    read = read_public_key(jwk(RSA_KEY))
    for length, expected in ((32, True), (0, False), (20, False), (64, False)):
        signature = RSA_KEY.sign(b"m", padding.PSS(padding.MGF1(digest), length), digest)
        assert read.verifies("PS256", b"m", signature) is expected


def test_short_rsa_keys_are_unusable() -> None:
    """T19: a modulus below 2048 bits is refused when the key is loaded."""
    n = RSA_KEY.public_key().public_numbers().n
    assert "modulus" in unusable({"kty": "RSA", "n": number(n >> 1 | 1), "e": "AQAB"})
    assert "modulus" in unusable({"kty": "RSA", "n": number(n << 7 * 1024 | 1), "e": "AQAB"})
    weak = rsa.generate_private_key(65537, 1024)
    assert "modulus" in unusable(jwk(weak))


@pytest.mark.parametrize("exponent", [1, 2, 3, 17, 65535, 65536, 65538, 2**32 + 1, 2**64 + 13])
def test_rsa_exponents_are_odd_and_at_least_65537(exponent: int) -> None:
    """T19: with an exponent of 1 every signature verifies; small, even and huge ones are refused as well."""
    unusable(jwk(RSA_KEY, e=number(exponent)))


def test_an_even_modulus_is_unusable() -> None:
    """T19: an even modulus is no product of two large primes."""
    unusable(jwk(RSA_KEY, n=number(RSA_KEY.public_key().public_numbers().n - 1)))


def test_points_are_on_their_curve_and_of_exact_size() -> None:
    """T17: a point beside the curve, coordinates of another size or curve, and unknown curves are refused."""
    good = jwk(EC_KEY)
    unusable({**good, "y": good["x"]})
    unusable({**good, "x": number(1, 31)})
    unusable({**good, "x": b64(b"\0" * 32), "y": b64(b"\0" * 32)})
    unusable({**good, "crv": "P-384"})
    unusable({**good, "crv": "secp256k1"})
    unusable({**good, "crv": ["P-256"]})


@pytest.mark.parametrize("y", sorted(_SMALL_ORDER_Y))
@pytest.mark.parametrize("sign_bit", [0, 1 << 255])
def test_small_order_edwards_keys_are_unusable(y: int, sign_bit: int) -> None:
    """T21: keys whose signatures verify for many messages are refused, in canonical form or not."""
    for spelling in (y, y + _FIELD_PRIME):
        if spelling < 1 << 255:
            unusable({"kty": "OKP", "crv": "Ed25519", "x": b64((spelling | sign_bit).to_bytes(32, "little"))})


def test_the_small_order_points_are_those_of_the_curve() -> None:
    """T21: eight times each listed point is the neutral element, by the curve's own doubling formula."""
    p = _FIELD_PRIME
    d = -121665 * pow(121666, -1, p) % p
    for y in _SMALL_ORDER_Y:
        y2 = y * y % p
        x2 = (y2 - 1) * pow(d * y2 + 1, -1, p) % p
        # Doubling in terms of squares alone: y' = (y2 + x2) / (2 + x2 - y2), with -x2 + y2 = 1 + d x2 y2.
        for _ in range(3):
            y = (y2 + x2) * pow(2 - (y2 - x2), -1, p) % p  # noqa: PLW2901
            y2 = y * y % p
            x2 = (y2 - 1) * pow(d * y2 + 1, -1, p) % p
        assert y == 1


@pytest.mark.parametrize("curve", ["X25519", "Ed448", "X448", None, 1])
def test_other_octet_key_pairs_are_ignored(curve: Any) -> None:
    """T21: agreement keys and Ed448 verify nothing."""
    assert "curve" in unusable({**jwk(ED_KEY), "crv": curve})


@pytest.mark.parametrize(
    "change",
    [
        {"use": "enc"},
        {"use": None},
        {"use": ["sig"]},
        {"key_ops": ["sign"]},
        {"key_ops": []},
        {"key_ops": "verify"},
        {"key_ops": None},
        {"alg": "ES256"},
        {"alg": "HS256"},
        {"alg": "none"},
        {"alg": None},
        {"alg": ["RS256"]},
        {"alg": {"a": 1}},
        {"kid": 1},
        {"kid": ["k1"]},
        {"kty": "rsa"},
        {"kty": None},
        {"kty": ["RSA"]},
        {"n": None},
        {"n": 5},
        {"n": ""},
        {"n": "AQAB=="},
        {"n": "not base64"},
        {"e": "AQAB "},
        {"e": None},
    ],
)
def test_a_jwk_says_what_it_is_for(change: dict[str, Any]) -> None:
    """T15: use, key_ops, alg, kid and the members themselves must be of the right type and value."""
    unusable({**jwk(RSA_KEY, "k1"), **change})


def test_the_right_use_is_accepted() -> None:
    """T15: use sig, key_ops with verify, and a fitting alg restrict the key to that algorithm."""
    key = read_public_key(jwk(RSA_KEY, "k1", use="sig", key_ops=["verify", "sign"], alg="PS256"))
    assert key.algorithms == {"PS256"}


@pytest.mark.parametrize("entry", [None, 1, "key", [], [["kty", "RSA"]]])
def test_a_key_is_an_object(entry: Any) -> None:
    """T27: anything else is skipped."""
    assert "object" in unusable(entry)


def test_private_members_are_not_read() -> None:
    """T28: a set that publishes its private keys is used by its public halves."""
    private = RSA_KEY.private_numbers()
    key = read_public_key(jwk(RSA_KEY, "k1", d=number(private.d), p="nonsense"))
    assert isinstance(key.material, rsa.RSAPublicKey)
    ed = read_public_key(jwk(ED_KEY, d="nonsense"))
    assert ed.verifies("EdDSA", b"m", ED_KEY.sign(b"m"))


def test_broken_and_foreign_keys_are_skipped() -> None:
    """T27: the good keys of a set work whatever else is in it, and each skipped one is named."""
    good = jwk(RSA_KEY, "k1")
    keys = key_set_of_jwks(jwks({**good, "use": "enc"}, good, {"kty": "future"}, {"kty": "EC"}), ALL)
    assert [key.id for key in keys.keys] == ["k1"]
    assert len(keys.skipped) == 3


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"keys":{}}',
        b'{"keys":null}',
        b'{"keys":[]}',
        b'{"keys":[{"kty":"EC"}]}',
        b'{"keys":[],"keys":[]}',
        b'{"keys":' + b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_what_is_no_usable_key_set_is_an_error(raw: bytes) -> None:
    """T27, T52: garbage and sets without a usable key are key set errors."""
    with pytest.raises(KeySetError):
        parse_key_set(raw, ALL)


def test_a_symmetric_key_spoils_the_set() -> None:
    """T16: a set that holds a secret was published by someone who gave it away."""
    with pytest.raises(KeySetError, match="symmetric"):
        parse_key_set(json.dumps(jwks(jwk(RSA_KEY, "k1"), jwk(SECRET, "k2"))).encode(), ALL)


def test_a_set_has_at_most_100_keys() -> None:
    """T52: the number of keys is bounded."""
    with pytest.raises(KeySetError, match="100"):
        key_set_of_jwks(jwks(*[jwk(RSA_KEY, str(n)) for n in range(101)]), ALL)


def test_keys_that_no_allowed_algorithm_uses_are_no_keys() -> None:
    """T27: a set of EC keys is useless to a provider that allows RS256 only."""
    with pytest.raises(KeySetError, match="no usable key"):
        key_set_of_jwks(jwks(jwk(EC_KEY, "k1")), frozenset({"RS256"}))


def test_one_kid_for_two_keys_spoils_the_set() -> None:
    """T26: neither the first nor the last wins if both could verify the same token."""
    with pytest.raises(KeySetError, match="one kid"):
        key_set_of_jwks(jwks(jwk(RSA_KEY, "k1"), jwk(OTHER_RSA_KEY, "k1")), ALL)


def test_one_kid_for_keys_of_different_algorithms_is_told_apart() -> None:
    """T26: the token's alg says which of the two is meant."""
    keys = key_set_of_jwks(jwks(jwk(RSA_KEY, "k1"), jwk(EC_KEY, "k1")), ALL)
    assert len(keys.named("k1")) == 2


def test_a_key_that_is_listed_twice_is_one_key() -> None:
    """T26: merged sets repeat keys; equal ones are no ambiguity."""
    assert len(key_set_of_jwks(jwks(jwk(RSA_KEY, "k1"), jwk(RSA_KEY, "k1")), ALL).keys) == 1


def secret_of(keys: KeySet) -> Any:
    return keys.keys[0].material


def test_text_secrets_lose_only_the_last_newline() -> None:
    """T20: the file that ``openssl rand -base64 32`` writes is the secret as other libraries read it."""
    line = b"q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k="
    assert secret_of(secret_key_set(line + b"\n", "text")) == line
    assert secret_of(secret_key_set(line + b"\r\n", "text")) == line
    assert secret_of(secret_key_set(line + b"\n\n", "text")) == line + b"\n"
    assert secret_of(secret_key_set(b" " + line + b" ", "text")) == b" " + line + b" "
    assert secret_of(secret_key_set(line + b"\n", "base64")) == bytes.fromhex("abcdef0123456789" * 4)


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (b"", "text"),
        (b"\n", "text"),
        (b"hunter2", "text"),
        (b"x" * 31, "text"),
        (b"x" * 31 + b"\n", "text"),
        (b"x" * 64, "text"),
        (b"a-string-secret-at-least-256-bits-long", "text"),
        (b"not base64 at all, but long enough to be a secret", "base64"),
        (b"c2hvcnQ=", "base64"),
        (RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), "text"),
        (RSA_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), "text"),
        (RSA_KEY.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH), "text"),
        (json.dumps(jwk(RSA_KEY)).encode(), "text"),
    ],
)
def test_what_is_no_secret_is_refused(content: bytes, encoding: Any) -> None:
    """T14, T20: short and published secrets, and public keys in any form, are refused without being shown."""
    with pytest.raises(KeySetError) as caught:
        secret_key_set(content, encoding)
    assert content.strip().decode("latin-1") not in str(caught.value) or not content.strip()


def test_secrets_do_not_show() -> None:
    """I6: a key's repr holds no key."""
    keys = secret_key_set(SECRET, "text")
    assert repr(SECRET)[2:-1] not in repr(keys)
    assert isinstance(keys.keys[0], Key)
