"""Opaque tokens and what their issuer says of them, over real HTTP and through the authenticator."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from extauthz.errors import KeySetError
from extauthz.identity import (
    Authenticator,
    ClaimPath,
    ClientKey,
    ClientSecret,
    CookiePlace,
    HeaderPlace,
    InlineKeys,
    RoleRules,
    Wait,
)
from extauthz.model import Deny, Identity, Reason
from tests.identity.endpoint import (
    INACTIVE,
    SECRET,
    Endpoint,
    Time,
    answer,
    ask,
    eventually,
    fetcher,
    http,
    introspection,
    secret_file,
    serving,
)
from tests.identity.issuer import (
    EC_KEY,
    ED_KEY,
    ISSUER,
    NOW,
    RSA_KEY,
    PrivateKey,
    bearer,
    jwk,
    jwks,
    mint,
    provider,
    request,
    settle,
    word,
)
from tests.identity.key_file import entry, fresh_key, keys_in, write

ROLES = RoleRules((ClaimPath(("roles",)), ClaimPath(("scope",))), {"read": "reader"}, frozenset({"user", "reader"}))


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with serving(Endpoint()) as running:
        yield running


@pytest.fixture
def clock() -> Time:
    return Time()


def asking(endpoint: Endpoint, folder: Path, *others: Any, clock: Time | None = None, **parts: Any) -> Authenticator:
    """An authenticator that asks the endpoint, beside other providers."""
    includes = parts.pop("includes", {})
    providers = [introspection(endpoint, folder, **parts), *others]
    return Authenticator(providers, includes, fetcher=fetcher(), now=(clock or Time()).now)


# What is asked


async def test_the_question(endpoint: Endpoint, tmp_path: Path) -> None:
    """T61: a form by POST with the whole token, the client's name and secret form-encoded in the header, JSON asked for."""
    client = ClientSecret("me:and you", secret_file(tmp_path, "p%ss +wörd:/\n"))
    await ask(asking(endpoint, tmp_path, client=client), "opaque-~+/token==")
    [question] = endpoint.questions
    assert question.start == "POST /introspect HTTP/1.1"
    assert question.form == {"token": "opaque-~+/token==", "token_type_hint": "access_token"}
    assert question.headers["accept"] == "application/json"
    assert question.headers["content-type"] == "application/x-www-form-urlencoded"
    assert question.headers["host"] == f"127.0.0.1:{endpoint.port}"
    scheme, _, credentials = question.headers["authorization"].partition(" ")
    assert scheme == "Basic"
    name, _, secret = base64.b64decode(credentials).decode("ascii").partition(":")
    assert (unquote_plus(name), unquote_plus(secret)) == ("me:and you", "p%ss +wörd:/")


async def test_the_secret_in_the_form(endpoint: Endpoint, tmp_path: Path) -> None:
    """T61: client_secret_post, for servers that know only that."""
    await ask(asking(endpoint, tmp_path, client=ClientSecret("me", secret_file(tmp_path), "post")), "x")
    [question] = endpoint.questions
    assert question.form == {
        "token": "x",
        "token_type_hint": "access_token",
        "client_id": "me",
        "client_secret": SECRET,
    }
    assert "authorization" not in question.headers


@pytest.mark.parametrize(
    ("algorithm", "key"), [("RS256", RSA_KEY), ("PS384", RSA_KEY), ("ES256", EC_KEY), ("EdDSA", ED_KEY)]
)
async def test_a_signed_assertion(endpoint: Endpoint, tmp_path: Path, algorithm: str, key: PrivateKey) -> None:
    """T61: private_key_jwt: for one audience, short-lived, with an identifier of its own for each question (RFC 7523)."""
    assert not isinstance(key, bytes)
    path = tmp_path / "key.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    client = ClientKey("me", str(path), "https://login.example.com/", algorithm, "k7")
    subject = asking(endpoint, tmp_path, client=client)
    await ask(subject, "x")
    await ask(subject, "y")
    first, second = endpoint.questions
    assert first.form["client_id"] == "me"
    assert first.form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    assert "authorization" not in first.headers
    assertion = first.form["client_assertion"]
    assert jwt.get_unverified_header(assertion) == {"alg": algorithm, "kid": "k7", "typ": "JWT"}
    options: Any = {"verify_exp": False, "verify_iat": False, "verify_aud": False}
    claims = jwt.decode(assertion, key.public_key(), algorithms=[algorithm], options=options)
    assert claims.pop("jti") != jwt.decode(second.form["client_assertion"], options={"verify_signature": False})["jti"]
    assert claims == {
        "iss": "me",
        "sub": "me",
        "aud": "https://login.example.com/",
        "iat": int(NOW),
        "exp": int(NOW) + 60,
    }


