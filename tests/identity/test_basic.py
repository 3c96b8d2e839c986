"""People who show a name and a password, and a directory that a test is."""

import asyncio
import base64
from dataclasses import dataclass, field
from hashlib import sha256

import pytest
from structlog.testing import capture_logs

from extauthz.errors import EntryError, UpstreamError
from extauthz.identity import Authenticator, BasicProvider, HeaderPlace, RoleRules, Wait
from extauthz.identity.basic import MAX_UNDER_WAY, PROBE_INTERVAL, PasswordDesk
from extauthz.identity.circuit import FAILURES
from extauthz.identity.roles import ClaimPath
from extauthz.model import Deny, Identity, Reason, Request
from tests.identity.issuer import NOW, Clock, authenticator, bearer, mint, provider, request, settle, word

GROUPS = RoleRules((ClaimPath(("groups",)),), {"admins": "admin"}, frozenset({"admin", "staff"}))


@dataclass(frozen=True)
class Somebody:
    dn: str = "uid=alice,dc=example"
    username: str = "alice"
    groups: tuple[str, ...] = ("admins", "anonymous", "others", "staff")


@dataclass
class FakeDirectory:
    """People by name and password. With ``gate`` closed, answers wait; an exception that is given is raised."""

    people: dict[tuple[str, str], Somebody] = field(default_factory=lambda: {("alice", "wonderland"): Somebody()})
    fault: Exception | None = None
    gate: asyncio.Event | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)
    probes: int = 0
    closed: bool = False

    async def authenticate(self, username: str, password: str) -> Somebody | None:
        self.asked.append((username, password))
        if self.gate is not None:
            await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        return self.people.get((username, password))

    async def probe(self) -> None:
        self.probes += 1
        if self.fault is not None:
            raise self.fault

    async def close(self) -> None:
        self.closed = True


def staff(directory: FakeDirectory, cache_max_age: float = 60.0) -> BasicProvider:
    return BasicProvider("staff", "ldaps://directory.example", directory, cache_max_age, roles=GROUPS)


def basic(text: str) -> Request:
    return request({"authorization": f"Basic {base64.b64encode(text.encode()).decode()}"})


async def outcome(identity: Authenticator, asked: Request) -> str:
    """What a request comes to, waiting included."""
    found = identity.authenticate(asked)
    if isinstance(found, Wait):
        await found.ready()
        found = identity.authenticate(asked, waited=True)
    assert not isinstance(found, Wait)
    return word(found)


async def test_somebody_signs_in() -> None:
    """The DN is the subject, the URL the issuer; groups become roles by map and mayGrant, and never anonymous."""
    directory = FakeDirectory()
    identity = authenticator(staff(directory), includes={"admin": ["reader"]})
    asked = basic("alice:wonderland")
    first = identity.authenticate(asked)
    assert isinstance(first, Wait)
    assert directory.asked == []
    await first.ready()
    found = identity.authenticate(asked, waited=True)
    assert isinstance(found, Identity)
    assert (found.subject, found.issuer, found.provider) == (
        "uid=alice,dc=example",
        "ldaps://directory.example",
        "staff",
    )
    assert found.roles == {"admin", "reader", "staff"}
    assert dict(found.claims) == {
        "dn": "uid=alice,dc=example",
        "username": "alice",
        "groups": ["admins", "anonymous", "others", "staff"],
    }
    assert identity.authenticate(asked) == found
    assert directory.asked == [("alice", "wonderland")]


async def test_the_directory_is_asked_again() -> None:
    """A sign-in is believed for cacheMaxAge, and then the directory decides anew."""
    clock, directory = Clock(), FakeDirectory()
    identity = authenticator(staff(directory, cache_max_age=30.0), now=clock.now)
    assert await outcome(identity, basic("alice:wonderland")) == "identity"
    directory.people.clear()
    clock.time += 29
    assert await outcome(identity, basic("alice:wonderland")) == "identity"
    clock.time += 2
    assert await outcome(identity, basic("alice:wonderland")) == "credentials-invalid"
    clock.time = NOW - 10
    assert isinstance(identity.authenticate(basic("alice:wonderland")), Wait)


