"""Tokens of this process's own token service, verified with its keys and without a way round."""

import asyncio
from typing import Any

import pytest

from extauthz.errors import SigningError
from extauthz.identity import OwnKeys, OwnTokens, RemoteKeys
from extauthz.model import Deny, Identity, Reason, VerifiedClaims
from tests.identity.issuer import (
    EC_KEY,
    ED_KEY,
    ISSUER,
    JWKS_URI,
    NOW,
    RSA_KEY,
    SECRET,
    Clock,
    FakeFetcher,
    PrivateKey,
    authenticator,
    bearer,
    jwk,
    mint,
    provider,
    word,
)
from tests.identity.keeper import CLAIMS, Keeper, OwnKey, Register, issue, own, public

REVOKED = Deny(Reason.TOKEN_REVOKED, "told")


@pytest.mark.parametrize(
    ("key", "algorithm"), [(EC_KEY, "ES256"), (ED_KEY, "EdDSA"), (RSA_KEY, "RS256"), (RSA_KEY, "PS256")]
)
def test_whatever_it_signs_with_verifies(key: PrivateKey, algorithm: str) -> None:
    """All that the token service can be told to sign with, without a word in the provider's configuration."""
    subject = authenticator(own(Keeper([public(key, "o1", algorithm)])))
    assert word(subject.authenticate(bearer(issue(key, algorithm=algorithm)))) == "identity"


def test_a_secret_verifies_here_alone() -> None:
    """HS256 needs no key set, which must never hold a secret."""
    subject = authenticator(own(Keeper([OwnKey("s1", "HS256", secret=SECRET)])))
    assert word(subject.authenticate(bearer(issue(SECRET, "s1", "HS256")))) == "identity"


def test_a_public_key_is_never_taken_for_a_secret() -> None:
    """Although HS256 and public keys may be side by side: each key is good for its own algorithm alone."""
    keys = [public(EC_KEY, "o1"), OwnKey("s1", "HS256", secret=SECRET), public(RSA_KEY, "r1", "RS256")]
    subject = authenticator(own(Keeper(keys)))
    material = jwk(EC_KEY, "o1")["x"].encode()
    for kid in ("o1", "r1"):
        forged = mint(CLAIMS, key=material, header={"alg": "HS256", "typ": "at+jwt", "kid": kid})
        assert word(subject.authenticate(bearer(forged))) == "algorithm-not-allowed"
    assert word(subject.authenticate(bearer(issue(RSA_KEY, "r1", "PS256")))) == "algorithm-not-allowed"
    assert word(subject.authenticate(bearer(mint(CLAIMS, key=SECRET, header={"alg": "HS256", "kid": "o1"})))) == (
        "algorithm-not-allowed"
    )


def test_next_current_and_previous_verify() -> None:
    """All that the service calls good."""
    keys = [public(RSA_KEY, "previous", "RS256"), public(EC_KEY, "current"), public(ED_KEY, "next", "EdDSA")]
    subject = authenticator(own(Keeper(keys)))
    tokens = [issue(RSA_KEY, "previous", "RS256"), issue(kid="current"), issue(ED_KEY, "next", "EdDSA")]
    assert [word(subject.authenticate(bearer(token))) for token in tokens] == ["identity"] * 3


def test_a_key_that_goes_ends_its_tokens_at_once() -> None:
    """I8: remembered ones too, in the same moment; a key that comes ends nothing."""
    keeper = Keeper([public(EC_KEY, "o1"), public(ED_KEY, "o2", "EdDSA")])
    subject = authenticator(own(keeper))
    old, new = issue(), issue(ED_KEY, "o2", "EdDSA")
    for _ in range(2):
        assert word(subject.authenticate(bearer(old))) == word(subject.authenticate(bearer(new))) == "identity"
    keeper.change(*keeper.keys, public(RSA_KEY, "o3", "RS256"))
    hits = subject.cache_counts().hits
    assert word(subject.authenticate(bearer(old))) == "identity"
    assert subject.cache_counts().hits == hits + 1
    keeper.change(*keeper.keys[1:])
    assert word(subject.authenticate(bearer(old))) == "wait"
    assert word(subject.authenticate(bearer(old), waited=True)) == "key-unknown"
    assert word(subject.authenticate(bearer(new))) == "identity"


