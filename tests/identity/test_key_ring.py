"""Keys over time: fetched, renewed, kept through failures, dropped when stale (docs/security.md T51 to T58)."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from extauthz.errors import UpstreamError
from extauthz.identity import Authenticator, Discovery, FetchSettings, RemoteKeys, Wait
from extauthz.model import Deny, Identity
from tests.identity.issuer import (
    EC_KEY,
    ED_KEY,
    ISSUER,
    JWKS_URI,
    NOW,
    OTHER_RSA_KEY,
    RSA_KEY,
    SECRET,
    Clock,
    Document,
    FakeFetcher,
    authenticator,
    bearer,
    jwk,
    jwks,
    mint,
    provider,
    settle,
    without,
    word,
)

DOWN = UpstreamError("login.example.com: no answer within 5 s")
OLD = jwk(RSA_KEY, "k1")
NEW = jwk(OTHER_RSA_KEY, "k2")
LONG = {"exp": NOW + 10 * 86_400}
TOKEN = mint(LONG)
NEW_TOKEN = mint(LONG, key=OTHER_RSA_KEY, header={"kid": "k2"})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fetcher() -> FakeFetcher:
    fetcher = FakeFetcher()
    fetcher.publish(OLD)
    return fetcher


@pytest.fixture
def remote(clock: Clock, fetcher: FakeFetcher) -> Authenticator:
    """One provider whose keys are behind a URL; nothing is fetched before it runs."""
    return authenticator(provider(keys=RemoteKeys(JWKS_URI)), now=clock.now, fetcher=fetcher, sleep=clock.sleep)


@contextlib.asynccontextmanager
async def running(subject: Authenticator) -> AsyncIterator[None]:
    task = asyncio.create_task(subject.run())
    await settle()
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert len(asyncio.all_tasks()) == 1


def ask(subject: Authenticator, token: str = TOKEN, *, waited: bool = False) -> str:
    return word(subject.authenticate(bearer(token), waited=waited))


def wait_of(subject: Authenticator, token: str = TOKEN) -> Wait:
    outcome = subject.authenticate(bearer(token))
    assert isinstance(outcome, Wait)
    return outcome


async def test_keys_are_fetched_before_anyone_asks(remote: Authenticator, fetcher: FakeFetcher) -> None:
    """T58: running fetches once; then tokens are judged without waiting."""
    assert not remote.started()
    async with running(remote):
        assert remote.started()
        assert ask(remote) == "identity"
    assert [url for url, _ in fetcher.calls] == [JWKS_URI]


async def test_who_comes_before_the_first_fetch_waits_for_it(remote: Authenticator, fetcher: FakeFetcher) -> None:
    """T53: any number of early callers wait for one fetch."""
    fetcher.gate = asyncio.Event()
    async with running(remote):
        waits = [asyncio.ensure_future(wait_of(remote).ready()) for _ in range(50)]
        await settle()
        assert not remote.started()
        fetcher.gate.set()
        await asyncio.gather(*waits)
        assert ask(remote, waited=True) == "identity"
    assert len(fetcher.calls) == 1


async def test_a_waiter_can_begin_the_first_fetch(remote: Authenticator) -> None:
    """Without anything running, the first caller's wait brings the keys."""
    await wait_of(remote).ready()
    assert ask(remote, waited=True) == "identity"


async def test_a_cancelled_waiter_leaves_the_fetch_alone(remote: Authenticator, fetcher: FakeFetcher) -> None:
    """I9: a request that runs out of time does not cancel what others wait for."""
    fetcher.gate = asyncio.Event()
    first = asyncio.ensure_future(wait_of(remote).ready())
    second = asyncio.ensure_future(wait_of(remote).ready())
    await settle()
    first.cancel()
    await settle()
    fetcher.gate.set()
    await second
    assert first.cancelled()
    assert ask(remote) == "identity"


async def test_after_waiting_there_is_no_second_wait(remote: Authenticator, fetcher: FakeFetcher) -> None:
    """With ``waited`` the answer is final: missing keys are unavailable, with a time to come back."""
    fetcher.answers[JWKS_URI] = DOWN
    await wait_of(remote).ready()
    denial = remote.authenticate(bearer(TOKEN), waited=True)
    assert isinstance(denial, Deny)
    assert (denial.reason.word, denial.provider, denial.retry_after) == ("keys-unavailable", "corporate", 1)
    assert denial.detail == str(DOWN)