async def test_one_password_opens_for_no_other() -> None:
    """While one password is remembered, every other one for the same name is asked about, and refused."""
    directory = FakeDirectory()
    identity = authenticator(staff(directory))
    assert await outcome(identity, basic("alice:wonderland")) == "identity"
    for text in ("alice:wonderlan", "alice:Wonderland", "alice:wonderland ", "Alice:wonderland", "alice:wonderland:"):
        assert await outcome(identity, basic(text)) == "credentials-invalid"
    assert await outcome(identity, basic("alice:wonderland")) == "identity"
    assert len(directory.asked) == 6


async def test_refusals_are_short() -> None:
    """A wrong password is not asked about again for two seconds; then it may have become the right one."""
    clock, directory = Clock(), FakeDirectory()
    identity = authenticator(staff(directory), now=clock.now)
    for _ in range(3):
        assert await outcome(identity, basic("alice:new")) == "credentials-invalid"
    assert len(directory.asked) == 1
    directory.people["alice", "new"] = Somebody()
    clock.time += 2.1
    assert await outcome(identity, basic("alice:new")) == "identity"


async def test_guesses_drive_out_nobody() -> None:
    """I7: a flood of wrong passwords is bounded, and who has signed in is still remembered after it."""
    directory = FakeDirectory()
    identity = authenticator(staff(directory))
    assert await outcome(identity, basic("alice:wonderland")) == "identity"
    for guess in range(5_000):
        found = identity.authenticate(basic(f"alice:{guess}"))
        assert isinstance(found, Wait)
        await found.ready()
    asked = len(directory.asked)
    assert await outcome(identity, basic("alice:wonderland")) == "identity"
    assert len(directory.asked) == asked


async def test_one_question_for_many() -> None:
    """A herd with one name and password asks once; a caller that goes away leaves the question to the others."""
    directory = FakeDirectory(gate=asyncio.Event())
    identity = authenticator(staff(directory))
    waits = []
    for _ in range(50):
        found = identity.authenticate(basic("alice:wonderland"))
        assert isinstance(found, Wait)
        waits.append(asyncio.ensure_future(found.ready()))
    await settle()
    waits[0].cancel()
    await settle()
    assert directory.gate is not None
    directory.gate.set()
    await asyncio.gather(*waits[1:])
    assert len(directory.asked) == 1
    assert word(identity.authenticate(basic("alice:wonderland"), waited=True)) == "identity"


async def test_too_many_at_once() -> None:
    """I7: sign-ins under way are bounded; one more is refused at once, and told when to come back."""
    directory = FakeDirectory(gate=asyncio.Event())
    identity = authenticator(staff(directory))
    tasks = []
    for number in range(MAX_UNDER_WAY):
        found = identity.authenticate(basic(f"{number}:x"))
        assert isinstance(found, Wait)
        tasks.append(asyncio.ensure_future(found.ready()))
    await settle()
    refused = identity.authenticate(basic("alice:wonderland"))
    assert isinstance(refused, Deny)
    assert (refused.reason, refused.retry_after) == (Reason.OVERLOADED, 1)
    assert directory.gate is not None
    directory.gate.set()
    await asyncio.gather(*tasks)
    assert await outcome(identity, basic("alice:wonderland")) == "identity"


async def test_a_directory_that_fails() -> None:
    """I9: after a few failures nobody waits for it any more; then one question may try, and all is well again."""
    clock, directory = Clock(), FakeDirectory(fault=UpstreamError("directory.example:636: can't connect"))
    identity = authenticator(staff(directory), now=clock.now)
    for number in range(FAILURES):
        assert await outcome(identity, basic(f"alice:{number}")) == "store-unavailable"
    refused = identity.authenticate(basic("alice:wonderland"))
    assert isinstance(refused, Deny)
    assert (refused.reason, refused.retry_after) == (Reason.STORE_UNAVAILABLE, 1)
    assert refused.detail == "directory.example:636: can't connect"
    assert len(directory.asked) == FAILURES
    assert identity.states()[0].usable is False
    clock.time += 1.1
    first, second = identity.authenticate(basic("alice:wonderland")), identity.authenticate(basic("bob:x"))
    assert isinstance(first, Wait)
    assert isinstance(second, Wait)
    directory.fault = None
    await asyncio.gather(first.ready(), second.ready())
    assert len(directory.asked) == FAILURES + 1
    assert await outcome(identity, basic("alice:wonderland")) == "identity"


