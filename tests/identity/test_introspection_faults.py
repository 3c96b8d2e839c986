"""An introspection endpoint that fails in every way, asked through whole Checks: nobody gets in, nobody else notices."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from extauthz.identity import Authenticator, HeaderPlace, InlineKeys
from extauthz.identity.circuit import FAILURES
from extauthz.model import Deny
from tests.identity.endpoint import (
    Endpoint,
    Time,
    answer,
    ask,
    eventually,
    fetcher,
    http,
    introspection,
    serving,
)
from tests.identity.issuer import NOW, RSA_KEY, bearer, jwk, jwks, mint, provider, word
from tests.journey import Journey, assert_denies, check_request, policies, reason_of

ALL_ROLES = "rules: [{}]"
POLICY = f"{{apiVersion: security.example.com/v1, kind: AuthPolicy, metadata: {{name: p}}, spec: {{{ALL_ROLES}}}}}"


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with serving(Endpoint()) as running:
        yield running


def asking(endpoint: Endpoint, folder: Path, *others: Any, clock: Time | None = None, **parts: Any) -> Authenticator:
    providers = [introspection(endpoint, folder, **parts), *others]
    return Authenticator(providers, {}, fetcher=fetcher(), now=(clock or Time()).now)


def journey(subject: Authenticator, **parts: Any) -> Journey:
    return Journey(policies(POLICY), subject, clock=time.monotonic, **parts)


def check(token: str, header: str = "authorization") -> bytes:
    return check_request(headers={header: f"Bearer {token}"})


async def silent(_writer: asyncio.StreamWriter) -> None:
    """Say nothing for longer than anybody waits."""
    await asyncio.sleep(30)


async def dripping(writer: asyncio.StreamWriter) -> None:
    """Say one byte at a time."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        for _ in range(1000):
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)


async def test_a_check_with_an_opaque_token(endpoint: Endpoint, tmp_path: Path) -> None:
    """The whole way: the first Check waits for one question, the second is answered at once."""
    endpoint.answers["x"] = answer()
    whole = journey(asking(endpoint, tmp_path), deadline=10.0)
    assert (await whole.answer_later(check("x"))).status.code == 0
    assert whole.answer(check("x")).status.code == 0
    assert whole.watcher.finished[-1].identity is not None
    response = await whole.answer_later(check("y"))
    assert_denies(response)
    assert (reason_of(response), response.denied_response.status.code) == ("token-inactive", 401)
    assert endpoint.tokens() == ["x", "y"]


