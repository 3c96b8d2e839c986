"""Credentials of every kind go through a whole server that tells all it can, and are looked for in all that it told (I6, X1)."""

import asyncio
import base64
import contextlib
import io
import json
import os
import secrets
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import jsonschema
import jwt
import pytest

from extauthz.cli import main
from extauthz.model import AttributeContext, HttpAttributes, Peer
from extauthz.serving import CHECK_METHOD
from extauthz.wire import encode_check, read_answer
from mesh.address import free_addresses
from mesh.collector import Collector, Span
from mesh.processes import Process, answers
from mesh.proxy import PROJECT
from tests.canaries import secret
from tests.identity.endpoint import INACTIVE, Endpoint, answer, http, serving

pytestmark = pytest.mark.timeout(60)

CONFIG = """
listen: {{check: {{address: "{check}"}}, admin: {{address: "{admin}"}}}}
check: {{deadline: 5s, drainDelay: 0s}}
providers:
- name: corporate
  jwt: {{issuer: "https://login.example.com/", audiences: [orders], secretFile: secret, algorithms: [HS256]}}
  from: {{headers: [{{name: authorization, prefix: "Bearer "}}], cookies: [session], query: [access_token]}}
  roles: {{mayGrant: [user]}}
- name: opaque
  introspection:
    endpoint: {endpoint}
    issuer: https://opaque.example.com/
    audiences: [orders]
    clientId: me
    clientSecretFile: client-secret
    timeout: 5s
  from: {{headers: [{{name: x-opaque}}]}}
  roles: {{mayGrant: [user]}}
  fetch: {{allowPrivateAddresses: true, allowHttp: true}}
- name: keys
  apiKeys: {{file: keys.yaml}}
  roles: {{mayGrant: [user]}}
policies: {{files: [policy.yaml]}}
telemetry:
  traces: {{exporter: otlp, denials: 1}}
  decisions: {{sink: ./decisions.jsonl, capture: {capture}}}
  logs: {{level: debug}}
"""
POLICY = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: orders}
spec:
  rules: [{name: users, role: user, to: [{methods: [GET]}]}]
