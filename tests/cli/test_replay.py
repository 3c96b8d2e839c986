"""``extauthz replay``: a log before other policies, from the file to the exit code."""

import gzip
import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest

from extauthz.app.engine import engine
from extauthz.app.providers import credential_places
from extauthz.capture import CaptureWriter
from extauthz.config import load_config
from extauthz.model import AttributeContext, Deny, HttpAttributes, Identity, Peer, Reason, VerifiedClaims
from extauthz.telemetry.record import decision_line
from extauthz.telemetry.redaction import is_sensitive, mask
from extauthz.workbench.given import Given
from tests.conftest import PROJECT
from tests.journey import check_request

Command = Callable[..., Any]

SECRET = "0123456789abcdef0123456789abcdef"
CONFIGURATION = """
providers:
- name: corporate
  jwt: {issuer: "https://login.example.com/", audiences: [orders], secretFile: secret}
policies: {files: [old/]}
"""
PARTNER = """\
- name: partner
  jwt: {issuer: "https://partner.example.com/", audiences: [orders], secretFile: secret}
  roles: {mayGrant: [user]}
"""
POLICY = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: orders}
spec:
  rules:
  - {name: read, role: user, to: [{methods: [GET], paths: ["/orders/**"]}]}
"""
NARROW = POLICY.replace("/orders/**", "/orders/{id}")
WIDE = POLICY.replace("[GET]", "[GET, POST]")


@pytest.fixture(autouse=True)
def _folder(run: Command) -> None:
    """A configuration with policies in force, and others beside them. After ``run``, which changes the folder."""
    Path("extauthz.yaml").write_text(CONFIGURATION)
    Path("secret").write_text(SECRET)
    for folder, text in (("old", POLICY), ("narrow", NARROW), ("wide", WIDE)):
        Path(folder).mkdir()
        Path(folder, "orders.yaml").write_text(text)


def line(number: int, path: str = "/orders/1", method: str = "GET", *, caller: Any = None, **changes: Any) -> bytes:
    """A record of the policies in force."""
    config = load_config(None, {})
    headers = {"authorization": ("Bearer x",), "user-agent": ("curl/8",)}
    http = HttpAttributes("1", method, path, "orders.example.com", "https", "HTTP/2", headers)
    sent = AttributeContext(Peer("10.1.2.3", 40000), Peer("10.1.2.4", 8443), 1_700_000_000.0, http)
    who = caller or Identity("alice", "i", "corporate", frozenset({"user"}), (), VerifiedClaims({"tenant": "acme"}))
    decision = engine(config).decide(sent, Given(who))
    captures = CaptureWriter(credential_places(config), mask=mask, sensitive=is_sensitive)
    written = decision_line(decision, sent, now=1_700_000_000, seconds=0, trace=None, captures=captures)
    return json.dumps(json.loads(written) | {"id": f"d-{number}"} | changes).encode() + b"\n"


def log(*lines: bytes, name: str = "decisions.log") -> str:
    Path(name).write_bytes(b"".join(lines))
    return name


def test_what_would_be_denied(run: Command) -> None:
    """Exit code 1, and a person sees which rule, which route and which decisions."""
    file = log(line(1), line(2, "/orders/1/items/2"), line(3, "/orders/7/items/9?x=1"), line(4, "/other"))
    result = run("replay", file, "--policies", "narrow")
    assert (result.code, result.err) == (1, "")
    assert result.out.splitlines() == [
        "2 would be denied, and were allowed",
        "  allowed by orders/read -> no-rule at orders: 2",
        "    2 GET orders.example.com /orders/{id}/items/{id}, such as d-2 d-3",
        "",
        "4 compared, 2 changed, 2 unchanged",
    ]


def test_nothing_changes(run: Command) -> None:
    """Exit code 0; without --policies the policies in force are asked."""
    result = run("replay", log(line(1)))
    assert (result.code, result.out) == (0, "1 compared, 0 changed, 1 unchanged\n")


@pytest.mark.parametrize(
    ("policies", "fail_on", "code"),
    [
        ("narrow", "denied", 1),
        ("narrow", "allowed", 0),
        ("narrow", "any", 1),
        ("narrow", "never", 0),
        ("wide", "denied", 0),
        ("wide", "allowed", 1),
        ("wide", "any", 1),
        ("old", "any", 0),
    ],
)
def test_fail_on(policies: str, fail_on: str, code: int, run: Command) -> None:
    """A pipeline says which direction is a mistake."""
    file = log(line(1), line(2, "/orders/1/items/2"), line(3, method="POST"))
    assert run("replay", file, "--policies", policies, "--fail-on", fail_on).code == code


def test_json(run: Command) -> None:
    """A program gets everything, and whether the exit code is 0."""
    result = run("replay", log(line(1, "/orders/1/2/3"), b"{\n"), "--policies", "narrow", "--output", "json")
    told = json.loads(result.out)
    assert result.code == 1
    assert {name: told[name] for name in ("ok", "records", "compared", "unchanged", "denied", "allowed", "other")} == {
        "ok": False,
        "records": 2,
        "compared": 1,
        "unchanged": 0,
        "denied": 1,
        "allowed": 0,
        "other": 0,
    }
    assert told["skipped"]["malformed"] == 1
    assert told["changes"] == [
        {
            "kind": "denied",
            "from": {"decision": "allow", "reason": "allowed", "policy": "orders", "rule": "read"},
            "to": {"decision": "deny", "reason": "no-rule", "policy": "orders"},
            "count": 1,
            "approximate": 0,
            "routes": [
                {
                    "method": "GET",
                    "host": "orders.example.com",
                    "path": "/orders/{id}/{id}/{id}",
                    "count": 1,
                    "examples": ["d-1"],
                }
            ],
        }
    ]


def test_several_logs_gzipped_and_standard_input(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rotated logs are read as they are; - is what a pipe brings."""
    Path("one.log.gz").write_bytes(gzip.compress(line(1) + line(2)))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(line(4))))
    result = run("replay", "one.log.gz", log(line(3)), "-")
    assert result.out == "4 compared, 0 changed, 4 unchanged\n"