async def test_a_secret_that_changes(endpoint: Endpoint, tmp_path: Path) -> None:
    """The secret is read again when its file changes; while the file can't be used, the last one stays and it is told."""
    subject = asking(endpoint, tmp_path)
    await ask(subject, "a")
    (tmp_path / "new").write_text("another")
    (tmp_path / "new").rename(tmp_path / "secret")
    await ask(subject, "b")
    (tmp_path / "secret").write_text("two\nlines\n")
    await ask(subject, "c")
    secrets = [
        base64.b64decode(question.headers["authorization"].removeprefix("Basic ")).decode().partition(":")[2]
        for question in endpoint.questions
    ]
    assert secrets == [SECRET, "another", "another"]
    [state] = subject.states()
    assert state.error.endswith("secret: not one line of at most 4096 characters")
    assert "lines" not in state.error


@pytest.mark.parametrize("content", ["", "\n", "a\nb", "a\x00b", "x" * 5000, "x" * 70_000])
def test_a_secret_that_can_not_be_used(tmp_path: Path, content: str) -> None:
    """A file that can't be a secret stops the start, and is not repeated."""
    client = ClientSecret("me", secret_file(tmp_path, content))
    with pytest.raises(KeySetError, match=r"provider 'opaque': .*secret: ") as caught:
        asking(Endpoint(), tmp_path, client=client)
    assert "xx" not in str(caught.value)


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "ES384", "EdDSA"])
def test_a_key_that_does_not_fit_its_algorithm(tmp_path: Path, algorithm: str) -> None:
    """T14: each algorithm takes its own kind of key; a wrong one, a missing one and no key at all stop the start."""
    other = ED_KEY if algorithm[0] in "RP" else RSA_KEY
    path = tmp_path / "key.pem"
    for content in (
        other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        EC_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) if algorithm != "ES256" else b"",
        b"-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n",
        None,
    ):
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(KeySetError, match=r"key\.pem: ") as caught:
            asking(Endpoint(), tmp_path, client=ClientKey("me", str(path), "x", algorithm))
        assert "hunter2" not in str(caught.value)


# What is answered


async def test_an_active_token(endpoint: Endpoint, tmp_path: Path) -> None:
    """T62: who an active token proves: subject, roles by the same rules as for a JWT, scopes, claims and the end."""
    endpoint.answers["x"] = answer(
        scope="read write", username="bob", client_id="web", roles=["user", "root", "anonymous"], iss="https://other/"
    )
    identity = await ask(asking(endpoint, tmp_path, roles=ROLES, includes={"user": ["guest"]}), "x")
    assert isinstance(identity, Identity)
    assert (identity.subject, identity.issuer, identity.provider) == ("alice", endpoint.url, "opaque")
    assert identity.roles == {"user", "reader", "guest"}
    assert identity.scopes == ("read", "write")
    assert identity.expires == NOW + 300
    assert identity.claims["client_id"] == "web"