FAULTS = [
    http(500, b'{"active":true,"sub":"alice","aud":"orders"}'),
    http(503, b""),
    http(429, b"", "text/plain", "retry-after: 86400"),
    http(401, b'{"error":"invalid_client"}'),
    http(403, b""),
    http(400, b'{"error":"invalid_request"}'),
    http(404, b"<html>", "text/html"),
    http(201, b'{"active":true,"sub":"alice","aud":"orders"}'),
    http(204, b""),
    http(302, b"", "text/html", "location: /elsewhere"),
    http(307, b"", "text/html", "location: /elsewhere"),
    http(200, b'{"active":true,"sub":"alice","aud":"orders"}', "text/plain"),
    http(200, b'{"active":true,"sub":"alice","aud":"orders"}', "application/jsonp"),
    http(200, b'{"active":true,"sub":"alice","aud":"orders"}', "application/json, text/html"),
    http(200, b'{"active":true,"sub":"alice","aud":"orders"}', ""),
    http(200, b"eyJhbGciOiJub25lIn0.e30.", "application/token-introspection+jwt"),
    http(200, b"<html>"),
    http(200, b""),
    http(200, b"true"),
    http(200, b'[{"active":true}]'),
    http(200, b'{"active":false,"active":true,"sub":"alice","aud":"orders"}'),
    http(200, b'{"active":true,"sub":"alice","aud":"orders"'),
    http(200, b'{"active":true,"sub":"alice","aud":"orders"}{}'),
    http(200, b'{"active":true,"sub":"alice","aud":"orders","x":NaN}'),
    http(200, b'{"active":true,"sub":"alice\xff","aud":"orders"}'),
    http(200, b"[" * 60_000),
    http(200, b'{"active":true,"sub":"alice","aud":"orders","x":"' + b"x" * 65_536 + b'"}'),
    http(200, b" " * (5 << 20)),
    http(200, b"\x1f\x8b", "application/json", "content-encoding: gzip"),
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{",
    b"garbage\r\n\r\n",
    b"",
    silent,
    dripping,
]


@pytest.mark.parametrize("said", FAULTS, ids=range(len(FAULTS)))
async def test_every_fault_denies(endpoint: Endpoint, tmp_path: Path, said: Any) -> None:
    """T64, T61, T66, I9: errors, redirects, other media types, signed answers, garbage, size and silence: 503, Retry-After."""
    endpoint.otherwise = said
    subject = asking(endpoint, tmp_path, timeout=0.3 if callable(said) else 5.0)
    response = await journey(subject, deadline=10.0).answer_later(check("x"))
    assert_denies(response)
    assert reason_of(response) == "store-unavailable"
    assert response.denied_response.status.code == 503
    assert "retry-after" in {option.header.key.lower() for option in response.denied_response.headers}
    [state] = subject.states()
    assert state.error
    assert len(endpoint.questions) <= 1


async def test_nobody_there(endpoint: Endpoint, tmp_path: Path) -> None:
    """T64: a port on which nobody listens is a fault like the others."""
    dead = introspection(endpoint, tmp_path, endpoint="http://127.0.0.1:1/introspect")
    subject = Authenticator([dead], {}, fetcher=fetcher(), now=Time().now)
    assert word(await ask(subject, "x")) == "store-unavailable"


async def test_a_refused_client_is_told_to_the_operator(endpoint: Endpoint, tmp_path: Path) -> None:
    """F6: wrong credentials of ours show in the provider's state, by what they are."""
    endpoint.otherwise = http(401, b"")
    subject = asking(endpoint, tmp_path)
    await ask(subject, "x")
    assert subject.states()[0].error == "the endpoint answered 401: it does not accept our client credentials"


async def test_the_deadline_of_a_check_holds(endpoint: Endpoint, tmp_path: Path) -> None:
    """I9: a slow endpoint makes a Check wait no longer than its own deadline; the answer that comes later serves the next."""
    endpoint.gate.clear()
    endpoint.otherwise = answer()
    subject = asking(endpoint, tmp_path, timeout=5.0)
    whole = journey(subject, deadline=0.05)
    began = time.monotonic()
    response = await whole.answer_later(check("x"))
    assert time.monotonic() - began < 1
    assert_denies(response)
    assert reason_of(response) == "deadline-exceeded"
    endpoint.gate.set()
    await eventually(lambda: word(subject.authenticate(bearer("x"))) == "identity")
    assert whole.answer(check("x")).status.code == 0
    assert len(endpoint.questions) == 1


async def test_questions_under_way_are_bounded(endpoint: Endpoint, tmp_path: Path) -> None:
    """T64: beyond maxConcurrent a new token is denied at once and not queued; those asked about already are joined."""
    endpoint.gate.clear()
    endpoint.otherwise = answer()
    subject = asking(endpoint, tmp_path, max_concurrent=3, timeout=5.0)
    waiting = [asyncio.create_task(ask(subject, f"t{n}")) for n in range(10)]
    await eventually(lambda: len(endpoint.questions) == 3)
    assert word(subject.authenticate(bearer("t0"))) == "wait"
    refused = subject.authenticate(bearer("one-more"))
    assert isinstance(refused, Deny)
    assert (refused.reason.word, refused.retry_after) == ("overloaded", 1)
    endpoint.gate.set()
    outcomes = [word(outcome) for outcome in await asyncio.gather(*waiting)]
    assert outcomes == ["identity"] * 3 + ["overloaded"] * 7
    assert len(endpoint.questions) == 3


async def test_a_dead_endpoint_is_left_alone(endpoint: Endpoint, tmp_path: Path) -> None:
    """T64, F6: after a few failures tokens are refused without a question; one tries again after the pause, and heals it."""
    clock = Time()
    endpoint.otherwise = http(500, b"")
    subject = asking(endpoint, tmp_path, clock=clock)
    for n in range(FAILURES):
        assert word(await ask(subject, f"t{n}")) == "store-unavailable"
    assert not subject.states()[0].usable
    for n in range(200):
        refused = subject.authenticate(bearer(f"more{n}"))
        assert isinstance(refused, Deny)
        assert (refused.reason.word, refused.retry_after) == ("store-unavailable", 1)
        assert refused.detail == "the endpoint answered 500"
    assert len(endpoint.questions) == FAILURES
    clock.time += 1
    endpoint.otherwise = answer()
    waits = [subject.authenticate(bearer(f"again{n}")) for n in range(2)]
    outcomes = await asyncio.gather(*(ask(subject, f"again{n}") for n in range(2)))
    assert sorted(map(word, waits)) == ["wait", "wait"]
    assert sorted(map(word, outcomes)) == ["identity", "store-unavailable"]
    assert len(endpoint.questions) == FAILURES + 1
    assert (subject.states()[0].usable, subject.states()[0].error) == (True, "")


async def test_what_is_remembered_outlives_a_fault(endpoint: Endpoint, tmp_path: Path) -> None:
    """T63: an endpoint that dies costs nothing to those who were asked about, within the stated time and no longer."""
    clock = Time()
    endpoint.otherwise = answer(exp=None)
    subject = asking(endpoint, tmp_path, clock=clock, cache_max_age=30.0)
    await ask(subject, "x")
    endpoint.otherwise = http(500, b"")
    for n in range(FAILURES):
        await ask(subject, f"t{n}")
    assert word(subject.authenticate(bearer("x"))) == "identity"
    clock.time += 30
    assert word(await ask(subject, "x")) == "store-unavailable"


async def test_a_question_that_is_refused_shuts_out_nobody(endpoint: Endpoint, tmp_path: Path) -> None:
    """T64: a token that the endpoint answers with 400 is that token's business, however often it comes."""
    endpoint.otherwise = http(400, b"")
    endpoint.answers["good"] = answer()
    subject = asking(endpoint, tmp_path)
    for n in range(FAILURES * 3):
        assert word(await ask(subject, f"bad{n}")) == "store-unavailable"
    assert word(await ask(subject, "good")) == "identity"


async def test_one_token_does_not_repeat_its_fault(endpoint: Endpoint, tmp_path: Path) -> None:
    """T64: a fault is the answer for its token for a second, so that a client in a loop makes no storm."""
    clock = Time()
    endpoint.otherwise = http(400, b"")
    subject = asking(endpoint, tmp_path, clock=clock)
    for _ in range(50):
        await ask(subject, "x")
    assert len(endpoint.questions) == 1
    clock.time += 1
    endpoint.otherwise = answer()
    assert word(await ask(subject, "x")) == "identity"


async def test_one_dead_endpoint_harms_nobody_else(endpoint: Endpoint, tmp_path: Path) -> None:
    """F6: with an endpoint that never answers and all its questions under way, other providers are as fast as ever."""
    endpoint.otherwise = silent
    jwts = provider(name="jwts", keys=InlineKeys(jwks(jwk(RSA_KEY, "k1"))))
    async with serving(Endpoint(otherwise=answer())) as alive:
        second = introspection(alive, tmp_path, name="second", places=(HeaderPlace("x-other"),))
        subject = asking(endpoint, tmp_path, jwts, second, max_concurrent=8, timeout=5.0)
        whole = journey(subject, deadline=10.0)
        stuck = [asyncio.create_task(ask(subject, f"t{n}")) for n in range(8)]
        await eventually(lambda: len(endpoint.questions) == 8)
        began = time.monotonic()
        assert whole.answer(check(mint())).status.code == 0
        for n in range(10):
            assert (await whole.answer_later(check(f"t{n}", "x-other"))).status.code == 0
        assert time.monotonic() - began < 2
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)


