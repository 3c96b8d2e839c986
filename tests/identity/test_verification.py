"""What a well-formed token must be to be believed (docs/security.md T13 to T16, T23, T25, T30 to T46)."""

import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extauthz.identity import ASYMMETRIC_ALGORITHMS, InlineKeys, SecretFile
from extauthz.model import Identity
from tests.identity.issuer import (
    EC384_KEY,
    EC521_KEY,
    EC_KEY,
    ED_KEY,
    ISSUER,
    NOW,
    OTHER_RSA_KEY,
    RSA_KEY,
    SECRET,
    PrivateKey,
    default_claims,
    judge,
    jwk,
    jwks,
    mint,
    provider,
    without,
    word,
)

ALL_KEYS = InlineKeys(
    jwks(
        jwk(RSA_KEY, "rsa"),
        jwk(EC_KEY, "ec"),
        jwk(EC384_KEY, "ec384"),
        jwk(EC521_KEY, "ec521"),
        jwk(ED_KEY, "ed"),
        jwk(OTHER_RSA_KEY, "other"),
    )
)


def verdict(claims: dict[str, Any] | None = None, **parts: Any) -> str:
    return word(judge(mint(claims), **parts))


def test_a_good_token_proves_who_the_caller_is() -> None:
    """The subject, issuer, provider, claims and end of a verified token make the identity."""
    identity = judge(mint({"tenant": "acme", "scope": "read write"}))
    assert isinstance(identity, Identity)
    assert (identity.subject, identity.issuer, identity.provider) == ("alice", ISSUER, "corporate")
    assert identity.claims["tenant"] == "acme"
    assert identity.scopes == ("read", "write")
    assert identity.expires == NOW + 300


def test_verified_claims_can_not_be_changed() -> None:
    """Whoever gets the claims can't write into them."""
    identity = judge(mint())
    assert isinstance(identity, Identity)
    with pytest.raises(TypeError):
        identity.claims["sub"] = "root"  # type: ignore[index]


@pytest.mark.parametrize(
    ("key", "kid", "algorithm"),
    [
        (RSA_KEY, "rsa", "RS256"),
        (RSA_KEY, "rsa", "RS512"),
        (RSA_KEY, "rsa", "PS384"),
        (EC_KEY, "ec", "ES256"),
        (EC384_KEY, "ec384", "ES384"),
        (EC521_KEY, "ec521", "ES512"),
        (ED_KEY, "ed", "EdDSA"),
    ],
)
def test_every_asymmetric_algorithm_works_where_it_is_allowed(key: PrivateKey, kid: str, algorithm: str) -> None:
    """T13: the provider's list decides, with or without a kid in the token."""
    token = mint(key=key, header={"alg": algorithm, "kid": kid})
    nameless = mint(key=key, header={"alg": algorithm, **without("kid")})
    assert word(judge(token, keys=ALL_KEYS, algorithms=ASYMMETRIC_ALGORITHMS)) == "identity"
    assert word(judge(nameless, keys=ALL_KEYS, algorithms=ASYMMETRIC_ALGORITHMS)) == "identity"
    others = ASYMMETRIC_ALGORITHMS - {algorithm}
    assert word(judge(token, keys=ALL_KEYS, algorithms=others)) == "algorithm-not-allowed"


@pytest.mark.parametrize(
    "algorithm",
    ["none", "None", "NONE", "nOnE", "", "rs256", "RS256 ", "HS256", 256, None, True, ["RS256"], {"RS256": 1}],
)
def test_the_token_does_not_choose_its_algorithm(algorithm: Any) -> None:
    """T13: none in any spelling, other types and what is not in the provider's list are refused."""
    token = mint(header={"alg": algorithm}, signed_as="RS256")
    assert word(judge(token)) == "algorithm-not-allowed"
    assert word(judge(token.rpartition(".")[0] + ".")) == "algorithm-not-allowed"


def test_a_token_without_alg_is_refused() -> None:
    """T13: a missing alg is no default."""
    assert word(judge(mint(header=without("alg"), signed_as="RS256"))) == "algorithm-not-allowed"