async def test_what_was_signed_in_before_stays() -> None:
    """Those whom the directory knew a moment ago go on while it is down, for cacheMaxAge and not longer."""
    clock, directory = Clock(), FakeDirectory()
    identity = authenticator(staff(directory), now=clock.now)
    assert await outcome(identity, basic("alice:wonderland")) == "identity"
    directory.fault = UpstreamError("down")
    clock.time += 59
    assert await outcome(identity, basic("alice:wonderland")) == "identity"
    clock.time += 2
    assert await outcome(identity, basic("alice:wonderland")) == "store-unavailable"


async def test_an_entry_that_cannot_be_used() -> None:
    """It concerns one person: that one is refused, and nobody else is made to wait."""
    directory = FakeDirectory(fault=EntryError("more than one entry has this name"))
    identity = authenticator(staff(directory))
    for number in range(2 * FAILURES):
        assert await outcome(identity, basic(f"twin:{number}")) == "credentials-invalid"
    directory.fault = None
    assert await outcome(identity, basic("alice:wonderland")) == "identity"


@pytest.mark.parametrize(
    "somebody",
    [
        Somebody(dn="uid=alice\0evil"),
        Somebody(username="alice\0"),
        Somebody(username=""),
        Somebody(username="a\nb"),
        Somebody(groups=("staff", "ad\0min")),
        Somebody(groups=("",)),
        Somebody(groups=("x" * 1025,)),
        Somebody(groups=tuple(f"cn={n},ou=a,ou=b,ou=c,dc=d,dc=e" for n in range(512))),
    ],
)
async def test_names_that_no_policy_should_see(somebody: Somebody) -> None:
    """U+0000 and other controls in what the directory says are refused, as they are in tokens; so is more than fits."""
    directory = FakeDirectory({("alice", "wonderland"): somebody})
    assert await outcome(authenticator(staff(directory)), basic("alice:wonderland")) == "credentials-invalid"


async def test_no_secret_is_told() -> None:
    """I6: a fault that quotes the password shows it nowhere: not in the denial, the state, the log or a representation."""
    directory = FakeDirectory(fault=RuntimeError("could not bind alice with wonderland"))
    identity = authenticator(staff(directory))
    with capture_logs() as logs:
        wait = identity.authenticate(basic("alice:wonderland"))
        assert isinstance(wait, Wait)
        await wait.ready()
        refused = identity.authenticate(basic("alice:wonderland"), waited=True)
    token = basic("alice:wonderland").headers["authorization"][0].removeprefix("Basic ")
    assert word(refused) == "store-unavailable"
    for text in (repr(wait), repr(refused), repr(identity.states()), repr(logs)):
        assert "wonderland" not in text
        assert "alice" not in text
        assert token not in text
    assert "RuntimeError" in repr(logs)


