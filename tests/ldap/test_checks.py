"""Whole Checks of people in a real directory: the configuration is written, the answer is what Envoy gets."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from signal import SIGCONT, SIGSTOP

import pytest

from extauthz._pb.envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from extauthz.app.providers import authenticator
from extauthz.config import Config, load_config
from extauthz.identity import Authenticator
from extauthz.policy import PolicySettings, PolicyText, Snapshot, load
from extauthz.serving import Call
from tests.identity.issuer import FakeFetcher
from tests.journey import Journey, assert_denies, check_request, reason_of
from tests.ldap.slapd import BOB_PASSWORD, GROUPS, PEOPLE, READER, Slapd

pytestmark = pytest.mark.system("slapd")

POLICY = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: orders}
spec:
  rules:
  - name: people
    role: user
    to: [{methods: [GET]}]
  - name: admins
    role: admin
  response:
    headers: {x-auth-subject: identity.subject, x-auth-name: claims.username, x-auth-groups: claims.groups}
"""


def configuration(slapd: Slapd) -> Config:
    """What an operator would write for this directory."""
    file = slapd.folder / "extauthz.yaml"
    file.write_text(f"""
providers:
- name: staff
  basic:
    ldap:
      url: ldaps://127.0.0.1:{slapd.tls_port}
      caFile: ca.pem
      search: {{base: "{PEOPLE}"}}
      bindDn: {READER}
      bindPasswordFile: reader-password
      groups: {{base: "{GROUPS}"}}
      timeout: 500ms
      cacheMaxAge: 1s
  roles:
    map: {{admins: admin, staff: user}}
    mayGrant: [admin, user]
""")
    return load_config(str(file), {})


def snapshot() -> Snapshot:
    return load([PolicyText("orders.yaml", POLICY)], PolicySettings(providers=frozenset({"staff"})), 1)


class Guarded:
    """A server without its sockets."""

    def __init__(self, identity: Authenticator) -> None:
        self.journey = Journey(snapshot(), identity, clock=time.monotonic, deadline=0.15)

    async def ask(self, name: str, password: str, method: str = "GET") -> tuple[str, dict[str, str]]:
        """The reason, and the headers that the service behind would get."""
        credentials = base64.b64encode(f"{name}:{password}".encode()).decode()
        message = check_request(method=method, headers={"authorization": f"Basic {credentials}"})
        given = self.journey.handler(message, Call((), None))
        answer = CheckResponse.FromString(given if isinstance(given, bytes) else await given)
        if answer.status.code:
            assert_denies(answer)
        return reason_of(answer), {each.header.key: each.header.value for each in answer.ok_response.headers}


@pytest.fixture
async def guarded(own_slapd: Slapd) -> AsyncIterator[Guarded]:
    identity = authenticator(configuration(own_slapd), FakeFetcher(), time.time)
    running = asyncio.create_task(identity.run())
    while not identity.started():  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.01)
    yield Guarded(identity)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_people_and_their_roles(guarded: Guarded) -> None:
    """Groups become roles, roles open rules, and the service behind is told the names as the directory spells them."""
    assert await guarded.ask("ALICE", "wonderland", "DELETE") == (
        "allowed",
        {
            "x-auth-subject": "uid=alice%2Cou=people%2Cdc=example%2Cdc=org",
            "x-auth-name": "alice",
            "x-auth-groups": "admins,staff",
        },
    )
    assert (await guarded.ask("bob", BOB_PASSWORD))[0] == "allowed"
    assert (await guarded.ask("bob", BOB_PASSWORD, "DELETE"))[0] == "role-missing"
    assert (await guarded.ask("two", "two-password"))[0] == "credentials-invalid"
    for name, password in (
        ("bob", "wonderland"),
        ("*", "wonderland"),
        ("alice", ""),
        ("", "wonderland"),
        ("alice", "\0"),
    ):
        assert (await guarded.ask(name, password))[0] == "credentials-invalid"


async def test_a_directory_that_hangs(guarded: Guarded, own_slapd: Slapd) -> None:
    """I9: every Check is answered within its deadline whatever the directory does, and it recovers by itself."""
    assert (await guarded.ask("alice", "wonderland"))[0] == "allowed"
    own_slapd.send(SIGSTOP)
    await asyncio.sleep(1.1)
    longest = 0.0
    reasons: set[str] = set()
    for attempt in range(12):
        began = time.monotonic()
        asked = (guarded.ask("alice", f"wonderland{attempt or ''}") for _ in range(5))
        reasons.update(reason for reason, _ in await asyncio.gather(*asked))
        longest = max(longest, time.monotonic() - began)
    assert reasons <= {"deadline-exceeded", "store-unavailable"}
    assert longest < 0.3
    own_slapd.send(SIGCONT)
    async with asyncio.timeout(10):
        while (await guarded.ask("alice", "wonderland"))[0] != "allowed":  # noqa: ASYNC110 - a directory tells nobody
            await asyncio.sleep(0.05)


async def test_a_directory_that_is_gone_and_back(guarded: Guarded, own_slapd: Slapd) -> None:
    """I9: without a directory nobody new comes in, at once; with a new one at the same place everybody does."""
    assert (await guarded.ask("alice", "wonderland"))[0] == "allowed"
    own_slapd.stop()
    await asyncio.sleep(1.1)
    for _ in range(10):
        began = time.monotonic()
        assert (await guarded.ask("alice", "wonderland"))[0] == "store-unavailable"
        assert time.monotonic() - began < 0.1
    own_slapd.start()
    async with asyncio.timeout(10):
        while (await guarded.ask("alice", "wonderland"))[0] != "allowed":  # noqa: ASYNC110 - a directory tells nobody
            await asyncio.sleep(0.05)