async def test_failed_fetches_back_off(remote: Authenticator, fetcher: FakeFetcher, clock: Clock) -> None:
    """T55: after 1, 2, 4, 8, 16 and then every 30 seconds; in between callers are denied at once."""
    fetcher.answers[JWKS_URI] = DOWN
    async with running(remote):
        moments: list[int] = []
        for second in range(100):
            moments += [second] * (len(fetcher.calls) - len(moments))
            assert ask(remote) == "keys-unavailable"
            await clock.advance(1)
        assert moments == [0, 1, 3, 7, 15, 31, 61, 91]
        assert remote.started()
        assert not remote.states()[0].usable


async def test_recovery_needs_no_restart(remote: Authenticator, fetcher: FakeFetcher, clock: Clock) -> None:
    """T55: the next attempt after an outage brings the keys and clears the error."""
    fetcher.answers[JWKS_URI] = DOWN
    async with running(remote):
        await clock.advance(40)
        assert remote.states()[0].error == str(DOWN)
        fetcher.publish(OLD)
        await clock.advance(30)
        assert ask(remote) == "identity"
        assert remote.states()[0].error == ""


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
@pytest.mark.parametrize(("max_age", "fresh"), [(None, 300), (0.0, 30), (45.0, 45), (90_000.0, 3600)])
async def test_keys_are_renewed_in_time(
    fetcher: FakeFetcher, clock: Clock, max_age: float | None, fresh: int, chance: float
) -> None:
    """T53, T57: keys are renewed at 70 to 90 % of max-age, which counts within 30 s and 1 h; a withdrawn key stops
    verifying then, and tokens that were remembered with it as well.
    """
    source = provider(keys=RemoteKeys(JWKS_URI))
    subject = authenticator(source, now=clock.now, fetcher=fetcher, sleep=clock.sleep, chance=lambda: chance)
    fetcher.publish(OLD, NEW, max_age=max_age)
    async with running(subject):
        fetcher.publish(NEW, max_age=max_age)
        due = fresh * (0.9 - 0.2 * chance)
        await clock.advance(due - 1)
        assert ask(subject) == "identity"
        await clock.advance(1)
        assert len(fetcher.calls) == 2
        assert ask(subject, waited=True) == "key-unknown"
        assert ask(subject, NEW_TOKEN) == "identity"


@pytest.mark.parametrize(
    "answer",
    [
        DOWN,
        Document(b""),
        Document(b"<html>sign in</html>"),
        Document(b'{"keys":[]}'),
        Document(b'{"keys":' + b"[" * 100_000),
        Document(json.dumps(jwks(jwk(SECRET))).encode()),
        RuntimeError("a fault of ours"),
    ],
)
async def test_bad_answers_never_replace_good_keys(
    remote: Authenticator, fetcher: FakeFetcher, clock: Clock, answer: Any
) -> None:
    """T55, T56: keys in force stay for 24 hours after they were last confirmed, then nothing is verified."""
    async with running(remote):
        fetcher.answers[JWKS_URI] = answer
        await clock.advance(1000)
        clock.time += 24 * 3600 - 1001
        assert ask(remote) == "identity"
        state = remote.states()[0]
        assert state.usable
        assert state.error
        assert state.age_seconds == 24 * 3600 - 1
        await clock.advance(2)
        assert ask(remote, waited=True) == "keys-unavailable"
        assert not remote.states()[0].usable
        fetcher.publish(OLD)
        await clock.advance(30)
        assert ask(remote) == "identity"


async def test_a_rotated_key_is_found_by_the_first_token_that_names_it(
    remote: Authenticator, fetcher: FakeFetcher
) -> None:
    """T54: an unknown kid waits for one fetch, and is then known."""
    async with running(remote):
        fetcher.publish(OLD, NEW)
        await wait_of(remote, NEW_TOKEN).ready()
        assert ask(remote, NEW_TOKEN, waited=True) == "identity"
        assert ask(remote) == "identity"
    assert len(fetcher.calls) == 2