async def test_what_is_kept_is_keyed() -> None:
    """I6: no plain digest of a password is in memory, and two processes keep different ones for the same password."""
    token = basic("alice:wonderland").headers["authorization"][0].removeprefix("Basic ")
    kept = []
    for _ in range(2):
        desk = PasswordDesk(staff(FakeDirectory()), {}, now=lambda: NOW)
        wait = desk.identify(token, NOW, waited=False)
        assert isinstance(wait, Wait)
        await wait.ready()
        kept += list(desk._people._entries)
    assert len(set(kept)) == 2
    plain = {sha256(text.encode()).digest() for text in (token, "alice:wonderland", "wonderland")}
    assert not plain & set(kept)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("Basic", "token-malformed"),
        ("Basic ", "token-malformed"),
        ("Basic YWxpY2U6", "credentials-invalid"),
        ("Basic YWxpY2U6AA==", "credentials-invalid"),
        ("Basic OndvbmRlcmxhbmQ=", "credentials-invalid"),
        ("Basic YWxpY2U6d29uZGVybGFuZA", "credentials-invalid"),
        ("Basic YWxpY2U6d29uZGVybGFuZA== YWxpY2U6d29uZGVybGFuZA==", "token-malformed"),
        ("Basic YWxpY2U6d29uZGVybGFuZA==, Bearer x", "credentials-ambiguous"),
        ("Basic YWxpY2U6d29uZGVybGFuZB==", "credentials-invalid"),
        ("Basic é", "credentials-invalid"),
        ("Basic " + "A" * 100_000, "credentials-invalid"),
        ("Digest username=alice", "credentials-invalid"),
        ("Bearer YWxpY2U6d29uZGVybGFuZA==", "token-malformed"),
    ],
)
async def test_bad_headers(header: str, reason: str) -> None:
    """What is not one well-formed pair is refused before anybody is asked: an empty password above all."""
    directory = FakeDirectory()
    identity = authenticator(provider(), staff(directory))
    assert await outcome(identity, request({"authorization": header})) == reason
    assert directory.asked == []


async def test_both_kinds_in_one_header() -> None:
    """Basic goes to the directory and Bearer to the issuer, in any case; a token is never shown to the directory."""
    directory = FakeDirectory()
    identity = authenticator(provider(), staff(directory))
    assert await outcome(identity, bearer(mint())) == "identity"
    assert directory.asked == []
    for scheme in ("Basic", "basic", "BASIC"):
        text = basic("alice:wonderland").headers["authorization"][0].replace("Basic", scheme)
        assert await outcome(identity, request({"authorization": text})) == "identity"
    assert await outcome(identity, request({"authorization": f"Basic {mint()}"})) == "credentials-invalid"
    assert len(directory.asked) == 1


async def test_without_such_a_provider() -> None:
    """Where no policy asks the directory, a password is never shown to it, and never makes anybody anonymous."""
    directory = FakeDirectory()
    assert await outcome(authenticator(), basic("alice:wonderland")) == "credentials-invalid"
    identity = authenticator(provider(), staff(directory))
    found = identity.authenticate(basic("alice:wonderland"), providers=frozenset({"corporate"}))
    assert word(found) == "credentials-invalid"
    assert directory.asked == []


async def test_the_directory_is_looked_at() -> None:
    """The state is known before anybody signs in, and is told again when it changes; at the end connections are closed."""
    clock, directory = Clock(), FakeDirectory(fault=UpstreamError("directory.example:636: can't connect"))
    identity = authenticator(staff(directory), now=clock.now, sleep=clock.sleep)
    assert not identity.started()
    running = asyncio.create_task(identity.run())
    await settle()
    assert identity.started()
    assert identity.states()[0].error == "directory.example:636: can't connect"
    directory.fault = None
    await clock.advance(1.1)
    assert (identity.states()[0].usable, identity.states()[0].error) == (True, "")
    probes = directory.probes
    await clock.advance(PROBE_INTERVAL + 0.1)
    assert directory.probes == probes + 1
    directory.gate = asyncio.Event()
    wait = identity.authenticate(basic("alice:wonderland"))
    assert isinstance(wait, Wait)
    waiter = asyncio.ensure_future(wait.ready())
    await settle()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await waiter
    assert directory.closed


def test_parts_that_do_not_fit() -> None:
    """A provider of this kind reads one place alone, and remembers for a bounded time."""
    for parts in (
        {"places": (HeaderPlace("x-login", ""),)},
        {"cache_max_age": 0.0},
        {"cache_max_age": 4000.0},
        {"issuer": ""},
    ):
        with pytest.raises(ValueError, match="provider 'staff'"):
            BasicProvider(**({"name": "staff", "issuer": "ldaps://x", "directory": FakeDirectory()} | parts))  # type: ignore[arg-type]
