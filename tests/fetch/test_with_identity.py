"""The real fetcher in the hands of the authenticator: an issuer over real HTTPS, good and bad."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest

from extauthz.fetch import HttpFetcher
from extauthz.identity import Authenticator, Discovery, Fetcher, FetchSettings, JwtProvider, Wait
from extauthz.model import Identity
from tests.fetch.conftest import Authority, Server, http
from tests.identity.issuer import NOW, RSA_KEY, bearer, jwk, jwks, mint, word


@pytest.fixture
def fetcher() -> Fetcher:
    """That this returns is checked by mypy: the real fetcher is what identity asks for."""
    return HttpFetcher(deadline=0.5)


@contextlib.asynccontextmanager
async def started(secure: Server, authority: Authority, fetcher: Fetcher) -> AsyncIterator[tuple[Authenticator, str]]:
    """An authenticator whose only issuer is the HTTPS server, after its first fetch; and the issuer's name."""
    issuer = f"https://127.0.0.1:{secure.port}"
    settings = FetchSettings(ca_file=authority.file, allow_private_addresses=True)
    provider = JwtProvider("local", issuer, frozenset({"orders"}), Discovery(issuer), fetch=settings)
    subject = Authenticator([provider], {}, fetcher=fetcher, now=lambda: NOW)
    task = asyncio.create_task(subject.run())
    outcome = subject.authenticate(bearer(mint({"iss": issuer})))
    assert isinstance(outcome, Wait)
    await outcome.ready()
    yield subject, mint({"iss": issuer})
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_keys_of_a_real_issuer_verify_its_tokens(secure: Server, authority: Authority, fetcher: Fetcher) -> None:
    """T51: discovery and keys over TLS, then an identity."""
    issuer = f"https://127.0.0.1:{secure.port}"
    metadata = {"issuer": issuer, "jwks_uri": f"{issuer}/jwks"}
    secure.answers["/.well-known/openid-configuration"] = http(200, json.dumps(metadata).encode())
    secure.answers["/jwks"] = http(200, json.dumps(jwks(jwk(RSA_KEY, "k1"))).encode(), "cache-control: max-age=60")
    async with started(secure, authority, fetcher) as (subject, token):
        identity = subject.authenticate(bearer(token))
        assert isinstance(identity, Identity)
        assert (identity.provider, identity.issuer) == ("local", issuer)


@pytest.mark.parametrize(
    "answer",
    [
        http(500, b"{}"),
        http(200, b"<html>"),
        http(200, b" " * (5 << 20)),
        http(200, b"[" * 100_000),
        http(302, b"", "location: https://evil.example/"),
        b"",
    ],
)
async def test_whatever_an_issuer_answers_nobody_is_let_in(
    secure: Server, authority: Authority, fetcher: Fetcher, answer: bytes
) -> None:
    """T55, I9: errors, HTML, 5 MB, garbage, redirects and silence leave its callers denied with a reason."""
    secure.answers["/.well-known/openid-configuration"] = answer
    async with started(secure, authority, fetcher) as (subject, token):
        assert word(subject.authenticate(bearer(token))) == "keys-unavailable"
        assert subject.states()[0].error