async def test_a_herd_of_unknown_keys_causes_one_fetch(
    remote: Authenticator, fetcher: FakeFetcher, clock: Clock
) -> None:
    """T54: at most one extra fetch per 30 s, whatever the number of random kids; the others are denied at once."""
    async with running(remote):
        waits = [wait_of(remote, mint(header={"kid": "x0"}))]
        fetcher.gate = asyncio.Event()
        joined = asyncio.ensure_future(waits[0].ready())
        await settle()
        waits += [wait_of(remote, mint(header={"kid": f"x{n}"})) for n in range(1, 50)]
        fetcher.gate.set()
        await asyncio.gather(joined, *(wait.ready() for wait in waits[1:]))
        assert len(fetcher.calls) <= 3
        count = len(fetcher.calls)
        for n in range(50):
            assert ask(remote, mint(header={"kid": f"y{n}"})) == "key-unknown"
        await clock.advance(29)
        assert ask(remote, mint(header={"kid": "z"})) == "key-unknown"
        assert len(fetcher.calls) == count
        await clock.advance(1)
        assert ask(remote, mint(header={"kid": "z"})) == "wait"


async def test_who_begins_to_wait_late_causes_no_fetch(remote: Authenticator, fetcher: FakeFetcher) -> None:
    """T54, T55: a wait that is begun after the fetch that it was for has ended, ends at once."""
    fetcher.answers[JWKS_URI] = DOWN
    first, late = wait_of(remote), wait_of(remote)
    await first.ready()
    await late.ready()
    assert len(fetcher.calls) == 1
    fetcher.publish(OLD)
    async with running(remote):
        count = len(fetcher.calls)
        first, late = wait_of(remote, NEW_TOKEN), wait_of(remote, NEW_TOKEN)
        await first.ready()
        await late.ready()
        assert len(fetcher.calls) == count + 1


async def test_a_wait_that_nobody_begins_uses_up_nothing(remote: Authenticator, fetcher: FakeFetcher) -> None:
    """T54: a request that had no time left to wait does not keep the next one from fetching the new key."""
    async with running(remote):
        fetcher.publish(OLD, NEW)
        wait_of(remote, NEW_TOKEN)
        await wait_of(remote, NEW_TOKEN).ready()
        assert ask(remote, NEW_TOKEN, waited=True) == "identity"


async def test_a_clock_that_is_set_back_stretches_no_pause(
    remote: Authenticator, fetcher: FakeFetcher, clock: Clock
) -> None:
    """T54, T55: after a step back of a day an unknown kid may cause a fetch, and a retry is at most 30 s away."""
    async with running(remote):
        await wait_of(remote, NEW_TOKEN).ready()
        assert ask(remote, NEW_TOKEN) == "key-unknown"
        clock.time -= 86_400
        assert remote.states()[0].age_seconds == 0.0
        await wait_of(remote, NEW_TOKEN).ready()
    other = authenticator(provider(keys=RemoteKeys(JWKS_URI)), now=clock.now, fetcher=fetcher, sleep=clock.sleep)
    fetcher.answers[JWKS_URI] = DOWN
    await wait_of(other).ready()
    clock.time -= 86_400
    denial = other.authenticate(bearer(TOKEN))
    assert isinstance(denial, Deny)
    assert denial.retry_after == 30


async def test_a_fault_of_ours_is_logged_and_survived(
    remote: Authenticator, fetcher: FakeFetcher, clock: Clock
) -> None:
    """T58: an unexpected exception costs this provider one attempt, and names its type alone."""
    fetcher.answers[JWKS_URI] = RuntimeError("token=secret")
    async with running(remote):
        assert remote.states()[0].error == "unexpected fault: RuntimeError"
        fetcher.publish(OLD)
        await clock.advance(2)
        assert ask(remote) == "identity"


async def test_one_dead_provider_harms_only_its_own_callers(clock: Clock, fetcher: FakeFetcher) -> None:
    """T58: the other provider's tokens are judged as ever."""
    dead = provider(name="dead", issuer="https://dead.example/", keys=RemoteKeys("https://dead.example/jwks"))
    both = authenticator(provider(keys=RemoteKeys(JWKS_URI)), dead, now=clock.now, fetcher=fetcher, sleep=clock.sleep)
    async with running(both):
        assert both.started()
        assert ask(both) == "identity"
        assert ask(both, mint({"iss": "https://dead.example/"})) == "keys-unavailable"
        assert [state.usable for state in both.states()] == [True, False]


async def test_an_unknown_issuer_causes_no_fetch(remote: Authenticator, fetcher: FakeFetcher) -> None:
    """T30, T31: nobody can make us fetch by naming issuers."""
    assert ask(remote, mint({"iss": "https://evil.example/"})) == "issuer-unknown"
    await settle()
    assert fetcher.calls == []


DISCOVERY = "https://login.example.com/.well-known/openid-configuration"