def test_a_public_key_is_no_secret() -> None:
    """T14: an HMAC by the bytes of the public key, in any encoding, verifies nowhere (CVE-2015-9235, CVE-2022-29217)."""
    public = RSA_KEY.public_key()
    spellings = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        json.dumps(jwk(RSA_KEY, "k1")).encode(),
    ]
    for spelling in spellings:
        assert word(judge(mint(key=spelling, header={"alg": "HS256"}))) == "algorithm-not-allowed"
        assert word(judge(mint(key=spelling, header={"alg": "RS256"}))) == "signature-invalid"


def test_a_key_of_another_type_is_refused_before_it_is_tried() -> None:
    """T14: a kid that leads to a key of another family ends there."""
    token = mint(header={"kid": "ec"})
    assert word(judge(token, keys=ALL_KEYS)) == "algorithm-not-allowed"


def test_a_key_verifies_by_its_own_algorithm_alone() -> None:
    """T15: a key that says PS256 verifies no RS256 signature."""
    keys = InlineKeys(jwks(jwk(RSA_KEY, "k1", alg="PS256")))
    assert word(judge(mint(), keys=keys, algorithms=ASYMMETRIC_ALGORITHMS)) == "algorithm-not-allowed"


def test_a_token_brings_no_key() -> None:
    """T23: jwk, jku, x5u, x5c and x5t in the header neither supply a key nor change the outcome."""
    own = {
        "jwk": jwk(OTHER_RSA_KEY, "k1"),
        "jku": "https://evil.example/jwks",
        "x5u": "https://evil.example/cert",
        "x5c": ["MIIB"],
        "x5t": "AAAA",
        "x5t#S256": "AAAA",
    }
    assert word(judge(mint(key=OTHER_RSA_KEY, header=own))) == "signature-invalid"
    assert word(judge(mint(header=own))) == "identity"


def test_forged_and_altered_tokens_are_refused() -> None:
    """A signature by another key, an empty one, and one of another payload are invalid."""
    head, body, signature = mint().split(".")
    other = mint({"sub": "root"}).split(".")[1]
    assert word(judge(mint(key=OTHER_RSA_KEY))) == "signature-invalid"
    assert word(judge(f"{head}.{body}.")) == "signature-invalid"
    assert word(judge(f"{head}.{other}.{signature}")) == "signature-invalid"


def test_without_a_kid_at_most_four_keys_are_tried() -> None:
    """T25: several keys of the right type are tried, and what a forged token costs is bounded."""
    early = InlineKeys(jwks(jwk(OTHER_RSA_KEY, "o1"), jwk(RSA_KEY, "k1")))
    assert word(judge(mint(header=without("kid")), keys=early)) == "identity"
    many = [jwk(OTHER_RSA_KEY, f"o{n}") for n in range(4)]
    late = InlineKeys(jwks(*many, jwk(RSA_KEY, "k1")))
    assert word(judge(mint(header=without("kid")), keys=late)) == "signature-invalid"
    assert word(judge(mint(), keys=late)) == "identity"


def test_a_key_without_a_name_is_not_used_for_a_token_that_names_one() -> None:
    """T22: the kid of a token means that key or none."""
    keys = InlineKeys(jwks(jwk(RSA_KEY)))
    assert word(judge(mint(), keys=keys)) == "key-unknown"
    assert word(judge(mint(header=without("kid")), keys=keys)) == "identity"


