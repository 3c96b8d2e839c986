"""The whole way from a request to an identity, a refusal or nobody."""

import asyncio
import dataclasses
import time

import pytest

from extauthz.identity import (
    Authenticator,
    CacheLimits,
    ClaimPath,
    CookiePlace,
    HeaderPlace,
    InlineKeys,
    QueryPlace,
    RemoteKeys,
    RoleRules,
    Wait,
)
from extauthz.model import Deny, Reason
from tests.identity.issuer import (
    ISSUER,
    OTHER_RSA_KEY,
    FakeFetcher,
    authenticator,
    bearer,
    jwk,
    jwks,
    mint,
    provider,
    request,
    without,
    word,
)


def test_a_request_without_credentials_is_nobody() -> None:
    """T50: nobody is not refused here; the policies decide whether that is enough."""
    assert authenticator().authenticate(request()) is None
    assert authenticator().authenticate(request(http=False)) is None


def test_without_providers_nobody_can_be_known() -> None:
    """No provider means no place for credentials: a header is not one."""
    empty = Authenticator([], {}, fetcher=FakeFetcher(), now=lambda: 0.0)
    assert empty.authenticate(bearer(mint())) is None
    assert empty.started()
    assert empty.states() == ()


@pytest.mark.parametrize("token", ["x", "a.b.c", mint(key=OTHER_RSA_KEY), mint({"exp": 1}), mint(header={"kid": "k2"})])
def test_bad_credentials_are_never_nobody(token: str) -> None:
    """T50: whatever is wrong with a token, its bearer does not become anonymous."""
    assert isinstance(authenticator().authenticate(bearer(token)), Deny)


def test_the_keys_of_one_issuer_do_not_vouch_for_another() -> None:
    """T31: a token that claims issuer B and is signed by issuer A's key is forged."""
    other = provider(name="other", issuer="https://other.example/", keys=InlineKeys(jwks(jwk(OTHER_RSA_KEY, "k1"))))
    both = authenticator(provider(), other)
    assert word(both.authenticate(bearer(mint({"iss": "https://other.example/"})))) == "signature-invalid"
    assert word(both.authenticate(bearer(mint({"iss": "https://other.example/"}, key=OTHER_RSA_KEY)))) == "identity"


def test_a_near_miss_of_the_issuer_is_explained() -> None:
    """The most common slip, a final slash, is named, and the token's own text is not repeated."""
    near = authenticator().authenticate(bearer(mint({"iss": ISSUER.rstrip("/")})))
    far = authenticator().authenticate(bearer(mint({"iss": "https://evil.example/\n[FORGED LOG]"})))
    assert isinstance(near, Deny)
    assert isinstance(far, Deny)
    assert near.reason is far.reason is Reason.ISSUER_UNKNOWN
    assert "corporate" in near.detail
    assert "slash" in near.detail
    assert "evil" not in far.detail


def test_two_providers_can_not_share_an_issuer_or_a_name() -> None:
    """Which of them judges would be a guess."""
    for other in (provider(name="other"), provider(issuer="https://other.example/")):
        with pytest.raises(ValueError, match="another provider"):
            authenticator(provider(), other)


def test_no_denial_shows_anything_of_the_token() -> None:
    """I6: details name the fault; subject, claims and the token itself stay out."""
    secrets = {"sub": "s3cret-subject", "tenant": "s3cret-tenant", "jti": "s3cret-id"}
    tokens = [
        mint(secrets, key=OTHER_RSA_KEY),
        mint({**secrets, "exp": 1, "iat": 0}),
        mint({**secrets, "aud": "s3cret-audience"}),
        mint({**secrets, "roles": 5}),
        mint({**secrets, "nonce": "s3cret-nonce"}),
        mint(secrets, header={"kid": "s3cret-kid"}),
        mint(secrets, header={"alg": "s3cret-alg"}, signed_as="RS256"),
        mint(secrets, header={"typ": "s3cret-typ"}),
        mint({**secrets, **without("exp")}),
        mint(payload=b'{"s3cret":'),
    ]
    subject = authenticator(provider(roles=RoleRules((ClaimPath.parse("roles"),))))
    for token in tokens:
        denial = subject.authenticate(bearer(token))
        assert isinstance(denial, Deny)
        assert "s3cret" not in repr(denial)
        assert token[:20] not in repr(denial)


def test_a_wait_is_a_small_value() -> None:
    """It names the provider that is waited for and can't be changed."""
    wait = authenticator(provider(keys=RemoteKeys("https://x.example/"))).authenticate(bearer(mint()))
    assert isinstance(wait, Wait)
    assert wait.provider == "corporate"
    with pytest.raises(dataclasses.FrozenInstanceError):
        wait.provider = "other"  # type: ignore[misc]


async def test_running_ends_only_when_it_is_cancelled() -> None:
    """Keys that never change are no reason to end: whoever keeps the task going would start it again for ever."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await authenticator().run()


def test_the_worst_token_costs_little_more_than_a_good_one() -> None:
    """T2, T6: no token of maximum size costs the CPU of twenty good ones that are seen for the first time."""
    places = (HeaderPlace("authorization", "Bearer "), CookiePlace("token"), QueryPlace("token"))
    subject = authenticator(provider(places=places), token_cache=CacheLimits(max_entries=0))
    good = mint()
    filler = "A" * 11_000
    hostile = [
        mint(payload=b"[" * 40 + b'"' + b'\\"' * 5500),
        mint(payload=b'{"a":"' + b"\\u0041" * 1800 + b'"}'),
        mint(payload=b'{"iss":"' + ISSUER.encode() + b'","a":[' + b"[]," * 3500 + b"1]}"),
        mint(payload=b"{" + b",".join(b'"%d":{}' % n for n in range(1200)) + b"}"),
        mint(payload=b'{"a":[' + b'"",' * 3500 + b"[]," * 40 + b"1]}"),
        mint(payload=b'{"a":' + b"[" * 500 + b"]" * 500 + b"}"),
        mint({"a": filler}, key=OTHER_RSA_KEY),
        mint(header={"a": filler[:5000]}, key=OTHER_RSA_KEY),
        "." * 16_384,
        filler + "." + filler + ".",
    ]

    def cost(token: str) -> float:
        sent = bearer(token)
        best = 1.0
        for _ in range(7):
            began = time.process_time()
            for _ in range(10):
                subject.authenticate(sent)
            best = min(best, time.process_time() - began)
        return best

    limit = 20 * cost(good)
    for token in hostile:
        assert cost(token) < limit