def metadata(**members: Any) -> Document:
    return Document(json.dumps({"issuer": ISSUER, "jwks_uri": JWKS_URI, **members}).encode())


def discovering(fetcher: FakeFetcher, clock: Clock, **parts: Any) -> Authenticator:
    source = provider(keys=Discovery(ISSUER), **parts)
    return authenticator(source, now=clock.now, fetcher=fetcher, sleep=clock.sleep)


async def test_keys_are_discovered(fetcher: FakeFetcher, clock: Clock) -> None:
    """T51: the issuer's metadata says where the keys are."""
    fetcher.answers[DISCOVERY] = metadata()
    subject = discovering(fetcher, clock)
    async with running(subject):
        assert ask(subject) == "identity"
    assert [url for url, _ in fetcher.calls] == [DISCOVERY, JWKS_URI]


@pytest.mark.parametrize(
    "document",
    [
        metadata(issuer=ISSUER.rstrip("/")),
        metadata(issuer=ISSUER.upper()),
        metadata(issuer="https://evil.example/"),
        metadata(issuer=None),
        metadata(jwks_uri=None),
        metadata(jwks_uri=["x"]),
        Document(b"[]"),
        Document(b"<html>"),
        Document(b'{"issuer":"' + ISSUER.encode() + b'","issuer":"x"}'),
    ],
)
async def test_metadata_of_another_issuer_is_refused(fetcher: FakeFetcher, clock: Clock, document: Document) -> None:
    """T51: the issuer must be equal to the letter, and jwks_uri be there."""
    fetcher.answers[DISCOVERY] = document
    subject = discovering(fetcher, clock)
    async with running(subject):
        assert ask(subject) == "keys-unavailable"
        assert "discovery document" in subject.states()[0].error
    assert [url for url, _ in fetcher.calls] == [DISCOVERY]


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (JWKS_URI, "/token"),
        ("https://login.example.com:443/jwks", "/token"),
        ("https://login.example.com:8443/jwks", None),
        ("https://keys.example.com/jwks", None),
        ("http://login.example.com/jwks", None),
        ("https://[broken/jwks", None),
    ],
)
async def test_our_token_goes_to_the_issuer_alone(
    fetcher: FakeFetcher, clock: Clock, uri: str, expected: str | None
) -> None:
    """X: a discovery document can't point our bearer token at another origin."""
    fetcher.answers[DISCOVERY] = metadata(jwks_uri=uri)
    fetcher.answers[uri] = Document(json.dumps(jwks(OLD)).encode())
    subject = discovering(fetcher, clock, fetch=FetchSettings(token_file="/token"))
    async with running(subject):
        assert ask(subject) == "identity"
    assert [settings.token_file for _, settings in fetcher.calls] == ["/token", expected]


async def test_rotation_under_load_denies_no_valid_token(
    remote: Authenticator, fetcher: FakeFetcher, clock: Clock
) -> None:
    """T54, T57: keys are published, used and withdrawn; each token that is good when sent is accepted."""

    async def identify(token: str) -> Any:
        outcome = remote.authenticate(bearer(token))
        if isinstance(outcome, Wait):
            await outcome.ready()
            outcome = remote.authenticate(bearer(token), waited=True)
        return outcome

    third = mint(LONG, key=EC_KEY, header={"kid": "k3", "alg": "ES256"})
    async with running(remote):
        for published, good in (
            ((OLD,), (TOKEN,)),
            ((OLD, NEW), (TOKEN, NEW_TOKEN)),
            ((NEW, jwk(EC_KEY, "k3")), (NEW_TOKEN, third)),
            ((jwk(EC_KEY, "k3"),), (third,)),
        ):
            fetcher.publish(*published)
            await clock.advance(60)
            for _ in range(5):
                assert all(isinstance(outcome, Identity) for outcome in [await identify(token) for token in good])
        await clock.advance(301)
        assert word(await identify(TOKEN)) == "key-unknown"


async def test_ten_thousand_tokens_with_a_new_key_cause_one_fetch(remote: Authenticator, fetcher: FakeFetcher) -> None:
    """T54: a herd that arrives with a key that was just rotated in waits for one fetch, and all of it is let in."""
    new = jwk(ED_KEY, "k9")
    tokens = [
        mint({**LONG, "sub": f"s{n}"}, key=ED_KEY, header={"kid": "k9", "alg": "EdDSA"}) for n in range(100)
    ] * 100
    async with running(remote):
        fetcher.publish(OLD, new)
        fetcher.gate = asyncio.Event()
        waits = [asyncio.ensure_future(wait_of(remote, token).ready()) for token in tokens]
        await settle()
        fetcher.gate.set()
        await asyncio.gather(*waits)
        assert len(fetcher.calls) == 2
        assert {ask(remote, token, waited=True) for token in tokens} == {"identity"}
    assert len(fetcher.calls) == 2


