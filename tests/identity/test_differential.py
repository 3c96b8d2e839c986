"""Two other verifiers as judges of ours: whatever we accept, PyJWT and joserfc accept under the same keys and rules.

The converse does not hold and is not meant to: they take tokens that we refuse. Time is the real one here, because PyJWT
has no other; dates keep away from the borders that tests/identity/test_verification.py looks at.
"""

import json
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import joserfc.jwk
import joserfc.jwt
import jwt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry

from extauthz.identity import InlineKeys
from extauthz.identity.token_form import MAX_TOKEN_SIZE
from extauthz.model import Identity
from tests.identity.issuer import (
    EC_KEY,
    ED_KEY,
    ISSUER,
    OTHER_RSA_KEY,
    RSA_KEY,
    PrivateKey,
    authenticator,
    b64,
    bearer,
    jwk,
    jwks,
    mint,
    provider,
    without,
)

NOW = time.time()
SKEW = 60
ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA"]
SET = jwks(jwk(RSA_KEY, "r"), jwk(EC_KEY, "e"), jwk(ED_KEY, "o"))
SIGNERS: dict[str, tuple[str, PrivateKey, str]] = {
    "rsa": ("RS256", RSA_KEY, "r"),
    "pss": ("PS256", RSA_KEY, "r"),
    "ec": ("ES256", EC_KEY, "e"),
    "ed": ("EdDSA", ED_KEY, "o"),
    "forged": ("RS256", OTHER_RSA_KEY, "r"),
}
OURS = authenticator(provider(keys=InlineKeys(SET), algorithms=frozenset(ALGORITHMS), clock_skew=SKEW), now=time.time)
PYJWT_KEYS = jwt.PyJWKSet.from_dict(SET)
JOSERFC_KEYS = joserfc.jwk.KeySet.import_key_set({"keys": SET["keys"]})
# joserfc refuses headers over 512 bytes, and unknown parameters, which RFC 7515 section 4 wants ignored. Sizes are our
# choice and no question of truth; so it is told to be as generous as we are.
HEADERS = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
HEADERS.max_header_length = HEADERS.max_payload_length = HEADERS.max_signature_length = MAX_TOKEN_SIZE


def ours(token: str) -> Mapping[str, Any] | None:
    """The claims, if we accept the token."""
    outcome = OURS.authenticate(bearer(token))
    return outcome.claims if isinstance(outcome, Identity) else None


def by_pyjwt(token: str) -> dict[str, Any] | None:
    """The claims, if PyJWT accepts the token with any key that it may be meant for."""
    for key in PYJWT_KEYS.keys:
        try:
            kid = jwt.get_unverified_header(token).get("kid", key.key_id)
            if kid == key.key_id:
                return jwt.decode(
                    token,
                    key.key,
                    algorithms=ALGORITHMS,
                    audience="orders",
                    issuer=ISSUER,
                    leeway=SKEW,
                    options={"require": ["exp", "sub", "aud", "iss"]},
                )
        except (jwt.PyJWTError, TypeError):  # a TypeError is how it refuses a key of another type
            continue
    return None


def by_joserfc(token: str) -> dict[str, Any] | None:
    """The claims, if joserfc accepts the token with any key that it may be meant for."""
    rules = joserfc.jwt.JWTClaimsRegistry(
        now=int(time.time()),
        leeway=SKEW,
        iss={"essential": True, "value": ISSUER},
        aud={"essential": True, "value": "orders"},
        exp={"essential": True},
        sub={"essential": True},
    )
    for key in JOSERFC_KEYS.keys:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it calls the name EdDSA deprecated
                found = joserfc.jwt.decode(token, key, algorithms=ALGORITHMS, registry=HEADERS)
            rules.validate(found.claims)
        except (JoseError, ValueError):
            continue
        if found.header.get("kid", key.kid) == key.kid:
            return found.claims
    return None


@pytest.mark.parametrize("signer", [name for name in SIGNERS if name != "forged"])
@pytest.mark.parametrize("header", [{}, without("kid"), without("typ"), {"typ": "at+jwt"}])
def test_all_three_accept_a_good_token(signer: str, header: dict[str, Any]) -> None:
    """T13, T25: the judges are no straw men: what they are asked for below is something that they do."""
    token = token_of(signer, {}, header)
    assert ours(token) == by_pyjwt(token) == by_joserfc(token) is not None


def token_of(signer: str, claims: dict[str, Any], header: dict[str, Any], payload: bytes | None = None) -> str:
    algorithm, key, kid = SIGNERS[signer]
    dates = {"exp": NOW + 3000, "iat": NOW - 100}
    return mint(
        {**dates, **claims},
        key=key,
        header={"alg": algorithm, "kid": kid, **header},
        signed_as=algorithm,
        payload=payload,
    )


