"""Stopping and reloading under load, with real processes: nothing is lost, nothing changes halfway (I3, I10)."""

import asyncio
import json
import re
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Self

import httpx2
import pytest

from mesh.address import free_address, free_addresses
from mesh.authz import AuthzProcess, AuthzSettings, TokenSettings
from mesh.issuer import Issuer
from mesh.options import EnvoyOptions
from mesh.proxy import EnvoyProcess

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(90)]

PATIENT = timedelta(seconds=5)
"""These tests are about what is lost, not about how fast two shared cores are."""
QUIET = {"OTEL_SDK_DISABLED": "true", "EXTAUTHZ_CHECK__DEADLINE": "5s"}

USERS = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: orders}
spec:
  rules:
  - name: users
    role: ROLE
"""


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    """A development issuer that serves its keys."""
    running = Issuer(free_address())
    running.start()
    yield running
    running.stop()


class Load:
    """A few clients that ask Envoy without a pause and count what they are answered."""

    def __init__(self, url: str, token: str) -> None:
        self.statuses: Counter[int] = Counter()
        self._url = url
        self._headers = {"authorization": f"Bearer {token}"}
        self._tasks: list[asyncio.Task[None]] = []

    async def _ask(self) -> None:
        async with httpx2.AsyncClient(base_url=self._url, headers=self._headers) as client:
            while True:
                self.statuses[(await client.get("/orders")).status_code] += 1

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._ask()) for _ in range(4)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        for error in await asyncio.gather(*self._tasks, return_exceptions=True):
            assert isinstance(error, asyncio.CancelledError), error


def policy(folder: Path, role: str) -> None:
    """Write the one policy, in one step as editors and ConfigMaps do."""
    new = folder / ".new"
    new.write_text(USERS.replace("ROLE", role))
    new.rename(folder / "orders.yaml")


@contextmanager
def authz(folder: Path, issuer: Issuer, policies: Path, **environment: str) -> Iterator[AuthzProcess]:
    """A whole ``extauthz serve`` of its own."""
    check, http, admin = free_addresses(0, 0, 0)
    keys = folder / "partner.json"
    folder.mkdir(exist_ok=True)
    keys.write_text(json.dumps(issuer.partner_jwks()))
    settings = AuthzSettings(
        check=check,
        admin=admin,
        tokens=TokenSettings.local(http, folder),
        issuer=issuer.url,
        partner_keys=f'jwksFile: "{keys}"',
        policies=str(policies),
        decisions=str(folder / "decisions.jsonl"),
    )
    with AuthzProcess(settings, folder, environment={**QUIET, **environment}) as process:
        yield process


@contextmanager
def envoy(folder: Path, upstream: str, *servers: str) -> Iterator[EnvoyProcess]:
    """An Envoy that spreads its Checks over the servers and looks at their health twice a second."""
    listen, admin = free_addresses(0, 0)
    options = EnvoyOptions(
        listen=listen,
        admin=admin,
        authz=servers,
        upstream=upstream,
        authz_health=timedelta(milliseconds=500),
        authz_timeout=PATIENT,
        access_log=str(folder / "access.log"),
    )
    with EnvoyProcess(options, folder) as process:
        yield process


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """A folder with the one policy, which lets users in."""
    folder = tmp_path / "policies"
    folder.mkdir()
    policy(folder, "user")
    return folder


@pytest.fixture
def server(tmp_path: Path, issuer: Issuer, policies: Path) -> Iterator[AuthzProcess]:
    with authz(tmp_path / "one", issuer, policies) as process:
        yield process


@pytest.fixture
def proxy(tmp_path: Path, upstreams: tuple[str, str], server: AuthzProcess) -> Iterator[EnvoyProcess]:
    """An Envoy that asks the one server."""
    with envoy(tmp_path, upstreams[0], server.settings.check) as process:
        yield process


async def becomes(condition: Callable[[], Awaitable[bool]], within: float = 20) -> None:
    """Wait until another process has got so far."""
    async with asyncio.timeout(within):
        while not await condition():  # noqa: ASYNC110 - nothing in this process tells us
            await asyncio.sleep(0.02)


async def until(statuses: Counter[int], status: int, within: float = 20) -> None:
    """Wait until this status was answered."""

    async def answered() -> bool:
        return statuses[status] > 0

    await becomes(answered, within)


async def ended(process: AuthzProcess) -> bool:
    """Whether a process has come to its end."""
    return process.returncode is not None


async def test_stopping_one_of_two_servers_loses_no_request(
    tmp_path: Path, issuer: Issuer, upstreams: tuple[str, str], policies: Path
) -> None:
    """SIGTERM: health off, wait, finish, exit 0; Envoy goes over to the other one in time."""
    drain = {"EXTAUTHZ_CHECK__DRAINDELAY": "1500ms"}
    with ExitStack() as stack:
        first = stack.enter_context(authz(tmp_path / "first", issuer, policies, **drain))
        second = stack.enter_context(authz(tmp_path / "second", issuer, policies, **drain))
        proxy = stack.enter_context(envoy(tmp_path, upstreams[0], first.settings.check, second.settings.check))
        async with Load(proxy.url, issuer.mint()) as load:
            await until(load.statuses, 200)
            await asyncio.sleep(0.5)
            first.signal(signal.SIGTERM)
            await becomes(lambda: ended(first), within=10)
            after = load.statuses[200]
            await asyncio.sleep(0.5)
        retries = sum(proxy.stats("cluster.authz.upstream_rq_retry").values())
    assert first.returncode == 0
    assert set(load.statuses) == {200}
    assert load.statuses[200] > after > 100
    assert retries == 0


async def test_a_broken_policy_changes_nothing_but_what_is_told(
    issuer: Issuer, policies: Path, server: AuthzProcess, proxy: EnvoyProcess
) -> None:
    """The last good set stays in force; metric, readiness text and log say so; health stays as it was."""
    async with Load(proxy.url, issuer.mint()) as load, httpx2.AsyncClient(base_url=server.admin_url) as admin:

        async def failed() -> bool:
            return "last load failed" in (await admin.get("/readyz?verbose")).text

        async def mended() -> bool:
            return not await failed()

        await until(load.statuses, 200)
        (policies / "broken.yaml").write_text(
            "apiVersion: security.example.com/v1\nkind: AuthPolicy\nspec: {rulez: []}\n"
        )
        await becomes(failed)
        report = (await admin.get("/readyz?verbose")).text
        ready = (await admin.get("/readyz")).status_code
        metrics = (await admin.get("/metrics")).text
        seen = load.statuses[200]
        await asyncio.sleep(0.3)
        assert load.statuses[200] > seen
        (policies / "broken.yaml").unlink()
        await becomes(mended)
    assert set(load.statuses) == {200}
    assert ready == 200
    assert "rulez" in report
    assert "broken.yaml" in report
    assert re.search(r'^extauthz_policy_load_total\{outcome="failure"\} 1\.0$', metrics, re.MULTILINE)
    assert re.search(r"^extauthz_policy_generation 1\.0$", metrics, re.MULTILINE)
    assert "broken.yaml" in server.log.read_text()


async def test_a_changed_policy_is_in_force_within_a_second(
    issuer: Issuer, policies: Path, proxy: EnvoyProcess
) -> None:
    """And each request is answered by the old set or the new one."""
    async with Load(proxy.url, issuer.mint()) as load:
        await until(load.statuses, 200)
        policy(policies, "admin")
        await until(load.statuses, 403, within=2)
        allowed = load.statuses[200]
        await asyncio.sleep(0.3)
        assert load.statuses[200] <= allowed + 4
    assert set(load.statuses) == {200, 403}


async def test_reloading_all_the_time_loses_nothing(issuer: Issuer, policies: Path, proxy: EnvoyProcess) -> None:
    """Ten sets a second, good and broken ones, while requests go on."""
    async with Load(proxy.url, issuer.mint()) as load:
        await until(load.statuses, 200)
        for number in range(20):
            policy(policies, "user" if number % 2 else "[broken")
            await asyncio.sleep(0.1)
    assert set(load.statuses) == {200}