async def test_a_key_published_during_a_fetch_is_found(
    remote: Authenticator, fetcher: FakeFetcher, clock: Clock
) -> None:
    """T54, T56: a renewal that began before the key was published does not count as the look for it."""
    async with running(remote):
        old_answer = fetcher.answers[JWKS_URI]
        slow = asyncio.Event()
        asked = fetcher.get

        async def get(url: str, settings: FetchSettings) -> Document:
            answer = await asked(url, settings)
            if not slow.is_set():
                await slow.wait()
                assert isinstance(old_answer, Document)
                return old_answer
            return answer

        fetcher.get = get  # type: ignore[method-assign]
        await clock.advance(270)
        fetcher.publish(OLD, NEW)
        waiting = asyncio.ensure_future(wait_of(remote, NEW_TOKEN).ready())
        await settle()
        slow.set()
        await waiting
        assert ask(remote, NEW_TOKEN, waited=True) == "identity"
        assert len(fetcher.calls) == 3


async def test_an_older_answer_never_comes_after_a_newer_one(
    remote: Authenticator, fetcher: FakeFetcher, clock: Clock
) -> None:
    """T56: there is one fetch at a time, so what is asked for later is also what counts later."""
    under_way = most = 0
    asked = fetcher.get

    async def get(url: str, settings: FetchSettings) -> Document:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await clock.sleep(7)
        under_way -= 1
        return await asked(url, settings)

    fetcher.get = get  # type: ignore[method-assign]
    async with running(remote):
        waits = []
        for second in range(700):
            fetcher.publish(OLD, *([NEW] if second >= 600 else []))
            outcome = remote.authenticate(bearer(mint(header={"kid": f"x{second}"})))
            if isinstance(outcome, Wait):
                waits.append(asyncio.ensure_future(outcome.ready()))
            await clock.advance(1)
        await clock.advance(30)
        await asyncio.gather(*waits)
        assert most == 1
        assert ask(remote, NEW_TOKEN) == "identity"


async def test_tokens_that_name_no_key_have_their_fetch_too(
    remote: Authenticator, fetcher: FakeFetcher, clock: Clock
) -> None:
    """T25, T54: without kid a bad signature may mean a new key: one fetch per 30 s, and then it is a bad signature."""
    nameless = mint(LONG, key=OTHER_RSA_KEY, header=without("kid"))
    fetcher.publish(jwk(RSA_KEY))
    async with running(remote):
        fetcher.publish(jwk(OTHER_RSA_KEY))
        await wait_of(remote, nameless).ready()
        assert ask(remote, nameless, waited=True) == "identity"
        for n in range(20):
            forged = mint({"jti": f"{n}"}, key=RSA_KEY, header=without("kid"))
            assert ask(remote, forged) == "signature-invalid"
        assert len(fetcher.calls) == 2
        await clock.advance(30)
        assert ask(remote, mint(key=RSA_KEY, header=without("kid"))) == "wait"


async def test_a_known_key_with_a_bad_signature_causes_no_fetch(remote: Authenticator, fetcher: FakeFetcher) -> None:
    """T54: forged tokens that name a key of the set are refused at once."""
    async with running(remote):
        assert ask(remote, mint(key=OTHER_RSA_KEY)) == "signature-invalid"
    assert len(fetcher.calls) == 1


async def test_replicas_do_not_ask_in_step(fetcher: FakeFetcher, clock: Clock) -> None:
    """T53, T55: renewals and attempts after failures are spread by chance."""
    fetcher.answers[JWKS_URI] = DOWN
    source = provider(keys=RemoteKeys(JWKS_URI))
    early, late = (
        authenticator(source, now=clock.now, fetcher=fetcher, sleep=clock.sleep, chance=lambda chance=chance: chance)
        for chance in (0.99, 0.0)
    )
    async with running(early):
        await clock.advance(30)
        count = len(fetcher.calls)
    fetcher.calls.clear()
    async with running(late):
        await clock.advance(30)
    assert count > len(fetcher.calls)