ODD: list[Any] = [None, True, 0, -1, 1.5, "", "x", [], ["orders"], {}, [None], 2**53, 1e300]
CLAIMS = st.fixed_dictionaries(
    {},
    optional={
        "exp": st.sampled_from([NOW + 500, NOW + 1e9, NOW - 30, NOW - 500, int(NOW) + 900, str(NOW + 900), *ODD]),
        "nbf": st.sampled_from([NOW - 500, NOW + 30, NOW + 500, *ODD]),
        "iat": st.sampled_from([NOW - 500, NOW + 30, NOW + 500, *ODD]),
        "iss": st.sampled_from([ISSUER, ISSUER[:-1], ISSUER.upper(), [ISSUER], *ODD]),
        "aud": st.sampled_from(["orders", "order", "orders ", ["a", "orders"], ["orders", 1], *ODD]),
        "sub": st.sampled_from(["alice", " ", "\u0000", *ODD]),
        "jti": st.sampled_from(["1", *ODD]),
        "nonce": st.sampled_from(["n", *ODD]),
        "x": st.recursive(st.sampled_from(ODD), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)),
    },
)
HEADER = st.fixed_dictionaries(
    {},
    optional={
        "alg": st.sampled_from(["RS256", "PS256", "ES256", "EdDSA", "RS512", "HS256", "none", "nOnE", "", None, 256]),
        "kid": st.sampled_from(["r", "e", "o", "R", "", "../r", "r\u0000", None, 1, ["r"]]),
        "typ": st.sampled_from(["JWT", "at+jwt", "application/at+jwt", "logout+jwt", "", None, 1]),
        "crit": st.sampled_from([[], ["b64"], ["exp"], "b64", None]),
        "b64": st.booleans(),
        "zip": st.sampled_from(["DEF", None]),
        "jku": st.just("https://evil.example/jwks"),
        "jwk": st.just(jwk(OTHER_RSA_KEY)),
        "x": st.sampled_from(ODD),
    },
)
RAW: list[Callable[[bytes], bytes]] = [
    lambda raw: raw[:-1] + b',"sub":"root"}',
    lambda raw: b'{"iss":"https://evil.example/",' + raw[1:],
    lambda raw: b"\xef\xbb\xbf" + raw,
    lambda raw: raw + b" ",
    lambda raw: raw + b"{}",
    lambda raw: b"[" + raw + b"]",
    lambda raw: raw[:-1],
    lambda raw: raw[:-1] + b',"n":NaN}',
    lambda raw: raw[:-1] + b',"n":1e999}',
    lambda raw: raw[:-1] + b',"n":' + b"9" * 400 + b"}",
    lambda raw: raw[:-1] + b',"n":' + b"[" * 100 + b"]" * 100 + b"}",
    lambda raw: raw[:-1] + b',"n":"\xff"}',
    lambda raw: raw[:-1] + b',"n":"\\ud800"}',
    lambda raw: raw.replace(b'"sub"', b'"\\u0073ub"'),
    lambda raw: raw.replace(b'"sub"', b'"Sub"'),
    lambda raw: raw.decode().encode("utf-16"),
    lambda raw: b" \n" + raw,
    lambda raw: b"",
]
CHARACTERS = "AZaz09-_.=+/ \t\n\u00e9\u0000,"


@given(signer=st.sampled_from(sorted(SIGNERS)), claims=CLAIMS, header=HEADER)
@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_claims_and_headers(signer: str, claims: dict[str, Any], header: dict[str, Any]) -> None:
    """T13, T32, T33: any claims and headers that we accept, both others accept, and read the same from them."""
    judge(token_of(signer, claims, header))


@given(signer=st.sampled_from(sorted(SIGNERS)), changes=st.lists(st.sampled_from(RAW), min_size=1, max_size=2))
@settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_spellings_of_the_payload(signer: str, changes: list[Callable[[bytes], bytes]]) -> None:
    """T4, T5, T6: signed JSON that parsers read differently is never accepted in one way only."""
    plain = {"iss": ISSUER, "sub": "alice", "aud": "orders", "exp": int(NOW) + 900}
    raw = json.dumps(plain).encode()
    for change in changes:
        try:
            raw = change(raw)
        except UnicodeDecodeError:
            break
    judge(token_of(signer, {}, {}, payload=raw))


@given(data=st.data(), signer=st.sampled_from(sorted(SIGNERS)))
@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_spellings_of_the_token(data: st.DataObject, signer: str) -> None:
    """T1, T3, T12, T18: a token with characters changed, added, removed or exchanged with another token's."""
    token = token_of(signer, {}, {})
    for _ in range(data.draw(st.integers(1, 3))):
        match data.draw(st.sampled_from(["set", "add", "cut", "part", "repeat", "pad", "der"])):
            case "set":
                at = data.draw(st.integers(0, max(len(token) - 1, 0)))
                token = token[:at] + data.draw(st.sampled_from(CHARACTERS)) + token[at + 1 :]
            case "add":
                at = data.draw(st.integers(0, len(token)))
                token = token[:at] + data.draw(st.sampled_from(CHARACTERS)) + token[at:]
            case "cut":
                at = data.draw(st.integers(0, len(token)))
                token = token[:at] + token[at + data.draw(st.integers(1, 4)) :]
            case "part":
                other = token_of(data.draw(st.sampled_from(sorted(SIGNERS))), {"sub": "root"}, {}).split(".")
                parts, at = token.split("."), data.draw(st.integers(0, 2))
                token = ".".join([*parts[:at], other[at], *parts[at + 1 :]])
            case "repeat":
                token += "." + token.rpartition(".")[2]
            case "pad":
                token += "="
            case _:
                token = token.rpartition(".")[0] + "." + b64(b"\x30\x06\x02\x01\x01\x02\x01\x01")
    judge(token)


def judge(token: str) -> None:
    """Fail if we accept what another verifier refuses or reads differently."""
    claims = ours(token)
    if claims is not None:
        assert by_pyjwt(token) == claims
        assert by_joserfc(token) == claims