def test_without_any_key_nothing_verifies() -> None:
    """Before the keys are read, and when all are gone."""
    keeper = Keeper()
    subject = authenticator(own(keeper))
    token = bearer(issue())
    assert not subject.started()
    assert word(subject.authenticate(token)) == "wait"
    assert word(subject.authenticate(token, waited=True)) == "keys-unavailable"
    keeper.change(public(EC_KEY, "o1"))
    assert subject.started()
    assert word(subject.authenticate(token)) == "identity"
    keeper.change()
    assert word(subject.authenticate(token, waited=True)) == "keys-unavailable"
    [state] = subject.states()
    assert not state.usable


async def test_a_key_that_another_replica_made_is_looked_for_once() -> None:
    """A token that no key fits waits for one look; made-up ones cause no more."""
    clock = Clock()
    keeper = Keeper([public(EC_KEY, "o1")], elsewhere=[public(EC_KEY, "o1"), public(ED_KEY, "o2", "EdDSA")])
    subject = authenticator(own(keeper), now=clock.now)
    request = bearer(issue(ED_KEY, "o2", "EdDSA"))
    wait: Any = subject.authenticate(request)
    await wait.ready()
    assert word(subject.authenticate(request, waited=True)) == "identity"
    for number in range(100):
        assert word(subject.authenticate(bearer(issue(kid=f"x{number}")))) == "key-unknown"
    assert keeper.looks == 1


async def test_keys_that_can_not_be_looked_at_stay_in_force() -> None:
    """I9: the backend is down, and what was signed goes on to verify."""
    keeper = Keeper([public(EC_KEY, "o1")], elsewhere=SigningError("vault is sealed"))
    subject = authenticator(own(keeper))
    wait: Any = subject.authenticate(bearer(issue(kid="o2")))
    await wait.ready()
    assert word(subject.authenticate(bearer(issue(kid="o2")), waited=True)) == "key-unknown"
    assert word(subject.authenticate(bearer(issue()))) == "identity"
    [state] = subject.states()
    assert (state.usable, state.error) == (True, "")


def test_they_are_named_where_people_look() -> None:
    """In readiness, and in the explanation of a token."""
    register = Register()
    subject = authenticator(own(Keeper([public(EC_KEY, "o1")]), register))
    [state] = subject.states()
    assert state.sentence == "in use: the keys of this process's own token service"
    told = {step.about: step for step in subject.explain(bearer(issue())).steps}
    assert told["keys"].value == "1 key of this process's own token service"
    assert told["standing"].holds
    register.refused["t1"] = REVOKED
    told = {step.about: step for step in subject.explain(bearer(issue())).steps}
    assert (told["standing"].holds, told["standing"].fault) == (False, "told")
    others = authenticator(provider()).explain(bearer(mint()))
    assert "standing" not in {step.about for step in others.steps}


@pytest.mark.parametrize("mark", ["t1", "alice", "shop", "f1", "o1"])
def test_what_is_revoked_is_refused_whether_it_is_remembered_or_not(mark: str) -> None:
    """By each of its marks, and from the first request after."""
    register = Register()
    subject = authenticator(own(Keeper([public(EC_KEY, "o1")]), register))
    token = bearer(issue())
    assert word(subject.authenticate(token)) == "identity"
    register.refused[mark] = REVOKED
    for _ in range(3):
        found = subject.authenticate(token)
        assert isinstance(found, Deny)
        assert (found.reason, found.provider) == (Reason.TOKEN_REVOKED, "own")
    del register.refused[mark]
    # What has left the cache is verified anew.
    hits = subject.cache_counts().hits
    assert word(subject.authenticate(token)) == "identity"
    assert subject.cache_counts().hits == hits


def test_what_can_not_be_judged_now_stays_remembered() -> None:
    """503 while nobody can say, and a hit again afterwards."""
    register = Register()
    subject = authenticator(own(Keeper([public(EC_KEY, "o1")]), register))
    token = bearer(issue())
    subject.authenticate(token)
    register.refused["t1"] = Deny(Reason.STORE_UNAVAILABLE, "too old", retry_after=1)
    assert word(subject.authenticate(token)) == "store-unavailable"
    register.refused.clear()
    hits = subject.cache_counts().hits
    assert word(subject.authenticate(token)) == "identity"
    assert subject.cache_counts().hits == hits + 1