async def test_stopping_ends_what_is_under_way(endpoint: Endpoint, tmp_path: Path) -> None:
    """I10: when the provider is stopped, its questions are cancelled and leave nothing behind."""
    endpoint.gate.clear()
    subject = asking(endpoint, tmp_path, timeout=5.0)
    running = asyncio.create_task(subject.run())
    waiting = asyncio.create_task(ask(subject, "x"))
    await eventually(lambda: bool(endpoint.questions))
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    await asyncio.wait((waiting,), timeout=2)
    assert waiting.done()
    assert not subject._introspectors["opaque"]._flights


async def test_the_state_before_anybody_asked(endpoint: Endpoint, tmp_path: Path) -> None:
    """A provider that has nothing to fetch holds up no start."""
    subject = asking(endpoint, tmp_path)
    assert subject.started()
    [state] = subject.states()
    assert (state.name, state.usable, state.age_seconds, state.error) == ("opaque", True, None, "")


async def test_an_unexpected_fault_denies(endpoint: Endpoint, tmp_path: Path) -> None:
    """I2: a fault that nobody thought of is a denial, and its text, which may hold anything, goes nowhere."""

    class Broken:
        async def get(self, *_: Any) -> Any: ...

        async def post(self, *_: Any) -> Any:
            raise RuntimeError("s3cret")

    subject = Authenticator([introspection(endpoint, tmp_path)], {}, fetcher=Broken(), now=lambda: NOW)
    outcome = await ask(subject, "x")
    assert isinstance(outcome, Deny)
    assert (outcome.reason.word, outcome.detail) == ("store-unavailable", "unexpected fault: RuntimeError")