@pytest.mark.parametrize(
    "body",
    [
        b'{"active":false}',
        b'{"active":false,"sub":"alice","aud":"orders"}',
        b'{"active":"true","sub":"alice","aud":"orders"}',
        b'{"active":1,"sub":"alice","aud":"orders"}',
        b'{"active":[true],"sub":"alice","aud":"orders"}',
        b'{"active":null,"sub":"alice","aud":"orders"}',
        b'{"Active":true,"sub":"alice","aud":"orders"}',
        b"{}",
    ],
)
async def test_only_true_is_active(endpoint: Endpoint, tmp_path: Path, body: bytes) -> None:
    """T61: anything but the JSON value true is not active."""
    endpoint.otherwise = http(200, body)
    assert word(await ask(asking(endpoint, tmp_path), "x")) == "token-inactive"


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"exp": NOW - 61}, "token-expired"),
        ({"exp": NOW - 60}, "token-expired"),
        ({"exp": NOW - 59}, "identity"),
        ({"exp": None}, "identity"),
        ({"exp": str(NOW)}, "claim-invalid"),
        ({"exp": True}, "claim-invalid"),
        ({"exp": -1}, "claim-invalid"),
        ({"exp": 1e15}, "claim-invalid"),
        ({"nbf": NOW + 61}, "token-not-yet-valid"),
        ({"nbf": NOW + 60}, "identity"),
        ({"nbf": "0"}, "claim-invalid"),
        ({"iat": NOW + 61}, "token-not-yet-valid"),
        ({"iat": NOW + 50, "exp": NOW + 40}, "claim-invalid"),
    ],
)
async def test_times_are_checked_here_too(
    endpoint: Endpoint, tmp_path: Path, members: dict[str, Any], reason: str
) -> None:
    """T62: an active token that has expired, or has not begun, is refused; dates are numbers."""
    endpoint.otherwise = answer(**members)
    assert word(await ask(asking(endpoint, tmp_path), "x")) == reason


@pytest.mark.parametrize(
    ("audiences", "audience", "reason"),
    [
        ({"orders"}, "orders", "identity"),
        ({"orders"}, ["billing", "orders"], "identity"),
        ({"orders"}, "billing", "audience-mismatch"),
        ({"orders"}, "orders ", "audience-mismatch"),
        ({"orders"}, [], "audience-mismatch"),
        ({"orders"}, None, "claim-invalid"),
        ({"orders"}, ["orders", 1], "claim-invalid"),
        ({"orders"}, {"orders": True}, "claim-invalid"),
        (set(), "orders", "audience-mismatch"),
        (set(), None, "identity"),
        (set(), [], "identity"),
        (None, "billing", "identity"),
        (None, None, "identity"),
        (None, 5, "claim-invalid"),
    ],
)
async def test_a_token_for_others_is_refused(
    endpoint: Endpoint, tmp_path: Path, audiences: set[str] | None, audience: Any, reason: str
) -> None:
    """T62, T32: aud must name us; without configured audiences an answer that has one is refused too."""
    endpoint.otherwise = answer(aud=audience)
    own = None if audiences is None else frozenset(audiences)
    assert word(await ask(asking(endpoint, tmp_path, audiences=own), "x")) == reason


@pytest.mark.parametrize(
    ("issuer", "reason"),
    [
        (ISSUER, "identity"),
        (None, "identity"),
        (ISSUER[:-1], "claim-invalid"),
        ("https://other.example/", "claim-invalid"),
    ],
)
async def test_the_issuer_of_an_answer(endpoint: Endpoint, tmp_path: Path, issuer: str | None, reason: str) -> None:
    """T62, T31: with a configured issuer, an answer that names another one is refused, and identities are the issuer's."""
    endpoint.otherwise = answer(iss=issuer)
    outcome = await ask(asking(endpoint, tmp_path, issuer=ISSUER), "x")
    assert word(outcome) == reason
    if isinstance(outcome, Identity):
        assert outcome.issuer == ISSUER