def test_the_signature_is_judged_before_the_claims() -> None:
    """T30: an expired, misdirected and forged token is forged, and tells nothing else."""
    token = mint({"exp": 1, "aud": "other", "sub": 5}, key=OTHER_RSA_KEY)
    assert word(judge(token)) == "signature-invalid"


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        (without("iss"), "claim-invalid"),
        ({"iss": None}, "claim-invalid"),
        ({"iss": [ISSUER]}, "claim-invalid"),
        ({"iss": 1}, "claim-invalid"),
        ({"iss": ISSUER.rstrip("/")}, "issuer-unknown"),
        ({"iss": ISSUER.upper()}, "issuer-unknown"),
        ({"iss": ISSUER + "x"}, "issuer-unknown"),
        ({"iss": ""}, "issuer-unknown"),
        ({"iss": " " + ISSUER}, "issuer-unknown"),
    ],
)
def test_iss_is_compared_to_the_letter(claims: dict[str, Any], expected: str) -> None:
    """T31: no prefix, slash, case or list is tolerated (GHSA-75c5-xw7c-p5pm)."""
    assert verdict(claims) == expected


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"aud": "orders"}, "identity"),
        ({"aud": ["billing", "orders"]}, "identity"),
        ({"aud": "billing"}, "audience-mismatch"),
        ({"aud": ["billing"]}, "audience-mismatch"),
        ({"aud": []}, "audience-mismatch"),
        ({"aud": ""}, "audience-mismatch"),
        ({"aud": "Orders"}, "audience-mismatch"),
        ({"aud": "orders/"}, "audience-mismatch"),
        ({"aud": "ordersandmore"}, "audience-mismatch"),
        ({"aud": "billing orders"}, "audience-mismatch"),
        ({"aud": "*"}, "audience-mismatch"),
        (without("aud"), "claim-invalid"),
        ({"aud": None}, "claim-invalid"),
        ({"aud": 5}, "claim-invalid"),
        ({"aud": ["orders", 5]}, "claim-invalid"),
        ({"aud": {"orders": True}}, "claim-invalid"),
    ],
)
def test_aud_must_name_us(claims: dict[str, Any], expected: str) -> None:
    """T32: a string or a list of strings, one of them ours."""
    assert verdict(claims) == expected


def test_any_audience_can_be_asked_for() -> None:
    """T32: without configured audiences aud may be anything of the right type, or missing."""
    assert verdict({"aud": "billing"}, audiences=None) == "identity"
    assert verdict(without("aud"), audiences=None) == "identity"
    assert verdict({"aud": 5}, audiences=None) == "claim-invalid"


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"exp": NOW - 59}, "identity"),
        ({"exp": NOW - 60}, "token-expired"),
        ({"exp": NOW - 59.5}, "identity"),
        ({"exp": 0, "iat": 0}, "token-expired"),
        (without("exp"), "claim-invalid"),
        ({"exp": None}, "claim-invalid"),
        ({"exp": str(NOW + 300)}, "claim-invalid"),
        ({"exp": True}, "claim-invalid"),
        ({"exp": [NOW + 300]}, "claim-invalid"),
        ({"exp": -1}, "claim-invalid"),
        ({"exp": 1e300}, "claim-invalid"),
        ({"exp": 2**63 - 1}, "claim-invalid"),
        ({"nbf": NOW + 60}, "identity"),
        ({"nbf": NOW + 61}, "token-not-yet-valid"),
        ({"nbf": 2**63 - 1}, "claim-invalid"),
        ({"nbf": "0"}, "claim-invalid"),
        ({"nbf": None}, "claim-invalid"),
        ({"nbf": True}, "claim-invalid"),
        ({"nbf": NOW + 50, "exp": NOW + 40}, "claim-invalid"),
        ({"iat": NOW + 60}, "identity"),
        ({"iat": NOW + 61}, "token-not-yet-valid"),
        ({"iat": NOW + 30, "exp": NOW + 20}, "claim-invalid"),
        ({"iat": False}, "claim-invalid"),
        (without("iat"), "identity"),
    ],
)
def test_times_are_numbers_within_the_skew(claims: dict[str, Any], expected: str) -> None:
    """T33, T34, T35, T36: exp is required; each date is a number in range, judged with the skew once."""
    assert verdict(claims) == expected


def test_without_skew_a_token_ends_on_the_second() -> None:
    """T33: on or after exp is after."""
    assert verdict({"exp": NOW}, clock_skew=0.0) == "token-expired"
    assert verdict({"exp": NOW + 0.5}, clock_skew=0.0) == "identity"


@pytest.mark.parametrize("skew", [-1.0, float("nan"), float("inf"), 601.0])
def test_the_skew_is_a_sane_number(skew: float) -> None:
    """T36: a leeway that is negative, no number or huge is refused when the provider is made."""
    with pytest.raises(ValueError, match="clockSkew"):
        provider(clock_skew=skew)


