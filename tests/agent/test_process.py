"""Agents as people run them: processes, files, signals, pages, and a service that is not always well."""

import http.client
import json
import resource
import signal
import stat
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.agent.conftest import SECRET, StartAgent, TokenService, ask, content, until


def test_a_token_in_a_file(service: TokenService, start: StartAgent, tmp_path: Path) -> None:
    """Got as the client that we are, renewed before it ends, readable for its owner; SIGTERM ends it and leaves it."""
    service.lifetime = 1
    file = tmp_path / "token"
    agent = start("--token-file", str(file), "--scope", "orders:read", "--resource", "https://orders")
    until(lambda: len(service.given) >= 3)
    asked = service.asked[0]
    assert asked.path == "/oauth2/token"
    assert asked.form == {"grant_type": "client_credentials", "scope": "orders:read", "resource": "https://orders"}
    assert asked.headers["authorization"].startswith("Basic ")
    until(lambda: content(file) in service.given[2:])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert agent.stop() == 0
    assert content(file) in service.given
    assert agent.lines()[-1]["event"] == "stopped"


def test_options_as_variables(service: TokenService, start: StartAgent, tmp_path: Path) -> None:
    """As a manifest writes them; what Kubernetes puts beside a Service called extauthz-agent is ignored."""
    file = tmp_path / "token"
    agent = start(
        "--once",
        client=False,
        whole=True,
        EXTAUTHZ_AGENT_TOKEN_FILE=str(file),
        EXTAUTHZ_AGENT_CLIENT_ID="billing",
        EXTAUTHZ_AGENT_CLIENT_SECRET_FILE=str(tmp_path / "secret"),
        EXTAUTHZ_AGENT_PORT="tcp://10.0.0.1:80",
        EXTAUTHZ_AGENT_SERVICE_HOST="10.0.0.1",
        EXTAUTHZ_AGENT_SERVICE_PORT="80",
    )
    assert agent.ended() == 0
    assert content(file) == service.given[0]


def _has(things: list[str], count: int) -> bool:
    return len(things) >= count


class TestRefreshTokens:
    """Each is good once, and its successor is on disk before anything else happens."""

    @pytest.fixture
    def state(self, service: TokenService, tmp_path: Path) -> Path:
        service.rotates = True
        (tmp_path / "state").mkdir()
        file = tmp_path / "state" / "refresh"
        file.write_text("refresh-0")
        return file

    @pytest.fixture
    def begin(self, start: StartAgent, state: Path, tmp_path: Path) -> Callable[[], Any]:
        token = str(tmp_path / "token")
        return lambda: start("--grant", "refresh-token", "--refresh-token-file", str(state), "--token-file", token)

    def test_rotation(self, service: TokenService, state: Path, begin: Callable[[], Any]) -> None:
        """One follows the other, in the file too."""
        service.lifetime = 0.6
        begin()
        until(lambda: len(service.given) >= 3)
        assert [asked.form["refresh_token"] for asked in service.asked[:3]] == ["refresh-0", "refresh-1", "refresh-2"]
        until(lambda: content(state) in ("refresh-3", "refresh-4", "refresh-5"))
        assert stat.S_IMODE(state.stat().st_mode) == 0o600
        assert [path.name for path in state.parent.iterdir()] == ["refresh"]

    def test_killed_before_the_answer(self, service: TokenService, state: Path, begin: Callable[[], Any]) -> None:
        """The old one is shown again, and the service's grace covers it: the family lives."""
        service.hold = threading.Event()
        agent = begin()
        until(lambda: service.families)
        agent.process.kill()
        agent.ended()
        service.hold.set()
        assert content(state) == "refresh-0"
        begin()
        until(lambda: content(state) == "refresh-1")
        assert service.reused == []

    def test_killed_at_any_time(
        self, service: TokenService, state: Path, begin: Callable[[], Any], tmp_path: Path
    ) -> None:
        """By SIGKILL: what is in the file is always one that the service still takes."""
        token = tmp_path / "token"
        for number in range(4):
            token.unlink(missing_ok=True)
            before = len(service.given) + 1
            agent = begin()
            until(partial(_has, service.given, before))
            time.sleep(0.004 * number)
            agent.process.kill()
            agent.ended()
            assert content(state).startswith("refresh-")
        token.unlink(missing_ok=True)
        before = len(service.given) + 1
        begin()
        until(partial(_has, service.given, before))
        assert service.reused == []

    def test_a_stop_waits_for_the_answer(self, service: TokenService, state: Path, begin: Callable[[], Any]) -> None:
        """The successor under way is the only one there is."""
        service.hold = threading.Event()
        agent = begin()
        until(lambda: service.families)
        agent.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert agent.process.poll() is None
        service.hold.set()
        assert agent.ended() == 0
        assert content(state) == "refresh-1"

    def test_a_full_disk_uses_up_no_token(self, service: TokenService, state: Path, begin: Callable[[], Any]) -> None:
        """Room is taken before the token is shown, so nothing is shown without."""
        agent = begin()
        until(lambda: content(state) == "refresh-1")
        before = resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE, (1, before[1]))
        agent.process.send_signal(signal.SIGHUP)
        admin = agent.page("--admin")
        until(lambda: "File too large" in ask(admin, "/readyz?verbose")[2])
        assert len(service.asked) == 1
        assert content(state) == "refresh-1"
        resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE, before)
        until(lambda: content(state) == "refresh-2")