@pytest.mark.parametrize(
    "members",
    [
        {"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}},
        {"cnf": {"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}},
        {"cnf": {}},
        {"token_type": "DPoP"},
        {"token_type": "refresh_token"},
        {"token_type": "N_A"},
        {"token_use": "refresh_token"},
        {"typ": "Refresh"},
        {"typ": "ID"},
        {"typ": ["Bearer"]},
        {"nonce": "n"},
        {"at_hash": "h"},
        {"events": {}},
        {"token_type": 1},
        {"scope": ["read"]},
        {"client_id": 7},
        {"username": ["alice"]},
        {"iss": 1},
        {"jti": 1},
        {"roles": {"user": True}},
        {"tenant": "a\0b"},
        {"tenant": ["\ud800"]},
    ],
)
async def test_what_no_bearer_token_has(endpoint: Endpoint, tmp_path: Path, members: dict[str, Any]) -> None:
    """T62, T46: tokens bound to a key, refresh tokens, ID tokens and members of wrong types are refused, though active."""
    endpoint.otherwise = answer(**members)
    assert word(await ask(asking(endpoint, tmp_path, roles=ROLES), "x")) == "claim-invalid"


@pytest.mark.parametrize("members", [{"token_type": "bearer"}, {"token_type": "Bearer", "typ": "Bearer"}, {}])
async def test_what_bearer_tokens_have(endpoint: Endpoint, tmp_path: Path, members: dict[str, Any]) -> None:
    """T62: token_type is compared without regard to case, and need not be there."""
    endpoint.otherwise = answer(**members)
    assert word(await ask(asking(endpoint, tmp_path), "x")) == "identity"


@pytest.mark.parametrize("subject", [None, "", 7, ["alice"], False])
async def test_an_identity_needs_a_subject(endpoint: Endpoint, tmp_path: Path, subject: Any) -> None:
    """T37, T38: sub alone names the caller; username, email and client_id do not."""
    endpoint.otherwise = answer(sub=subject, username="alice", email="a@b.example", client_id="alice")
    assert word(await ask(asking(endpoint, tmp_path), "x")) == "claim-invalid"


async def test_a_client_of_its_own(endpoint: Endpoint, tmp_path: Path) -> None:
    """T38: with missingSubject: clientId a token without sub is its client's; a wrong sub is not replaced."""
    subject = asking(endpoint, tmp_path, subject_of_clients=True)
    endpoint.answers["client"] = answer(sub=None, client_id="web")
    endpoint.answers["empty"] = answer(sub="", client_id="web")
    endpoint.answers["null"] = http(200, b'{"active":true,"sub":null,"aud":"orders","client_id":"web"}')
    endpoint.answers["nobody"] = answer(sub=None)
    identity = await ask(subject, "client")
    assert isinstance(identity, Identity)
    assert identity.subject == "web"
    for token in ("empty", "null", "nobody"):
        assert word(await ask(subject, token)) == "claim-invalid"


# What is remembered


async def test_an_answer_is_remembered_for_a_stated_time(endpoint: Endpoint, tmp_path: Path, clock: Time) -> None:
    """T63, T60: one question serves for cacheMaxAge; then a revoked token is refused."""
    endpoint.answers["x"] = answer(exp=None)
    subject = asking(endpoint, tmp_path, clock=clock, cache_max_age=30.0)
    assert word(await ask(subject, "x")) == "identity"
    endpoint.answers["x"] = INACTIVE
    clock.time += 29.9
    assert word(subject.authenticate(bearer("x"))) == "identity"
    clock.time += 0.1
    assert word(subject.authenticate(bearer("x"))) == "wait"
    assert word(await ask(subject, "x")) == "token-inactive"
    assert endpoint.tokens() == ["x", "x"]


async def test_the_time_counts_from_the_question(endpoint: Endpoint, tmp_path: Path, clock: Time) -> None:
    """T63: an answer that is long on its way is not believed longer for it."""
    endpoint.gate.clear()
    endpoint.otherwise = answer(exp=None)
    subject = asking(endpoint, tmp_path, clock=clock, cache_max_age=30.0, timeout=5.0)
    waiting = asyncio.create_task(ask(subject, "x"))
    await eventually(lambda: bool(endpoint.questions))
    clock.time += 4
    endpoint.gate.set()
    assert word(await waiting) == "identity"
    clock.time += 25.9
    assert word(subject.authenticate(bearer("x"))) == "identity"
    clock.time += 0.1
    assert word(subject.authenticate(bearer("x"))) == "wait"


async def test_nothing_is_remembered_beyond_the_end(endpoint: Endpoint, tmp_path: Path, clock: Time) -> None:
    """T63: an answer serves until exp at most; past it and within the skew, each request asks."""
    endpoint.otherwise = answer(exp=NOW + 10)
    subject = asking(endpoint, tmp_path, clock=clock)
    await ask(subject, "x")
    clock.time += 9.9
    assert word(subject.authenticate(bearer("x"))) == "identity"
    clock.time += 0.1
    assert word(subject.authenticate(bearer("x"))) == "wait"
    assert word(await ask(subject, "x")) == "identity"
    assert word(subject.authenticate(bearer("x"))) == "wait"
    clock.time += 60
    assert word(await ask(subject, "x")) == "token-expired"


async def test_a_clock_that_is_set_back(endpoint: Endpoint, tmp_path: Path, clock: Time) -> None:
    """T63, F9: an answer from the future of a clock that was set back is not believed longer for it."""
    endpoint.otherwise = answer(exp=None)
    subject = asking(endpoint, tmp_path, clock=clock)
    await ask(subject, "x")
    clock.time -= 3600
    assert word(subject.authenticate(bearer("x"))) == "wait"


async def test_a_refusal_is_remembered_shortly(endpoint: Endpoint, tmp_path: Path, clock: Time) -> None:
    """T63: an inactive token costs one question in inactiveMaxAge, whoever repeats it."""
    subject = asking(endpoint, tmp_path, clock=clock, inactive_max_age=5.0)
    for _ in range(20):
        assert word(await ask(subject, "x")) == "token-inactive"
    assert len(endpoint.questions) == 1
    clock.time += 5
    endpoint.otherwise = answer()
    assert word(await ask(subject, "x")) == "identity"


async def test_the_key_is_the_whole_token(endpoint: Endpoint, tmp_path: Path) -> None:
    """T63, T59: tokens that differ in one character at any place are different tokens."""
    token = "A" * 5000
    endpoint.answers[token] = answer()
    subject = asking(endpoint, tmp_path)
    assert word(await ask(subject, token)) == "identity"
    for other in (token[:-1] + "B", "B" + token[1:], token + "A", token[:-1], token.lower()):
        assert word(await ask(subject, other)) == "token-inactive"


async def test_a_flood_of_made_up_tokens_drives_out_nobody(endpoint: Endpoint, tmp_path: Path) -> None:
    """T63, I7: refusals are kept in a place of their own, which is bounded."""
    endpoint.answers["x"] = answer()
    subject = asking(endpoint, tmp_path)
    await ask(subject, "x")
    introspector = subject._introspectors["opaque"]
    for n in range(5000):
        introspector._recent.keep(b"%d" % n, Deny(Reason.TOKEN_INACTIVE), NOW, hold=5.0)
    assert len(introspector._recent._held) == 2048
    assert word(subject.authenticate(bearer("x"))) == "identity"


async def test_one_question_a_token(endpoint: Endpoint, tmp_path: Path) -> None:
    """T63: a hundred requests with one new token cause one question, and all have its answer."""
    endpoint.gate.clear()
    endpoint.otherwise = answer()
    subject = asking(endpoint, tmp_path)
    waiting = [asyncio.create_task(ask(subject, "x")) for _ in range(100)]
    await eventually(lambda: bool(endpoint.questions))
    endpoint.gate.set()
    assert {word(outcome) for outcome in await asyncio.gather(*waiting)} == {"identity"}
    assert endpoint.tokens() == ["x"]


async def test_a_caller_that_goes_away_leaves_the_question(endpoint: Endpoint, tmp_path: Path) -> None:
    """T63: cancelling one waiter, or all, cancels nothing: the answer is there for the others and for the next one."""
    endpoint.gate.clear()
    endpoint.otherwise = answer()
    subject = asking(endpoint, tmp_path)
    first, second = (asyncio.create_task(ask(subject, "x")) for _ in range(2))
    await eventually(lambda: bool(endpoint.questions))
    first.cancel()
    await settle()
    assert not second.done()
    second.cancel()
    await settle()
    endpoint.gate.set()
    await eventually(lambda: word(subject.authenticate(bearer("x"))) == "identity")
    assert len(endpoint.questions) == 1


async def test_a_wait_that_begins_late_asks_nothing(endpoint: Endpoint, tmp_path: Path) -> None:
    """Two requests that were told to wait before either did cause one question."""
    endpoint.otherwise = answer()
    subject = asking(endpoint, tmp_path)
    waits = [subject.authenticate(bearer("x")) for _ in range(2)]
    for wait in waits:
        assert isinstance(wait, Wait)
        await wait.ready()
    assert len(endpoint.questions) == 1


# Who is asked


def header(name: str) -> Any:
    return (HeaderPlace(name, ""),)


@pytest.mark.parametrize(
    "token",
    [
        mint({"iss": "https://other.example/"}),
        mint(),
        mint() + ".",
        mint().rpartition(".")[0],
        mint() + ".a.b",
        mint() + "." * 100,
        mint(header={"alg": "dir", "enc": "A256GCM"}, signed_as="RS256") + ".x.y",
        mint(raw_header=b' {"alg": "none"}').replace(".", "=.", 1),
        "a.b.c",
        mint({"iss": 5}),
        mint({"iss": ISSUER + "/"}),
    ],
)
async def test_what_looks_like_a_jwt_is_sent_to_nobody(endpoint: Endpoint, tmp_path: Path, token: str) -> None:
    """T65: a JWT of an unknown issuer, cut, prolonged, encrypted or broken, opens no connection."""
    subject = asking(endpoint, tmp_path, places=header("x-token"), issuer="https://third.example/")
    outcome = await ask_with(subject, {"x-token": token})
    assert isinstance(outcome, Deny)
    assert outcome.reason.http == 401
    assert token[:20] not in repr(outcome)
    assert endpoint.connections == 0


async def ask_with(subject: Authenticator, headers: dict[str, str]) -> Any:
    """As ``ask``, with these headers."""
    outcome = subject.authenticate(request(headers))
    if isinstance(outcome, Wait):
        await outcome.ready()
        return subject.authenticate(request(headers), waited=True)
    return outcome


async def test_jwts_of_the_issuer_may_be_introspected(endpoint: Endpoint, tmp_path: Path) -> None:
    """T65: with issuer, its own JWTs are sent whole, well-formed ones only; those of a jwt provider never."""
    jwts = provider(name="jwts", issuer="https://jwts.example/", keys=InlineKeys(jwks(jwk(RSA_KEY, "k1"))))
    subject = asking(endpoint, tmp_path, jwts, issuer=ISSUER)
    own, other = mint(), mint({"iss": "https://jwts.example/"})
    endpoint.answers[own] = answer(iss=ISSUER, sub="carol")
    identity = await ask(subject, own)
    assert isinstance(identity, Identity)
    assert (identity.subject, identity.provider, identity.issuer) == ("carol", "opaque", ISSUER)
    assert word(await ask(subject, other)) == "identity"
    assert word(await ask(subject, own.replace(".", "=.", 1))) == "token-malformed"
    assert endpoint.tokens() == [own]


async def test_a_token_goes_to_its_own_endpoint_alone(endpoint: Endpoint, tmp_path: Path) -> None:
    """T64: of two endpoints the one whose place carried the token sees it, and the other sees no connection."""
    async with serving(Endpoint(otherwise=answer())) as other:
        second = introspection(other, tmp_path, name="second", places=(HeaderPlace("x-other", ""), CookiePlace("t")))
        subject = asking(endpoint, tmp_path, second, places=header("x-token"))
        for n in range(5):
            assert word(await ask_with(subject, {"x-token": f"t{n}"})) == "token-inactive"
        assert other.connections == 0
        assert word(await ask_with(subject, {"x-other": "t1"})) == "identity"
        assert word(await ask_with(subject, {"x-token": "t1"})) == "token-inactive"
        assert endpoint.tokens() == [f"t{n}" for n in range(5)]
        assert other.tokens() == ["t1"]


async def test_a_dead_endpoint_is_not_replaced_by_another(endpoint: Endpoint, tmp_path: Path) -> None:
    """T64: a token whose endpoint fails, or does not know it, is tried nowhere else."""
    endpoint.otherwise = http(500, b"")
    async with serving(Endpoint(otherwise=answer())) as other:
        second = introspection(other, tmp_path, name="second", places=header("x-other"))
        subject = asking(endpoint, tmp_path, second, places=header("x-token"))
        assert word(await ask_with(subject, {"x-token": "t"})) == "store-unavailable"
        assert other.connections == 0


async def test_two_endpoints_for_one_place_see_nothing(endpoint: Endpoint, tmp_path: Path) -> None:
    """T64: should two endpoints read one place after all, none of them is asked."""
    async with serving(Endpoint(otherwise=answer())) as other:
        subject = asking(endpoint, tmp_path, introspection(other, tmp_path, name="second"))
        assert word(await ask(subject, "x")) == "issuer-unknown"
        assert (endpoint.connections, other.connections) == (0, 0)


async def test_a_token_from_elsewhere_is_not_sent(endpoint: Endpoint, tmp_path: Path) -> None:
    """T64: a token without form in a place that only a jwt provider reads is malformed, and shown to nobody."""
    subject = asking(endpoint, tmp_path, provider(), places=header("x-token"))
    assert word(await ask(subject, "opaque")) == "token-malformed"
    assert endpoint.connections == 0


async def test_an_api_key_in_the_wrong_place_is_not_sent(endpoint: Endpoint, tmp_path: Path) -> None:
    """T64: an API key that a client puts where opaque tokens are is shown to no endpoint."""
    key = fresh_key()
    keys = keys_in(write(tmp_path / "keys.yaml", entry(key)))
    subject = asking(endpoint, tmp_path, keys)
    assert word(await ask_with(subject, {"x-api-key": key})) == "identity"
    assert word(await ask(subject, key)) == "token-malformed"
    assert word(await ask(subject, key[:-1])) == "token-malformed"
    assert endpoint.connections == 0


@pytest.mark.parametrize(
    "token", ["a&token=b", "a;b", "a%26b", "ä", "a\tb", '{"payload":""}', "=", "a=b", "x" * 16_385, "a\nb", "a:b"]
)
async def test_what_is_no_bearer_token_is_not_sent(endpoint: Endpoint, tmp_path: Path, token: str) -> None:
    """T2, T61: only what RFC 6750 lets a bearer token be is sent, and not more than 16 KiB of it."""
    outcome = await ask_with(asking(endpoint, tmp_path, places=header("x-token")), {"x-token": token})
    assert word(outcome) == "token-malformed"
    assert endpoint.connections == 0


async def test_opaque_tokens_may_have_dots(endpoint: Endpoint, tmp_path: Path) -> None:
    """T65: a dot alone makes no JWT; Google's access tokens begin with ya29."""
    endpoint.otherwise = answer()
    subject = asking(endpoint, tmp_path)
    for token in ("ya29.a0AfH6SMB", "eyes.only", "eyJ.x", "e30.x", "a.b.c.d", "v2.local"):
        assert word(await ask(subject, token)) == "identity"


async def test_no_fault_shows_a_token_or_a_secret(endpoint: Endpoint, tmp_path: Path) -> None:
    """I6: neither denials nor states hold the token, our secret, or anything that the endpoint said."""
    token = "s3cret-token"
    for said in (
        http(200, b'{"active":true,"sub":"s3cret","aud":"s3cret"}'),
        http(200, b"s3cret"),
        http(500, b"s3cret", "text/s3cret"),
        http(302, b"", "text/html", "location: https://s3cret.example/"),
        b"s3cret",
        http(200, json.dumps({"active": True, "s3cret": 1, "cnf": "s3cret"}).encode()),
    ):
        endpoint.answers[token] = said
        subject = asking(endpoint, tmp_path)
        outcome = await ask(subject, token)
        assert isinstance(outcome, Deny)
        assert "s3cret" not in repr(outcome) + repr(subject.states()) + repr(subject._introspectors)
