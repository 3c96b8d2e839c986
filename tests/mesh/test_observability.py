"""Rules and dashboard, asked of a real Prometheus that scrapes two workers under load; and the same seen by ``extauthz top``."""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from extauthz.cli import main
from extauthz.model import AttributeContext, HttpAttributes, Peer
from extauthz.serving import CHECK_METHOD, ask_once
from extauthz.wire import encode_check
from extauthz.workbench.load import Load, h2load
from mesh.address import free_address, free_addresses
from mesh.observability.dashboard import dashboard
from mesh.observability.panels import expressions
from mesh.processes import Process, answers
from mesh.proxy import PROJECT

FOLDER = PROJECT / "mesh" / "observability"
CHECKS = 600
TOKENS = 20
CONFIG = """
workers: 2
listen:
  check: {{address: "unix:{folder}/check.sock"}}
  http: {{address: "{http}"}}
  admin: {{address: "{admin}"}}
check: {{drainDelay: 0s}}
limits: {{perProcess: true}}
providers:
- name: corporate
  jwt: {{issuer: "https://login.example.com/", audiences: [orders], secretFile: secret, algorithms: [HS256]}}
policies: {{files: [policy.yaml]}}
store: {{url: "sqlite:state.db"}}
tokens:
  issuer: "http://{http}"
  audiences: [orders]
  audit: {{file: audit.log, keyFile: audit.key}}
  clients:
  - {{id: billing, secretFile: client.secret, secretIn: form, refresh: true, roles: [user]}}
"""
POLICY = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: get-alone}
spec:
  authentication: {optional: true}
  rules:
  - {name: read, role: anonymous, maxRequestsPerMinute: 100000, to: [{methods: [GET]}]}
  - {name: tomorrow, role: anonymous, shadow: true, to: [{methods: [PUT]}]}
"""
PROMETHEUS = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
- job_name: extauthz
  static_configs: [{{targets: ["{admin}"]}}]
"""


def asked(method: str) -> bytes:
    """A Check of a request without credentials."""
    http = HttpAttributes("1", method, "/x", "a.example.com", "https", "HTTP/2", {})
    return encode_check(AttributeContext(Peer("192.0.2.1", 1), Peer("192.0.2.2", 443), time.time(), http))