def test_tokens_of_others_ask_nobody() -> None:
    """They pay nothing for it."""
    register = Register()
    both = authenticator(
        own(Keeper([public(EC_KEY, "o1")]), register, issuer="https://own.example", roles=provider().roles),
        provider(),
    )
    for _ in range(3):
        assert isinstance(both.authenticate(bearer(mint())), Identity)
    assert register.asked == 0


def test_marks_that_are_no_text_are_refused() -> None:
    """What can't be revoked by name is not believed."""
    subject = authenticator(own(Keeper([public(EC_KEY, "o1")])))
    assert word(subject.authenticate(bearer(issue(sid=["f1"])))) == "claim-invalid"


def told(read: VerifiedClaims | Deny) -> str:
    return read.reason.word if isinstance(read, Deny) else "claims"


def reader(register: Register | None = None, keeper: Keeper | None = None) -> OwnTokens:
    keys = OwnKeys(keeper or Keeper([public(EC_KEY, "o1")]), register or Register())
    return OwnTokens(ISSUER, keys, now=lambda: NOW)


def test_the_service_reads_its_own_tokens_for_whomever_they_are() -> None:
    """Audience and roles are not its business; signature, times, kind and standing are."""
    claims = reader().read(issue(aud="nobody we know", roles={"odd": 1}))
    assert not isinstance(claims, Deny)
    assert claims["jti"] == "t1"
    refused = {
        "token-malformed": "x.y",
        "issuer-unknown": issue(iss="https://other.example/"),
        "signature-invalid": issue()[:-8] + "AAAAAAAA",
        "key-unknown": issue(kid="o2"),
        "token-expired": issue(exp=NOW - 61),
        "claim-invalid": mint(CLAIMS, key=EC_KEY, header={"alg": "ES256", "kid": "o1", "typ": "JWT"}),
    }
    for reason, token in refused.items():
        assert told(reader().read(token)) == reason
    assert told(reader(Register({"f1": REVOKED})).read(issue())) == "token-revoked"
    assert told(reader(keeper=Keeper()).read(issue())) == "keys-unavailable"


def test_what_was_issued_is_known_although_it_has_ended() -> None:
    """Expired or revoked; nothing else is forgiven."""
    known = reader(Register({"f1": REVOKED}))
    for token in (issue(), issue(iat=NOW - 90_000, exp=NOW - 86_400)):
        claims = known.issued(token)
        assert claims is not None
        assert claims["jti"] == "t1"
    others = [
        "x.y",
        issue(iss="https://other.example/"),
        issue(iat=NOW - 90_000, exp=NOW - 86_400)[:-8] + "AAAAAAAA",
        issue(kid="o2"),
        issue(exp="soon"),
        issue(exp=True),
        issue(exp=-5),
        issue(nbf=NOW + 86_400, exp=NOW + 90_000),
        mint(CLAIMS, key=EC_KEY, header={"alg": "ES256", "kid": "o1", "typ": "JWT"}),
    ]
    assert [known.issued(token) for token in others] == [None] * len(others)


async def test_a_bare_token_of_a_provider_that_is_named_proves_its_subject() -> None:
    """An own one too; tokens of other providers and what is no token prove nobody."""
    subject = authenticator(
        own(Keeper([public(EC_KEY, "o1")]), issuer="https://own.example", roles=provider().roles), provider()
    )
    both = frozenset({"own", "corporate"})
    found = await subject.verify(mint(), both, within=1)
    assert isinstance(found, Identity)
    assert (found.provider, found.subject) == ("corporate", "alice")
    mine = await subject.verify(issue(iss="https://own.example"), both, within=1)
    assert isinstance(mine, Identity)
    assert mine.provider == "own"
    assert word(await subject.verify(mint(), frozenset({"own"}), within=1)) == "issuer-unknown"
    assert word(await subject.verify("opaque", both, within=1)) == "token-malformed"
    assert word(await subject.verify("", both, within=1)) == "token-malformed"


async def test_a_bare_token_waits_for_keys_within_its_time() -> None:
    """And no longer."""
    fetcher = FakeFetcher(gate=asyncio.Event())
    fetcher.publish(jwk(RSA_KEY, "k1"))
    subject = authenticator(provider(keys=RemoteKeys(JWKS_URI)), fetcher=fetcher)
    names = frozenset({"corporate"})
    assert word(await subject.verify(mint(), names, within=0.05)) == "deadline-exceeded"
    assert fetcher.gate is not None
    fetcher.gate.set()
    assert word(await subject.verify(mint(), names, within=5)) == "identity"
