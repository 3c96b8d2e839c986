"""Tokens that are remembered, and when they are forgotten (docs/security.md T12, T57, T59, T60)."""

import asyncio
import gc
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from extauthz.identity import (
    Authenticator,
    CacheLimits,
    ClaimPath,
    CookiePlace,
    FileKeys,
    HeaderPlace,
    InlineKeys,
    RemoteKeys,
    RoleRules,
)
from extauthz.identity.key_ring import Lease
from extauthz.identity.keys import Key
from extauthz.identity.strict_json import read_object
from extauthz.identity.token_cache import StoredClaims, TokenCache, digest_of
from extauthz.model import Identity
from tests.identity.issuer import (
    ED_KEY,
    JWKS_URI,
    NOW,
    OTHER_RSA_KEY,
    RSA_KEY,
    Clock,
    FakeFetcher,
    authenticator,
    bearer,
    jwk,
    jwks,
    mint,
    provider,
    request,
    word,
)
from tests.identity.test_key_ring import running

PLACE = frozenset({"corporate"})
LEASE = Lease(float("inf"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def signatures(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes the algorithm of each signature that is checked."""
    checked: list[str] = []
    verifies = Key.verifies

    def counted(self: Key, algorithm: str, signing_input: bytes, signature: bytes) -> bool:
        checked.append(algorithm)
        return verifies(self, algorithm, signing_input, signature)

    monkeypatch.setattr(Key, "verifies", counted)
    return checked


def caller(number: int = 0, **parts: Any) -> Identity:
    plain = {"subject": f"s{number}", "issuer": "i", "provider": "corporate", "roles": frozenset({"user"})}
    return Identity(**{**plain, "expires": NOW + 300, **parts})


def filled(limits: CacheLimits, count: int, payload: bytes = b"{}") -> TokenCache:
    """A cache that was given ``count`` tokens, named by their numbers."""
    cache = TokenCache(limits)
    for number in range(count):
        cache.keep(digest_of(str(number)), caller(number), payload, now=NOW, end=NOW + 300, lease=LEASE)
    return cache


def holds(cache: TokenCache, number: int, now: float = NOW) -> bool:
    return cache.find(digest_of(str(number)), PLACE, now) is not None


def test_a_token_is_verified_once(signatures: list[str]) -> None:
    """T59: the second sight of a token gives an equal identity without a signature."""
    subject = authenticator()
    token = mint({"tenant": "blue"})
    first, second = subject.authenticate(bearer(token)), subject.authenticate(bearer(token))
    assert first == second
    assert isinstance(second, Identity)
    assert dict(second.claims) == dict(first.claims) if isinstance(first, Identity) else False
    assert second.claims["tenant"] == "blue"
    assert len(signatures) == 1
    counts = subject.cache_counts()
    assert (counts.hits, counts.misses, counts.stale, counts.entries) == (1, 1, 0, 1)


def test_a_remembered_identity_is_given_without_allocation() -> None:
    """T59: it is the same object each time."""
    subject = authenticator()
    sent = bearer(mint())
    subject.authenticate(sent)
    assert subject.authenticate(sent) is subject.authenticate(sent)


@pytest.mark.parametrize("change", [lambda token: token[:-6] + "AAAAAA", lambda token: token + "A", str.upper])
def test_only_the_same_token_is_the_same(change: Callable[[str], str]) -> None:
    """T12, T59: the whole token is the key; one that differs anywhere is judged by itself."""
    subject = authenticator()
    token = mint()
    subject.authenticate(bearer(token))
    assert word(subject.authenticate(bearer(change(token)))) in {"signature-invalid", "token-malformed"}


def test_refusals_are_not_remembered(signatures: list[str]) -> None:
    """T59: a bad token is judged each time, and takes no room."""
    subject = authenticator()
    for _ in range(3):
        assert word(subject.authenticate(bearer(mint(key=OTHER_RSA_KEY)))) == "signature-invalid"
    assert len(signatures) == 3
    assert subject.cache_counts().entries == 0


def test_a_token_is_remembered_for_its_places_alone() -> None:
    """T10, T59: a token that was good in a header is not good in the cookie of another provider."""
    other = provider(
        name="other",
        issuer="https://other.example/",
        places=(CookiePlace("session"),),
        keys=InlineKeys(jwks(jwk(RSA_KEY, "k1"))),
    )
    subject = authenticator(provider(), other)
    token = mint()
    assert word(subject.authenticate(bearer(token))) == "identity"
    assert word(subject.authenticate(request({"cookie": f"session={token}"}))) == "issuer-unknown"
    assert word(subject.authenticate(bearer(token))) == "identity"


def test_credentials_are_counted_before_anything_is_remembered() -> None:
    """T9, T10: a remembered token does not excuse a second one."""
    subject = authenticator(provider(places=(HeaderPlace("authorization"), CookiePlace("t"))))
    token = mint()
    assert word(subject.authenticate(bearer(token))) == "identity"
    twice = request({"authorization": f"Bearer {token}", "cookie": f"t={token}"})
    assert word(subject.authenticate(twice)) == "credentials-ambiguous"


@pytest.mark.parametrize("skew", [0.0, 60.0])
def test_a_remembered_token_ends_when_the_verifier_says_so(clock: Clock, skew: float) -> None:
    """T33, T36, T59: it is given until exp plus the skew and not a moment longer, then it is expired."""
    subject = authenticator(provider(clock_skew=skew), now=clock.now)
    sent = bearer(mint({"exp": NOW + 100}))
    assert word(subject.authenticate(sent)) == "identity"
    clock.time = NOW + 100 + skew - 0.001
    assert word(subject.authenticate(sent)) == "identity"
    clock.time = NOW + 100 + skew
    assert word(subject.authenticate(sent)) == "token-expired"


def test_a_clock_that_is_set_back_brings_no_token_forward(clock: Clock) -> None:
    """T34, T59: nbf, iat and the lifetime are checked anew if the time is before that of the verification."""
    subject = authenticator(provider(clock_skew=0.0), now=clock.now)
    sent = bearer(mint({"nbf": NOW - 5, "iat": NOW - 5}))
    assert word(subject.authenticate(sent)) == "identity"
    clock.time = NOW - 6
    assert word(subject.authenticate(sent)) == "token-not-yet-valid"
    clock.time = NOW - 5
    assert word(subject.authenticate(sent)) == "identity"


def test_a_token_is_verified_anew_after_a_while(clock: Clock, signatures: list[str]) -> None:
    """T59, T60: whatever a token's exp, nothing is believed for longer than maxAge."""
    subject = authenticator(now=clock.now, token_cache=CacheLimits(max_age=300.0))
    sent = bearer(mint({"exp": NOW + 86_400}))
    for moment in (0, 299, 300, 599, 600):
        clock.time = NOW + moment
        assert word(subject.authenticate(sent)) == "identity"
    assert len(signatures) == 3
    assert subject.cache_counts().stale == 2
    assert subject.cache_counts().entries == 1


async def test_a_key_that_disappears_ends_what_it_proved(clock: Clock) -> None:
    """T57, T60: with the renewal that misses a key, remembered tokens of that provider end at once."""
    fetcher = FakeFetcher()
    fetcher.publish(jwk(RSA_KEY, "k1"), jwk(ED_KEY, "k2"))
    subject = authenticator(
        provider(keys=RemoteKeys(JWKS_URI)),
        now=clock.now,
        sleep=clock.sleep,
        fetcher=fetcher,
        token_cache=CacheLimits(),
    )
    old = bearer(mint({"exp": NOW + 86_400}))
    kept = bearer(mint({"exp": NOW + 86_400}, key=ED_KEY, header={"alg": "EdDSA", "kid": "k2"}))
    async with running(subject):
        assert [word(subject.authenticate(sent)) for sent in (old, kept)] == ["identity", "identity"]
        fetcher.publish(jwk(ED_KEY, "k2"))
        await clock.advance(269)
        assert word(subject.authenticate(old)) == "identity"
        await clock.advance(1)
        assert word(subject.authenticate(old, waited=True)) == "key-unknown"
        assert word(subject.authenticate(kept)) == "identity"


async def test_a_key_that_comes_ends_nothing(clock: Clock, signatures: list[str]) -> None:
    """T60: publishing the next key causes no storm of verifications."""
    fetcher = FakeFetcher()
    fetcher.publish(jwk(RSA_KEY, "k1"))
    subject = authenticator(provider(keys=RemoteKeys(JWKS_URI)), now=clock.now, sleep=clock.sleep, fetcher=fetcher)
    sent = bearer(mint())
    async with running(subject):
        subject.authenticate(sent)
        fetcher.publish(jwk(ED_KEY, "k2"), jwk(RSA_KEY, "k1"))
        await clock.advance(280)
        assert len(fetcher.calls) == 2
        assert word(subject.authenticate(sent)) == "identity"
    assert len(signatures) == 1


async def test_keys_that_grew_too_old_end_what_they_proved(clock: Clock) -> None:
    """T55, T60: 24 hours after the keys were last confirmed their tokens are denied, remembered or not."""
    fetcher = FakeFetcher()
    fetcher.publish(jwk(RSA_KEY, "k1"))
    limits = CacheLimits(max_age=3600.0)
    subject = authenticator(
        provider(keys=RemoteKeys(JWKS_URI)), now=clock.now, sleep=clock.sleep, fetcher=fetcher, token_cache=limits
    )
    async with running(subject):
        sent = bearer(mint({"exp": NOW + 10 * 86_400}))
        fetcher.answers.clear()
        clock.time += 86_400 - 1
        assert word(subject.authenticate(sent)) == "identity"
        clock.time += 1
        assert word(subject.authenticate(sent, waited=True)) == "keys-unavailable"


async def test_a_replaced_key_file_ends_what_it_proved(clock: Clock, tmp_path: Path) -> None:
    """T57, T60: a key file without the key takes effect within the 2 s in which files are looked at."""
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps(jwks(jwk(RSA_KEY, "k1"))))
    subject = authenticator(provider(keys=FileKeys(str(path))), now=clock.now, sleep=clock.sleep)
    sent = bearer(mint())
    assert word(subject.authenticate(sent)) == "identity"
    path.write_text(json.dumps(jwks(jwk(OTHER_RSA_KEY, "k2"))))
    async with running(subject):
        await clock.advance(2)
        for _ in range(200):
            if word(subject.authenticate(sent)) == "key-unknown":
                break
            await asyncio.sleep(0.01)
        assert word(subject.authenticate(sent)) == "key-unknown"


def test_the_number_of_entries_is_bounded() -> None:
    """I7: over the bound the oldest leave; those used since get a second round, so a flood does not drive them out."""
    cache = filled(CacheLimits(max_entries=100), 100)
    assert holds(cache, 3)
    for number in range(1000, 1150):
        cache.keep(digest_of(str(number)), caller(number), b"{}", now=NOW, end=NOW + 300, lease=LEASE)
        assert cache.counts().entries == 100
        if number % 50 == 0:
            assert holds(cache, 3)
    assert holds(cache, 3)
    assert not holds(cache, 4)
    assert cache.counts().evicted == 150


def test_when_all_are_used_room_is_made_all_the_same() -> None:
    """I7: second rounds are counted, so a new entry costs a bounded time."""
    cache = filled(CacheLimits(max_entries=50), 50)
    assert all(holds(cache, number) for number in range(50))
    cache.keep(digest_of("new"), caller(), b"{}", now=NOW, end=NOW + 300, lease=LEASE)
    assert cache.counts().entries == 50
    assert cache.find(digest_of("new"), PLACE, NOW) is not None


def test_the_number_of_bytes_is_bounded() -> None:
    """I7: large tokens leave room for fewer; one that is larger than all the room is not remembered."""
    cache = filled(CacheLimits(max_bytes=100_000), 200, b"x" * 9_000)
    counts = cache.counts()
    assert counts.entries == 10
    assert counts.bytes <= 100_000
    cache.keep(digest_of("huge"), caller(), b"x" * 100_000, now=NOW, end=NOW + 300, lease=LEASE)
    assert cache.counts().entries == 10


def test_what_has_ended_leaves_as_others_come() -> None:
    """I7: entries past their window are forgotten two at a time, without waiting for the bound."""
    cache = filled(CacheLimits(), 100)
    for number in range(1000, 1060):
        cache.keep(digest_of(str(number)), caller(number), b"{}", now=NOW + 300, end=NOW + 600, lease=LEASE)
    assert cache.counts().entries == 60
    assert cache.counts().evicted == 0


def test_replacing_an_entry_keeps_the_account_right() -> None:
    """I7: a token that is verified anew counts once, with its present size."""
    cache = TokenCache(CacheLimits())
    for size in (10, 1000, 100):
        cache.keep(b"d", caller(), b"x" * size, now=NOW, end=NOW + 300, lease=LEASE)
    alone = TokenCache(CacheLimits())
    alone.keep(b"d", caller(), b"x" * 100, now=NOW, end=NOW + 300, lease=LEASE)
    assert cache.counts().bytes == alone.counts().bytes
    assert cache.counts().entries == 1


def test_no_room_means_no_memory(signatures: list[str]) -> None:
    """maxEntries 0 verifies each time."""
    subject = authenticator(token_cache=CacheLimits(max_entries=0))
    for _ in range(2):
        assert word(subject.authenticate(bearer(mint()))) == "identity"
    assert len(signatures) == 2
    with pytest.raises(ValueError, match="negative"):
        CacheLimits(max_age=-1)


def test_the_estimate_of_bytes_is_near_the_truth() -> None:
    """I7: what an entry is said to take is what Python gives for it, within a third, for small and large payloads."""
    for size in (100, 700, 5_000):
        gc.collect()
        tracemalloc.start()
        cache = TokenCache(CacheLimits())
        for number in range(2_000):
            payload = b"%0*d" % (size, number)
            cache.keep(
                digest_of(str(number)),
                caller(number, expires=NOW + number),
                payload,
                now=NOW + number / 7,
                end=NOW + number / 3 + 9e5,
                lease=LEASE,
            )
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert 0.67 < taken / cache.counts().bytes < 1.15


def test_claims_are_read_when_somebody_looks() -> None:
    """Stored claims are a mapping like any other, equal to the parsed one, and show nothing of themselves."""
    payload = b'{"sub":"s3cret","a":{"b":[1,2]}}'
    claims = StoredClaims(payload, read_object)
    assert claims == {"sub": "s3cret", "a": {"b": [1, 2]}}
    assert (len(claims), list(claims), claims.get("x")) == (2, ["sub", "a"], None)
    assert "s3cret" not in repr(claims)


def test_roles_of_a_remembered_token_are_those_of_the_first_sight() -> None:
    """T59: roles and scopes come back as they were made, mapped and included."""
    rules = RoleRules((ClaimPath.parse("groups"),), {"g1": "admin"}, None)
    subject: Authenticator = authenticator(provider(roles=rules), includes={"admin": ["user"]})
    sent = bearer(mint({"groups": ["g1"], "scope": "read write"}))
    for _ in range(2):
        identity = subject.authenticate(sent)
        assert isinstance(identity, Identity)
        assert identity.roles == {"admin", "user"}
        assert identity.scopes == ("read", "write")