@pytest.mark.parametrize("subject", [None, "", 5, True, ["alice"], {"id": "alice"}])
def test_sub_is_a_string_with_something_in_it(subject: Any) -> None:
    """T37: an identity needs a name of its own, and it is not coerced."""
    assert verdict({"sub": subject}) == "claim-invalid"
    assert verdict(without("sub")) == "claim-invalid"


@pytest.mark.parametrize("name", ["jti", "azp", "client_id", "scope"])
@pytest.mark.parametrize("value", [None, 5, ["x"], {}, False])
def test_naming_claims_are_strings(name: str, value: Any) -> None:
    """T37: a wrong type is refused, not converted."""
    assert verdict({name: value}) == "claim-invalid"
    assert verdict({name: "x"}) == "identity"


@pytest.mark.parametrize(
    ("typ", "expected"),
    [
        ("JWT", "identity"),
        ("jwt", "identity"),
        ("at+jwt", "identity"),
        ("AT+JWT", "identity"),
        ("application/at+jwt", "identity"),
        ("Application/JWT", "identity"),
        ("absent", "claim-invalid"),
        ("", "claim-invalid"),
        ("logout+jwt", "claim-invalid"),
        ("dpop+jwt", "claim-invalid"),
        ("secevent+jwt", "claim-invalid"),
        ("client-authentication+jwt", "claim-invalid"),
        ("token-introspection+jwt", "claim-invalid"),
        ("id+jwt", "claim-invalid"),
        ("application/application/jwt", "claim-invalid"),
    ],
)
def test_typ_must_be_that_of_an_access_token(typ: str, expected: str) -> None:
    """T39: other kinds of JWT are never taken for access tokens."""
    assert word(judge(mint(header={"typ": typ}))) == expected


def test_token_types_can_be_narrowed() -> None:
    """T39: a provider that asks for at+jwt takes nothing else."""
    strict = {"token_types": frozenset({"at+jwt"})}
    assert word(judge(mint(header={"typ": "at+jwt"}), **strict)) == "identity"
    assert word(judge(mint(), **strict)) == "claim-invalid"
    assert word(judge(mint(header=without("typ")), **strict)) == "claim-invalid"


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "n"},
        {"at_hash": "h"},
        {"c_hash": "h"},
        {"nonce": None},
        {"events": {"http://schemas.openid.net/event/backchannel-logout": {}}},
        {"typ": "ID"},
        {"typ": "Refresh"},
        {"token_use": "id"},
        {"cnf": {"jkt": "x"}},
        {"cnf": {"x5t#S256": "x"}},
        {"cnf": None},
    ],
)
def test_tokens_of_other_kinds_are_no_bearer_tokens(claims: dict[str, Any]) -> None:
    """T40, T46: ID tokens, logout tokens and sender-constrained tokens are refused."""
    assert verdict(claims) == "claim-invalid"


def test_the_marks_of_access_tokens_are_accepted() -> None:
    """T40: Keycloak's typ Bearer and Cognito's token_use access are what they say."""
    assert verdict({"typ": "Bearer", "token_use": "access"}) == "identity"


@pytest.mark.parametrize(
    "payload",
    [
        '"x":"a\\u0000b"',
        '"x":"\\ud800"',
        '"x":"\\udc00\\ud800"',
        '"x\\u0000":1',
        '"x":{"y":["ok",{"z":"\\u0000"}]}',
        '"x":{"\\udfff":1}',
    ],
)
def test_text_that_parsers_cut_or_refuse_is_no_claim(payload: str) -> None:
    """T45: U+0000 and half surrogate pairs, in names and values at any depth, are refused."""
    base = json.dumps(default_claims())[:-1]
    assert word(judge(mint(payload=f"{base},{payload}}}".encode()))) == "claim-invalid"


def test_escaped_text_is_fine() -> None:
    """T45: whole surrogate pairs and other escapes are ordinary text, compared by code points."""
    identity = judge(mint({"name": "\U0001f600 é"}))
    assert isinstance(identity, Identity)
    assert identity.claims["name"] == "\U0001f600 é"