@dataclass
class Watched:
    """Two workers, and a Prometheus that scrapes them."""

    workers: tuple[str, str]
    admin: str
    prometheus: str
    secret: str
    http: str

    def token(self, **form: str) -> tuple[int, dict[str, Any]]:
        """A request for a token."""
        body = urllib.parse.urlencode({"client_id": "billing", "client_secret": self.secret} | form)
        try:
            with urllib.request.urlopen(f"http://{self.http}/oauth2/token", body.encode(), timeout=5) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def query(self, expression: str) -> list[Any]:
        """What Prometheus answers; a query that it does not understand raises."""
        url = f"http://{self.prometheus}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(url, timeout=5) as answer:
            told = json.load(answer)
        assert told["status"] == "success"
        result: list[Any] = told["data"]["result"]
        return result

    def value(self, expression: str) -> float:
        """Of one sample; 0 without one."""
        found = self.query(expression)
        return float(found[0]["value"][1]) if found else 0.0


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Under load for some seconds, so that rates can be told."""
    folder = tmp_path_factory.mktemp("watched")
    admin, prometheus, http = free_addresses(0, 0, 0)
    (folder / "extauthz.yaml").write_text(CONFIG.format(folder=folder, admin=admin, http=http))
    secret = os.urandom(20).hex()
    (folder / "client.secret").write_text(secret)
    (folder / "policy.yaml").write_text(POLICY)
    (folder / "secret").write_bytes(os.urandom(40))
    (folder / "prometheus.yml").write_text(PROMETHEUS.format(rules=FOLDER / "rules.yaml", admin=admin))
    serve = [sys.executable, "-m", "extauthz", "serve", "--config", "extauthz.yaml"]
    scrape = [
        "prometheus",
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={prometheus}",
        "--log.level=error",
    ]
    ready = [answers(f"http://{admin}/readyz")]
    with (
        Process("extauthz", serve, log=folder / "serve.log", ready=ready, directory=folder),
        Process("prometheus", scrape, log=folder / "prometheus.log", ready=[answers(f"http://{prometheus}/-/ready")]),
    ):
        made = Watched((f"unix:{folder}/check.sock", f"unix:{folder}/check-1.sock"), admin, prometheus, secret, http)
        for worker in made.workers:
            asyncio.run(ask_once(worker, asked("GET"), timeout=30))
        _until(lambda: made.value("sum(extauthz_check_total)") == 2)
        for worker, message in zip(made.workers, (asked("GET"), asked("PUT")), strict=True):
            h2load(worker, CHECK_METHOD, Load(CHECKS, rate=200), message=message)
        for _ in range(TOKENS):
            assert made.token(grant_type="client_credentials")[0] == 200
        # Refused, and used twice.
        assert made.token(grant_type="client_credentials", client_secret="x")[0] == 401
        stolen = made.token(grant_type="client_credentials")[1]["refresh_token"]
        _, first = made.token(grant_type="refresh_token", refresh_token=stolen)
        assert made.token(grant_type="refresh_token", refresh_token=first["refresh_token"])[0] == 200
        assert made.token(grant_type="refresh_token", refresh_token=stolen)[0] == 400
        _until(lambda: made.value("sum(extauthz_check_total)") >= 2 + 2 * CHECKS)
        _until(lambda: made.value("sum(extauthz_http_requests_total)") >= TOKENS + 5)
        yield made


def _until(true: Any, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "Prometheus did not come to know it"
        time.sleep(0.2)


@pytest.mark.system("prometheus")
@pytest.mark.system("h2load")
def test_what_was_asked_is_what_is_counted(watched: Watched) -> None:
    """Of two workers, by result, and none twice."""
    assert watched.value("sum(extauthz_check_total)") == 2 + 2 * CHECKS
    assert watched.value('sum(extauthz_check_total{result="allow"})') == 2 + CHECKS
    assert watched.value('sum(extauthz_check_total{reason="no-rule"})') == CHECKS
    assert watched.value('sum(extauthz_shadow_total{would="allow"})') == CHECKS
    assert watched.value('sum(extauthz_limit_total{outcome="granted"})') == 2 + CHECKS
    assert sorted(float(one["value"][1]) for one in watched.query("extauthz_worker_check_total")) == [601.0, 601.0]


@pytest.mark.system("prometheus")
@pytest.mark.system("h2load")
def test_tokens_that_were_asked_for_are_counted(watched: Watched) -> None:
    """By grant and by outcome, by endpoint and by status, of two workers together."""
    issued = 'sum(extauthz_tokens_total{outcome="issued",grant="%s"})'
    assert watched.value(issued % "client_credentials") == TOKENS + 1
    assert watched.value(issued % "refresh_token") == 2
    assert watched.value('sum(extauthz_tokens_total{outcome="invalid_client"})') == 1
    assert watched.value("extauthz_refresh_tokens_reused_total") == 1
    assert watched.value('extauthz_http_requests_total{endpoint="token",status="200"}') == TOKENS + 3
    assert watched.value("extauthz_signature_duration_seconds_count") == TOKENS + 3
    assert watched.value('extauthz_audit_total{outcome="written"}') >= TOKENS + 5
    assert watched.value('extauthz_signing_keys{slot="current"}') == 1
    assert watched.value("max(extauthz_revocations_age_seconds)") < 5


@pytest.mark.system("prometheus")
@pytest.mark.system("h2load")
@pytest.mark.parametrize(
    ("title", "sometimes", "expression"),
    [(panel.title, panel.sometimes, expression) for panel, expression in expressions()],
)
def test_every_panel_has_something_to_show(
    watched: Watched,
    title: str,
    sometimes: bool,
    expression: str,
) -> None:
    """Prometheus understands each query, and those that always have figures have some."""
    asked_for = expression.replace("$job", "extauthz").replace("$instance", ".*").replace("$__rate_interval", "1m")
    found = watched.query(asked_for)
    assert found or sometimes, title
    assert all(float(one["value"][1]) >= 0 for one in found)


@pytest.mark.system("prometheus")
@pytest.mark.system("h2load")
def test_a_server_that_is_well_alarms_nobody(watched: Watched) -> None:
    """All rules are evaluated, without a fault, and recorded."""
    with urllib.request.urlopen(f"http://{watched.prometheus}/api/v1/rules", timeout=5) as answer:
        groups = json.load(answer)["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == 40
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
    # One refresh token was used twice, and that is told at once.
    assert {rule["name"] for rule in rules if rule.get("state") == "firing"} <= {"ExtAuthzRefreshTokenReused"}


@pytest.mark.system("prometheus")
@pytest.mark.system("h2load")
def test_top_shows_the_same(watched: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    """Rules and last denials of both workers included."""
    command = ["top", "--admin", watched.admin, "--once", "--interval", "0.5"]
    assert main([*command, "--output", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ready"] is True
    assert {count["name"]: count["total"] for count in told["reasons"]} == {"no-rule": CHECKS}
    assert {count["name"]: count["total"] for count in told["rules"]} == {
        "get-alone read": 2 + CHECKS,
        "get-alone": CHECKS,  # denied, as no rule of it allows
    }
    assert [count["total"] for count in told["workers"]] == [CHECKS + 1] * 2
    assert {denial["reason"] for denial in told["denials"]} == {"no-rule"}
    tokens = told["tokens"]
    assert {count["name"]: count["total"] for count in tokens["issued"]} == {
        "client_credentials": TOKENS + 1,
        "refresh_token": 2,
    }
    assert {count["name"]: count["total"] for count in tokens["refused"]} == {"invalid_client": 1, "invalid_grant": 1}
    assert (tokens["reused"]["total"], tokens["signs"], tokens["store"], tokens["vault"]) == (1, True, True, None)
    assert list(tokens["keys"]) == ["current"]
    assert main(command) == 0
    screen = capsys.readouterr().out
    for word in ("ready", "checks/s", "why denied", "busiest rules", "PUT a.example.com/x", "workers", "tokens issued"):
        assert word in screen


def test_top_of_nobody_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """In a sentence."""
    admin = free_address()
    assert main(["top", "--admin", admin, "--once"]) == 2
    assert f"the admin listener {admin} does not answer: Connection refused" in capsys.readouterr().err


@pytest.mark.system("promtool")
@pytest.mark.parametrize(
    "command",
    [
        ("check", "rules", "rules.yaml"),
        ("test", "rules", "rules.test.yaml"),
        ("check", "config", "--syntax-only", "../compose/prometheus.yml"),
    ],
)
def test_rules_are_sound(command: tuple[str, ...]) -> None:
    """By Prometheus's own tool: their form, and what they say of made-up series."""
    run = subprocess.run(["promtool", *command], cwd=FOLDER, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_alert_says_what_to_do() -> None:
    """A summary and a description, and a severity."""
    text = (FOLDER / "rules.yaml").read_text()
    alerts = text.count("- alert:")
    assert alerts == text.count("summary:") == text.count("description:") == text.count("severity:")
    tests = (FOLDER / "rules.test.yaml").read_text()
    names = {line.split("alert: ")[1] for line in text.splitlines() if "- alert: " in line}
    assert {name for name in names if f"alertname: {name}" not in tests} <= {"ExtAuthzManyDenials", "ExtAuthzSlow"}


def test_alerts_of_the_token_service_lead_to_the_docs() -> None:
    """To a page that there is."""
    _, _, group = (FOLDER / "rules.yaml").read_text().partition("name: extauthz-token-alerts")
    alerts = group.split("- alert: ")[1:]
    assert len(alerts) == 19
    for alert in alerts:
        pages = re.findall(r"docs/[a-z-]+\.md", alert)
        assert pages, alert
        assert all((PROJECT / page).is_file() for page in pages), alert


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    """Panels do not overlap, and each says what it is for."""
    made = json.loads(dashboard())
    places: set[tuple[int, int]] = set()
    for panel in made["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & places, panel["title"]
        places |= cells
        assert panel["type"] == "row" or panel["description"]
    assert len({panel["id"] for panel in made["panels"]}) == len(made["panels"])
    assert Path(FOLDER / "dashboard.json").read_text() == dashboard()