def test_a_restart_of_the_agent_asks_for_nothing(service: TokenService, start: StartAgent, tmp_path: Path) -> None:
    """As long as the token in the file is young; even if the service is down."""
    file = tmp_path / "token"
    agent = start("--token-file", str(file))
    until(lambda: content(file))
    agent.process.kill()
    agent.ended()
    service.status = 503
    again = start("--token-file", str(file))
    until(lambda: ask(again.page("--admin"), "/readyz")[0] == 200)
    assert len(service.asked) == 1


def test_pages(service: TokenService, start: StartAgent, tmp_path: Path) -> None:
    """The token alone, or as OAuth libraries read it; probes; figures without a secret."""
    agent = start("--listen", "127.0.0.1:0")
    page, admin = agent.page("--listen"), agent.page("--admin")
    until(lambda: ask(admin, "/readyz")[0] == 200)
    status, headers, body = ask(page, "/token", Metadata="true")
    assert (status, body) == (200, service.given[0])
    assert headers["cache-control"] == "no-store"
    assert headers["content-type"] == "text/plain; charset=us-ascii"
    told = json.loads(ask(page, "/token", Metadata="true", Accept="application/json")[2])
    assert told == {"access_token": service.given[0], "token_type": "Bearer", "expires_in": told["expires_in"]}
    assert 290 <= told["expires_in"] <= 300
    figures = ask(admin, "/metrics")[2]
    assert 'extauthz_agent_renewals_total{outcome="done"} 1.0' in figures
    expires = next(line for line in figures.splitlines() if line.startswith("extauthz_agent_token_expires"))
    assert float(expires.split()[1]) == pytest.approx(time.time() + 300, abs=20)
    verbose = ask(admin, "/readyz?verbose")[2]
    assert verbose.splitlines()[-1] == "ready"
    for text in (figures, verbose):
        assert service.given[0] not in text
        assert SECRET not in text
    assert ask(admin, "/token", Metadata="true")[0] == 404


def test_attacks_on_the_token_page(service: TokenService, start: StartAgent) -> None:
    """What a workload could be led to send, or a browser, gets no token."""
    agent = start("--listen", "127.0.0.1:0")
    page = agent.page("--listen")
    until(lambda: ask(page, "/token", Metadata="true")[0] == 200)
    refused = [
        {},
        {"Metadata": "false"},
        {"Metadata": "TRUE"},
        {"Metadata": "true", "Host": "evil.example.com"},
        {"Metadata": "true", "Host": "127.0.0.1.evil.example.com"},
        {"Metadata": "true", "X_Forwarded_For": "10.0.0.1"},
        {"Metadata": "true", "Forwarded": "for=10.0.0.1"},
        {"Metadata": "true", "Via": "1.1 proxy"},
    ]
    for headers in refused:
        status, _, body = ask(page, "/token", **headers)
        assert status in (400, 403), headers
        assert service.given[0] not in body
    for path in ("//token", "/token/", "/token/../token", "/"):
        assert ask(page, path, Metadata="true")[0] == 404
    connection = http.client.HTTPConnection(page, timeout=5)
    for method in ("POST", "OPTIONS", "PUT"):
        connection.request(method, "/token", headers={"Metadata": "true"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 405
    connection.close()


def test_a_second_signal_does_not_wait(service: TokenService, start: StartAgent, tmp_path: Path) -> None:
    """For an answer that does not come."""
    service.hold = threading.Event()
    agent = start("--token-file", str(tmp_path / "token"))
    until(lambda: service.asked)
    agent.process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    began = time.monotonic()
    agent.process.send_signal(signal.SIGTERM)
    assert agent.ended() == 0
    assert time.monotonic() - began < 4