"""


@dataclass
class Canaries:
    """Credentials, none of which may be seen again."""

    sung: set[str] = field(default_factory=set)

    def new(self) -> str:
        """One more secret."""
        made = f"c4n4ry{secrets.token_hex(12)}"
        self.sung.add(made)
        return made

    def token(self, key: bytes, **claims: Any) -> str:
        """A JWT, whose payload and signature are secrets."""
        known = {"iss": "https://login.example.com/", "aud": "orders", "sub": "alice", "roles": ["user"]}
        made = jwt.encode(known | {"exp": int(time.time()) + 600, "jti": secrets.token_hex(8)} | claims, key)
        self.sung |= set(made.split(".")[1:])
        return made

    def found_in(self, text: str) -> set[str]:
        """Those that are seen in a text, also in base64 or only in part."""
        parts = {canary: {canary, canary[:20], base64.b64encode(canary.encode()).decode()[:20]} for canary in self.sung}
        return {canary for canary, seen in parts.items() if any(part in text for part in seen)}


def requests(canaries: Canaries, key: bytes, api_key: str, opaque: Mapping[str, str]) -> list[tuple[str, Any]]:
    """Path and headers of requests with every kind of credential, good, bad and doubtful."""
    good, other = canaries.token(key), canaries.token(key)
    wrong = canaries.token(os.urandom(40))
    late = canaries.token(key, exp=1_000_000_000)
    unsigned = jwt.encode({"sub": canaries.new()}, "", algorithm="none")
    basic = base64.b64encode(f"alice:{canaries.new()}".encode()).decode()
    canaries.sung.add(basic)
    headers: list[dict[str, str]] = [
        {},
        *({"authorization": f"Bearer {token}"} for token in (good, wrong, late, unsigned, canaries.new(), good[:-9])),
        {"authorization": f"bearer  {other}"},
        {"authorization": f"DPoP {canaries.new()}"},
        {"authorization": f"Basic {basic}"},
        {"authorization": f"Bearer {good}", "x-opaque": opaque["good"]},
        *({"x-opaque": token} for token in opaque.values()),
        *({"x-api-key": text} for text in (api_key, api_key[:-1] + "x", canaries.new())),
        {"cookie": f"session={other}; theme=dark; other={canaries.new()}"},
        {"cookie": f"session={canaries.new()}"},
        {"proxy-authorization": f"Basic {canaries.new()}", "x-forwarded-access-token": canaries.new()},
    ]
    return [
        *(("/orders", sent) for sent in headers),
        (f"/orders?access_token={other}", {}),
        (f"/orders?access_token={canaries.new()}&x=1", {}),
        (f"/orders;jsessionid={canaries.new()}", {"authorization": f"Bearer {good}"}),
        (f"/reset/{good}", {"authorization": f"Bearer {good}"}),
        (f"/a/../b?password={canaries.new()}", {}),
        ("/orders\x00", {"authorization": f"Bearer {good}"}),
    ]


@dataclass
class Run:
    """A running server, and where it tells what."""

    check: str
    admin: str
    folder: Path
    collector: Collector
    canaries: Canaries
    sent: list[tuple[str, Any]]

    def get(self, path: str, accept: str = "*/*") -> str:
        """What the admin listener answers."""
        asked = urllib.request.Request(f"http://{self.admin}{path}", headers={"accept": accept})
        with urllib.request.urlopen(asked, timeout=5) as answered:
            return str(answered.read().decode())

    async def ask(self) -> list[bytes]:
        """Each request as GET and as POST, which no rule allows; the answers."""
        found: list[bytes] = []
        async with grpc.aio.insecure_channel(self.check) as channel:
            call: Any = channel.unary_unary(CHECK_METHOD)
            for number, (path, headers) in enumerate(self.sent):
                told = {name: (value,) for name, value in headers.items()}
                for method in ("GET", "POST"):
                    http = HttpAttributes("1", method, path, "orders.example.com", "https", "HTTP/2", told)
                    sent = AttributeContext(Peer("192.0.2.1", 1), Peer("192.0.2.2", 443), time.time(), http)
                    metadata = (
                        ("traceparent", f"00-{number + 1:032x}-611ec7590ab59ae3-{'01' if method == 'GET' else '00'}"),
                        ("baggage", f"token={next(iter(self.canaries.sung))}"),
                    )
                    found.append(await call(encode_check(sent), timeout=10, metadata=metadata))
            found.append(await call(b"\xff" + self.sent[1][1]["authorization"].encode(), timeout=10))
        return found

    def top(self, *options: str) -> str:
        """What a person sees."""
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            main(["top", "--admin", self.admin, "--once", "--interval", "0.3", *options])
        return text.getvalue()


@pytest.fixture(params=[False, True], ids=["records", "captures"])
async def run(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Run]:
    """A server at the level debug, with all that it can tell switched on."""
    check, admin, where = free_addresses(0, 0, 0)
    canaries, key = Canaries(), secrets.token_hex(24)
    canaries.sung.add(key)
    opaque = {"good": canaries.new(), "inactive": canaries.new(), "broken": canaries.new()}
    async with serving(Endpoint()) as endpoint:
        known = {"iss": "https://opaque.example.com/", "exp": int(time.time()) + 600, "token_type": "Bearer"}
        endpoint.answers[opaque["good"]] = answer(**known, client_secret=canaries.new())
        endpoint.answers[opaque["inactive"]] = INACTIVE
        endpoint.answers[opaque["broken"]] = http(500, f"secret={canaries.new()}".encode())
        capture = str(request.param).lower()
        written = CONFIG.format(check=check, admin=admin, endpoint=endpoint.url, capture=capture)
        (tmp_path / "extauthz.yaml").write_text(written)
        (tmp_path / "policy.yaml").write_text(POLICY)
        (tmp_path / "secret").write_text(key)
        (tmp_path / "client-secret").write_text(canaries.new())
        made = io.StringIO()
        keys = str(tmp_path / "keys.yaml")
        with contextlib.redirect_stdout(made):
            main(["keys", "api", "create", "--file", keys, "--subject", "billing", "--roles", "user"])
        api_key = made.getvalue().strip()
        canaries.sung.add(api_key.rpartition("_")[2])
        sent = requests(canaries, key.encode(), api_key, opaque)
        with Collector(where) as collector:
            server = Process(
                "extauthz",
                [sys.executable, "-m", "extauthz", "serve"],
                log=tmp_path / "serve.log",
                ready=[answers(f"http://{admin}/readyz")],
                environment={"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{where}", "OTEL_BSP_SCHEDULE_DELAY": "50"},
                directory=tmp_path,
            )
            await asyncio.to_thread(server.start)
            try:
                await asyncio.to_thread(server.wait_ready)
                yield Run(check, admin, tmp_path, collector, canaries, sent)
                for sung in canaries.sung:
                    secret(sung, "a canary")
            finally:
                await asyncio.to_thread(server.stop)


async def test_no_credential_is_told_to_anybody(run: Run) -> None:
    """In logs, records, captures, spans, metrics, readiness, activity, ``top`` or answers; and the traces tell of waits."""
    await asyncio.to_thread(run.top)
    found = await run.ask()
    openmetrics = "application/openmetrics-text; version=1.0.0"
    told = {
        "answers": "".join(map(repr, found)),
        "metrics": await asyncio.to_thread(run.get, "/metrics"),
        "openmetrics": await asyncio.to_thread(run.get, "/metrics", openmetrics),
        "readyz": await asyncio.to_thread(run.get, "/readyz?verbose"),
        "activity": await asyncio.to_thread(run.get, "/activity"),
        "top": await asyncio.to_thread(run.top),
        "top in JSON": await asyncio.to_thread(run.top, "--output", "json"),
    }
    every = 2 * len(run.sent) + 1
    spans = await asyncio.to_thread(_spans, run.collector, every)
    decisions = run.folder / "decisions.jsonl"
    async with asyncio.timeout(20):
        while decisions.read_bytes().count(b"\n") < every:  # noqa: ASYNC110 - it is written four times a second
            await asyncio.sleep(0.05)
    told |= {
        "spans": repr(spans),
        "log": (run.folder / "serve.log").read_text(),
        "records": decisions.read_text(),
    }
    for name, text in told.items():
        assert text, name
        assert run.canaries.found_in(text) == set(), name
        assert "eyJ" not in text, name
        assert "\x00" not in text, name
    records = [json.loads(line) for line in told["records"].splitlines()]
    assert len(records) == every
    allowed = [record for record in records if record["decision"] == "allow"]
    assert {record["provider"] for record in allowed} == {"corporate", "opaque", "keys"}
    assert {read_answer(answered).allowed for answered in found} == {True, False}
    assert len({record["reason"] for record in records}) >= 8
    assert 'trace_id="' in told["openmetrics"]
    assert json.loads(told["top in JSON"])["denials"]
    assert len(run.canaries.found_in(repr(run.sent))) > 20  # they would have been seen
    _waits_are_traced(run, records)
    schema = json.loads((PROJECT / "extauthz" / "telemetry" / "decision.schema.json").read_text())
    for record in records:
        jsonschema.validate(record, schema)


def _waits_are_traced(run: Run, records: list[Any]) -> None:
    """An introspection has a span below that of its Check, and the record says the same; what needed no waiting has none."""
    waited = [record for record in records if "waited_for" in record]
    assert {tuple(record["waited_for"]) for record in waited} == {("introspection",)}
    assert {record["provider"] for record in waited} == {"opaque"}
    for record in waited:
        assert record["phases_ms"]["identity"] > 0
        [below] = [span for span in run.collector.spans(record["trace_id"]) if span.parent_id == record["span_id"]]
        assert below.name == "wait for introspection"
        assert below.attributes == {"extauthz.waited_for": "introspection", "extauthz.provider": "opaque"}
    assert len([span for span in run.collector.spans() if span.name.startswith("wait")]) == len(waited)


def _spans(collector: Collector, count: int) -> list[Span]:
    """Those of so many Checks: the sampled ones, and all denials."""

    def complete(spans: list[Span]) -> bool:
        return len([span for span in spans if span.name.endswith("Check")]) == count

    found = collector.wait_for("", complete, 10)
    assert complete(found)
    return found
