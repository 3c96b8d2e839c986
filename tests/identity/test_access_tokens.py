"""Options that narrow what an access token may be: lifetime, profile, audience claim (docs/security.md T32 to T41)."""

from typing import Any

import pytest

from extauthz.identity import RFC9068_CLAIMS
from extauthz.model import Identity
from tests.identity.issuer import NOW, authenticator, bearer, judge, mint, provider, without, word

PROFILE: dict[str, Any] = {"required_claims": RFC9068_CLAIMS, "token_types": frozenset({"at+jwt"})}
PROFILED: dict[str, Any] = {"client_id": "cart", "jti": "7"}


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"iat": NOW - 100, "exp": NOW + 500}, "identity"),
        ({"iat": NOW - 101, "exp": NOW + 500}, "claim-invalid"),
        ({"iat": NOW + 30, "exp": NOW + 630}, "identity"),
        ({"iat": NOW + 30, "exp": NOW + 631}, "claim-invalid"),
        ({**without("iat"), "exp": NOW + 660}, "identity"),
        ({**without("iat"), "exp": NOW + 661}, "claim-invalid"),
        ({"iat": NOW, "exp": 2_000_000_000}, "claim-invalid"),
        ({"iat": NOW + 600, "exp": NOW + 700}, "token-not-yet-valid"),
    ],
)
def test_a_token_may_have_a_longest_life(claims: dict[str, Any], expected: str) -> None:
    """T35: maxLifetime bounds exp - iat exactly, and exp - now with the skew."""
    assert word(judge(mint(claims), max_lifetime=600.0)) == expected


def test_any_lifetime_is_the_default() -> None:
    """T35: without maxLifetime a token may live for years."""
    assert word(judge(mint({"exp": NOW + 10 * 365 * 86_400}))) == "identity"


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_longest_life_is_a_real_one(value: float) -> None:
    """T36: what is no positive number of seconds is refused when the provider is made."""
    with pytest.raises(ValueError, match="maxLifetime"):
        provider(max_lifetime=value)


@pytest.mark.parametrize("name", sorted(RFC9068_CLAIMS))
def test_the_profile_asks_for_all_its_claims(name: str) -> None:
    """T41: with the profile of RFC 9068 each of its claims must be there."""
    header = {"typ": "at+jwt"}
    assert word(judge(mint(PROFILED, header=header), **PROFILE)) == "identity"
    assert word(judge(mint({**PROFILED, **without(name)}, header=header), **PROFILE)) == "claim-invalid"
    assert word(judge(mint({**PROFILED, name: None}, header=header), **PROFILE)) == "claim-invalid"
    if name in PROFILED:
        assert word(judge(mint({**PROFILED, name: ""}, header=header), **PROFILE)) == "claim-invalid"


@pytest.mark.parametrize("kind", [{"typ": "JWT"}, without("typ"), {"typ": "at"}])
def test_the_profile_asks_for_its_type(kind: dict[str, Any]) -> None:
    """T39, T41: with the profile a token says that it is an access token."""
    assert word(judge(mint(PROFILED, header=kind), **PROFILE)) == "claim-invalid"
    assert word(judge(mint(PROFILED, header={"typ": "application/AT+JWT"}), **PROFILE)) == "identity"


def test_the_profile_asks_for_an_audience_even_where_any_will_do() -> None:
    """T41: aud is there, whatever it says."""
    token = mint({**PROFILED, **without("aud")}, header={"typ": "at+jwt"})
    assert word(judge(token, audiences=None, **PROFILE)) == "claim-invalid"


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({**without("aud"), "client_id": "cart"}, "identity"),
        ({**without("aud"), "client_id": "other"}, "audience-mismatch"),
        ({**without("aud"), "client_id": "carts"}, "audience-mismatch"),
        ({**without("aud"), "client_id": ["cart"]}, "audience-mismatch"),
        (without("aud"), "claim-invalid"),
        ({"aud": "cart", "client_id": "cart"}, "identity"),
        ({"aud": "cart"}, "claim-invalid"),
        ({"aud": "cart", "client_id": "other"}, "audience-mismatch"),
        ({"aud": "https://other.example/", "client_id": "cart"}, "audience-mismatch"),
        ({"aud": 5, "client_id": "cart"}, "claim-invalid"),
    ],
)
def test_clients_can_stand_for_audiences(claims: dict[str, Any], expected: str) -> None:
    """T32: with audienceClaim client_id the client must be named, and an aud that is there must name us as well."""
    assert word(judge(mint(claims), audiences=frozenset({"cart"}), audience_claim="client_id")) == expected


@pytest.mark.parametrize(
    ("nbf", "expected"),
    [
        (NOW + 60, "identity"),
        (NOW + 61, "token-not-yet-valid"),
        (2**63 - 1, "claim-invalid"),
        (2**63, "token-malformed"),
        (-1, "claim-invalid"),
    ],
)
def test_tokens_of_the_future_are_not_valid_yet(nbf: int, expected: str) -> None:
    """T34: nbf counts with the skew, equality is enough, and huge values are refused instead of wrapped."""
    assert word(judge(mint({"nbf": nbf, "exp": NOW + 300}))) == expected


def test_the_same_subject_of_two_issuers_is_two_callers() -> None:
    """T38: an identity is the issuer and the subject; e-mail and preferred names are claims like others."""
    other = provider(name="other", issuer="https://other.example/")
    subject = authenticator(provider(), other)
    one = subject.authenticate(bearer(mint({"email": "a@x.example", "preferred_username": "root"})))
    two = subject.authenticate(bearer(mint({"iss": "https://other.example/"})))
    assert isinstance(one, Identity)
    assert isinstance(two, Identity)
    assert (one.issuer, one.subject) != (two.issuer, two.subject)
    assert one.subject == two.subject == "alice"