@pytest.fixture
def secret_file(tmp_path: Path) -> SecretFile:
    path = tmp_path / "secret"
    path.write_bytes(SECRET)
    return SecretFile(str(path))


def test_hs256_works_with_a_local_secret_alone(secret_file: SecretFile) -> None:
    """T14, T20: the secret verifies HS256, whatever the kid, and nothing else is allowed beside it."""
    parts: dict[str, Any] = {"keys": secret_file, "algorithms": frozenset({"HS256"})}
    assert word(judge(mint(key=SECRET, header={"alg": "HS256"}), **parts)) == "identity"
    assert word(judge(mint(key=SECRET, header={"alg": "HS256", **without("kid")}), **parts)) == "identity"
    assert word(judge(mint(key=SECRET[1:], header={"alg": "HS256"}), **parts)) == "signature-invalid"
    assert word(judge(mint(key=SECRET, header={"alg": "HS384"}), **parts)) == "algorithm-not-allowed"
    assert word(judge(mint(), **parts)) == "algorithm-not-allowed"


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"algorithms": frozenset({"HS256"})}, "HS256"),
        ({"algorithms": frozenset({"RS256", "HS256"})}, "HS256"),
        ({"keys": SecretFile("x"), "algorithms": frozenset({"RS256"})}, "HS256"),
        ({"keys": SecretFile("x"), "algorithms": frozenset({"RS256", "HS256"})}, "HS256"),
        ({"algorithms": frozenset()}, "algorithms"),
        ({"algorithms": frozenset({"none"})}, "algorithms"),
        ({"audiences": frozenset()}, "audiences"),
        ({"audiences": frozenset({""})}, "audiences"),
        ({"places": ()}, "place"),
        ({"issuer": ""}, "issuer"),
        ({"name": ""}, "name"),
        ({"token_types": frozenset()}, "tokenTypes"),
        ({"token_types": frozenset({"logout+jwt"})}, "tokenTypes"),
    ],
)
def test_unsafe_providers_can_not_be_made(parts: dict[str, Any], message: str) -> None:
    """T14: the room refuses what could never be safe, whatever the configuration let through."""
    with pytest.raises(ValueError, match=message):
        provider(**parts)


@given(
    claims=st.fixed_dictionaries(
        {},
        optional={
            "exp": st.sampled_from([NOW - 100, NOW - 60, NOW, NOW + 5, "1", None, True, 1.5, -1]),
            "nbf": st.sampled_from([NOW - 100, NOW + 100, "1", None]),
            "iat": st.sampled_from([NOW - 100, NOW + 100, "1", None]),
            "aud": st.sampled_from(["orders", "billing", ["orders"], [], None, 1]),
            "sub": st.sampled_from(["alice", "", None, 1]),
            "jti": st.sampled_from(["a", 1, None]),
        },
    ),
    header=st.fixed_dictionaries(
        {},
        optional={
            "alg": st.sampled_from(["RS256", "none", "HS256", "ES256"]),
            "kid": st.sampled_from(["k1", "k2", 1]),
            "crit": st.sampled_from([[], ["b64"]]),
            "b64": st.booleans(),
            "typ": st.sampled_from(["JWT", "at+jwt", "x", 1]),
        },
    ),
    forged=st.booleans(),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_what_is_accepted_pyjwt_accepts_too(claims: dict[str, Any], header: dict[str, Any], forged: bool) -> None:
    """Strictness only ever refuses: an accepted token passes another verifier with the same rules."""
    token = mint(claims, header=header, key=OTHER_RSA_KEY if forged else RSA_KEY, signed_as="RS256")
    if word(judge(token)) != "identity":
        return
    decoded = jwt.decode(
        token,
        RSA_KEY.public_key(),
        algorithms=["RS256"],
        audience="orders",
        issuer=ISSUER,
        options={
            "verify_exp": False,
            "verify_nbf": False,
            "verify_iat": False,
            "require": ["exp", "sub", "aud", "iss"],
        },
    )
    assert decoded["sub"] == "alice"
    assert decoded["exp"] + 60 > NOW