def test_gzipped_standard_input(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe may bring compressed data too."""
    data = io.BufferedReader(io.BytesIO(gzip.compress(line(1))))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(data))
    assert run("replay", "-").out == "1 compared, 0 changed, 1 unchanged\n"


def test_lines_that_are_no_records_are_told(run: Command) -> None:
    """A line that was cut off, one that is endless, one of another program: counted, the first one named."""
    file = log(line(1), b"starting\n", b"x" * 3_000_000 + b"\n", line(2), line(3)[:-50])
    result = run("replay", file)
    assert result.code == 0
    assert result.out.splitlines() == [
        "2 compared, 0 changed, 2 unchanged",
        "3 left out: no decision records, the first at decisions.log:2",
    ]


def test_what_has_to_be_known_is_told(run: Command) -> None:
    """Figures that are not certain, and what was left out, stand below the figures."""
    ask = POLICY.replace("- {name", "- {when: 'claims.tenant == \"acme\"', name")
    Path("wide/orders.yaml").write_text(ask)
    plain = json.loads(line(1))
    del plain["capture"]
    refused = {"decision": "deny", "reason": "path-ambiguous", "status": 400}
    over = {"decision": "deny", "reason": "rate-limited", "status": 429}
    records = [plain, plain | refused, json.loads(line(2)) | over]
    result = run("replay", log(*(json.dumps(record).encode() + b"\n" for record in records)), "--policies", "wide")
    assert result.out.splitlines()[-3:] == [
        "1 approximate, as the policies ask for what their records do not have: claims (1)",
        "1 over their rate, compared as if they were within it",
        "1 left out: refused for their form, which no policy decides",
    ]


def test_shadow_policies_are_told(run: Command) -> None:
    """What the new policies have in shadow mode is counted beside their answers."""
    shadow = POLICY.replace("name: orders", "name: soon").replace("spec:", "spec:\n  mode: Shadow")
    Path("wide/soon.yaml").write_text(shadow.replace("role: user", "role: admin"))
    result = run("replay", log(line(1)), "--policies", "wide")
    assert result.out.splitlines()[:2] == [
        "In shadow mode, beside these answers",
        "  soon would allow 0 and deny 1; 1 differ, such as d-1",
    ]


def test_a_log_can_not_drive_the_terminal(run: Command) -> None:
    """Ids, hosts and paths come from a file: control characters in them are spelled out."""
    evil = "\x1b[2J\r\n\u202e"
    result = run(
        "replay",
        log(line(1, "/orders/1/x", id=evil, policy=evil, rule=evil)),
        "--policies",
        "narrow",
        "--fail-on",
        "any",
    )
    assert result.code == 1
    assert not {"\x1b", "\r", "\u202e"} & set(result.out)
    assert "\\x1b[2J" in result.out


def test_folder_of_check_requests(run: Command) -> None:
    """CheckRequests are judged by both sets; who asks is what their token proves to the configured provider."""
    claims = {"iss": "https://login.example.com/", "aud": "orders", "sub": "alice", "exp": time.time() + 600}
    token = jwt.encode(claims | {"roles": ["user"]}, SECRET, "HS256")
    Path("checks").mkdir()
    for name, path in (("a", "/orders/1"), ("b", "/orders/1/items/2")):
        message = check_request(path=path, headers={"authorization": f"Bearer {token}"})
        Path("checks", f"{name}.binpb").write_bytes(message)
    Path("checks/anonymous.binpb").write_bytes(check_request(path="/orders/1/items/2"))
    result = run("replay", "checks", "--policies", "narrow")
    assert result.code == 1
    assert result.out.splitlines()[:3] == [
        "1 would be denied, and were allowed",
        "  allowed by orders/read -> no-rule at orders: 1",
        "    1 GET orders.example.com /orders/{id}/items/{id}, such as b.binpb",
    ]


def test_caller_of_check_requests_can_be_told(run: Command) -> None:
    """With --role no credential is looked at: recorded tokens have expired long ago."""
    Path("one.binpb").write_bytes(check_request(path="/orders/1/items/2"))
    assert run("replay", "one.binpb", "--policies", "narrow").code == 0
    assert run("replay", "one.binpb", "--policies", "narrow", "--role", "user", "--subject", "alice").code == 1


def test_recorded_check_requests(run: Command) -> None:
    """What a real Envoy sent: each recording counts once, although it is there in two forms."""
    result = run("replay", str(PROJECT / "tests" / "captures"), "--policies", "wide", "--output", "json")
    assert json.loads(result.out)["compared"] == 25


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "name a decision log"),
        (("missing.log",), "missing.log can't be read: No such file or directory"),
        (("--polcies", "narrow"), "unknown option: --polcies"),
        (("decisions.log", "--fail-on", "sometimes"), "sometimes"),
        (("decisions.log", "--examples", "-1"), "--examples: a number from 0"),
        (("decisions.log", "--role", "user"), "have their own callers"),
        (("checks",), "name the policies to compare with"),
        (("empty", "--policies", "narrow"), "empty has no CheckRequests"),
        (("notes.txt",), "notes.txt:1: neither a decision record nor a CheckRequest"),
        (("nothing.log",), "there is nothing in it"),
        (("cut.gz",), "cut.gz is cut off"),
        (("broken.gz",), "broken.gz can't be read"),
        (("decisions.log", "--policies", "missing"), "missing"),
        (
            ("checks", "--policies", "narrow", "--role", "user", "--provider", "other"),
            "'other' is not a configured provider",
        ),
    ],
)
def test_wrong_use(arguments: tuple[str, ...], words: str, run: Command) -> None:
    """Exit code 2, what is wrong, and nothing on standard output."""
    log(line(1))
    for folder in ("checks", "empty"):
        Path(folder).mkdir()
    Path("checks/one.binpb").write_bytes(check_request())
    Path("notes.txt").write_text("milk, eggs\n")
    Path("nothing.log").write_text("\n")
    Path("cut.gz").write_bytes(gzip.compress(line(1) * 100)[:-20])
    Path("broken.gz").write_bytes(b"\x1f\x8bnonsense")
    result = run("replay", *arguments)
    assert (result.code, result.out) == (2, "")
    assert words in result.err


def test_tokens_of_refused_callers_are_no_secret(run: Command) -> None:
    """A 401 stays one."""
    expired = Deny(Reason.TOKEN_EXPIRED, "exp has passed", provider="corporate")
    assert run("replay", log(line(1, caller=expired)), "--policies", "wide").out.startswith("1 compared, 0 changed")


def test_every_place_of_a_provider_is_hidden_in_captures(run: Command) -> None:
    """Headers, cookies and query parameters that a configured provider reads are no part of a capture."""
    Path("more.yaml").write_text(
        """
        providers:
        - name: corporate
          jwt: {issuer: "https://login.example.com/", audiences: [orders], secretFile: secret}
          from: {headers: [{name: x-corp, prefix: ""}], cookies: [corp], query: [corp_key]}
          roles: {mayGrant: [user]}
        - name: partners
          apiKeys: {file: keys.yaml}
          roles: {mayGrant: [user]}
        """
    )
    places = credential_places(load_config("more.yaml", {}))
    assert places.headers == frozenset({"x-corp", "x-api-key"})
    assert (places.cookies, places.parameters) == (frozenset({"corp"}), frozenset({"corp_key"}))


def test_callers_whom_the_new_policies_do_not_ask_for_are_told(run: Command) -> None:
    """They count as nobody, which no rule of the new policies explains."""
    both = CONFIGURATION.replace("policies:", "  roles: {mayGrant: [user]}\n" + PARTNER + "policies:")
    Path("extauthz.yaml").write_text(both)
    Path("narrow/orders.yaml").write_text(POLICY.replace("rules:", "authentication: {providers: [partner]}\n  rules:"))
    file = log(line(1), line(2))
    result = run("replay", file, "--policies", "narrow")
    assert (
        "2 by callers of corporate, which the policies don't ask for: they count as nobody" in result.out.splitlines()
    )
    assert json.loads(run("replay", file, "--policies", "narrow", "--output", "json").out)["overlooked"] == {
        "corporate": 2
    }
    assert "count as nobody" not in run("replay", file).out


def test_a_named_caller_of_check_requests_whom_no_policy_asks_for_is_told(run: Command) -> None:
    """As one of a log is."""
    Path("extauthz.yaml").write_text(
        CONFIGURATION.replace("policies:", "  roles: {mayGrant: [user]}\n" + PARTNER + "policies:")
    )
    Path("narrow/orders.yaml").write_text(POLICY.replace("rules:", "authentication: {providers: [partner]}\n  rules:"))
    Path("one.binpb").write_bytes(check_request(path="/orders/1"))
    words = ("replay", "one.binpb", "--role", "user", "--provider", "corporate", "--policies")
    assert "1 by callers of corporate, which the policies don't ask for" in run(*words, "narrow").out
    assert "count as nobody" not in run(*words, "wide").out
