"""``extauthz explain`` as somebody uses it who wants to know why."""

import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from extauthz.config import load_config
from tests.conftest import CAPTURES
from tests.identity.issuer import RSA_KEY, jwk, jwks, mint

Command = Callable[..., Any]

CONFIG = """
providers:
- name: corporate
  jwt: {issuer: "https://login.example.com/", audiences: [orders], jwksFile: jwks.json}
  roles: {claims: [roles], map: {"/platform/admins": admin}, mayGrant: [admin, user, guest]}
- name: mesh
  mesh: {trustDomains: [cluster.local]}
  roles: {map: {"spiffe://cluster.local/ns/shop/sa/cart": workload}, mayGrant: [workload]}
"""
POLICY = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: orders}
spec:
  targets: [{hosts: [orders.example.com]}]
  authentication: {providers: [corporate, mesh], optional: true}
  rules:
  - name: read-orders
    role: user
    to: [{methods: [GET], paths: ["/orders", "/orders/{id}"]}]
    when: 'claims.tenant == request.headers["x-tenant"]'
  - {name: write-orders, role: admin, to: [{methods: [POST], paths: ["/orders"]}]}
  - {name: carts, role: workload, to: [{paths: ["/carts"]}]}
  - {name: by-context, role: anonymous, when: 'context.app == "public"'}
"""
URL = "https://orders.example.com/orders"


@pytest.fixture
def here(run: Command) -> Command:
    """The command, in a folder with a configuration, keys and a policy."""
    Path("extauthz.yaml").write_text(CONFIG, "utf-8")
    Path("jwks.json").write_text(json.dumps(jwks(jwk(RSA_KEY, "k1"))), "utf-8")
    Path("policies").mkdir()
    Path("policies/orders.yaml").write_text(POLICY, "utf-8")
    return lambda *argv: run("explain", *argv)


def token(**claims: Any) -> str:
    now = time.time()
    return mint({"exp": now + 300, "iat": now - 10, "tenant": "a", **claims})


def first(result: Any) -> str:
    line: str = result.out.splitlines()[0]
    return line


def test_allowed(here: Command) -> None:
    """Exit code 0, and the answer first."""
    result = here("GET", URL, "-H", "x-tenant: a", "-H", f"Authorization: Bearer {token()}")
    assert (result.code, result.err) == (0, "")
    assert first(result) == "ALLOWED  allowed: a rule allows the request"


def test_denied(here: Command) -> None:
    """Exit code 1."""
    result = here(URL, "-H", "x-tenant: b", "-H", f"Authorization: Bearer {token()}")
    assert (result.code, result.err) == (1, "")
    assert first(result).startswith("DENIED 403  no-rule:")
    assert 'claims.tenant = "a"' in result.out


def test_bad_credentials(here: Command) -> None:
    """Judged by the keys of the configuration, up to the check that they fail."""
    expired = token(exp=time.time() - 500, iat=time.time() - 900)
    result = here(URL, "-H", f"Authorization: Bearer {expired}")
    assert result.code == 1
    assert first(result).startswith("DENIED 401  token-expired:")
    assert expired not in result.out


@pytest.mark.parametrize(
    ("flags", "code", "told"),
    [
        (["--role", "admin"], 0, "somebody of corporate, roles: admin"),
        (["--role", "guest", "--role", "user", "--subject", "alice"], 1, "alice of corporate, roles: guest, user"),
        (["--claims", '{"sub": "alice", "roles": ["/platform/admins"]}'], 0, "alice of corporate, roles: admin"),
        (["--subject", "bob", "--claims", '{"roles": ["root"]}'], 1, "bob of corporate, roles: none"),
        (["--anonymous"], 1, "there are no credentials"),
        (["--role", "admin", "--provider", "mesh"], 0, "for the policies that name this provider"),
    ],
)
def test_a_caller_who_is_named(here: Command, flags: list[str], code: int, told: str) -> None:
    """Instead of a credential; claims go through the provider's own rules for roles."""
    result = here("POST", URL, *flags)
    assert result.code == code, result.out
    assert told in result.out


def test_a_workload_is_known_by_its_principal(here: Command) -> None:
    """Which is no secret, and judged by the mesh provider of the configuration."""
    principal = "spiffe://cluster.local/ns/shop/sa/cart"
    assert here("GET", "https://orders.example.com/carts", "--principal", principal).code == 0
    assert here("GET", "https://orders.example.com/carts", "--principal", f"{principal}-b").code == 1


def test_what_the_route_says(here: Command) -> None:
    """context_extensions as flags."""
    assert here(URL, "--anonymous", "--context", "app=public").code == 0
    assert here(URL, "--anonymous", "--context", "app=private").code == 1


def test_a_curl_line(here: Command) -> None:
    """As it was typed or copied."""
    line = f"curl -sS -H 'x-tenant: a' -H 'Authorization: Bearer {token()}' {URL}"
    assert here("--curl", line).code == 0


@pytest.mark.parametrize("ending", ["binpb", "json"])
def test_a_check_request(here: Command, ending: str) -> None:
    """Both forms of a recorded one."""
    shutil.copy(CAPTURES / f"h1_get_basic.{ending}", "check")
    result = here("--check", "check")
    assert result.code == 1
    assert first(result).startswith("DENIED 403  no-policy:")
    assert "GET http://example.com/a/b?x=1&y=%2Fq&y=2" in result.out


RECORD: dict[str, Any] = {
    "id": "d-1",
    "decision": "deny",
    "reason": "role-missing",
    "method": "POST",
    "host": "orders.example.com",
}
RECORD |= {"path": "/orders", "provider": "corporate", "subject": "alice", "roles": ["admin"]}


@pytest.mark.parametrize("file", ["decisions.log", "decisions.log.gz"])
def test_a_recorded_decision(here: Command, file: str) -> None:
    """By its id, with the caller who was proven then; that policies have changed since is told."""
    text = json.dumps(RECORD) + "\n"
    with gzip.open(file, "wt") if file.endswith("gz") else Path(file).open("w") as stream:
        stream.write(text)
    result = here("--log", file, "--id", "d-1")
    assert result.code == 0
    assert "the record says otherwise: deny, role-missing" in result.out
    assert "the record has no capture" in result.out


def test_json(here: Command) -> None:
    """For programs, in the published form."""
    result = here("POST", URL, "--role", "admin", "--output", "json")
    value = json.loads(result.out)
    assert (result.code, value["decision"], value["rule"]) == (0, "allow", "write-orders")


def test_other_policies(here: Command) -> None:
    """Those that are not in force yet."""
    Path("new.yaml").write_text(POLICY.replace("role: admin", "role: root"), "utf-8")
    assert here("POST", URL, "--role", "admin", "--policies", "new.yaml").code == 1


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        ([], "say which request"),
        (["GET", URL, "more"], "say which request"),
        ([URL, "--curl", f"curl {URL}"], "in one way"),
        (["--log", "x"], "with --id"),
        (["--check", "none"], "none can't be read"),
        (["--log", "none", "--id", "x"], "none can't be read"),
        (["--curl", "curl"], "no URL"),
        ([URL, "-H", "broken"], "no colon"),
        ([URL, "--claims", "[]"], "no JSON object"),
        ([URL, "--role", "anonymous"], "--anonymous"),
        ([URL, "--role", "user", "--anonymous"], "in one way"),
        ([URL, "--role", "user", "--provider", "corprate"], "configured are: corporate, mesh"),
        ([URL, "--context", "app"], "--context app=orders"),
        (["--curl", f"curl {URL}", "-H", "a: b"], "-H goes with METHOD URL"),
    ],
)
def test_wrong_use(here: Command, argv: list[str], told: str) -> None:
    """Exit code 2, what is wrong, and how to do it right."""
    result = here(*argv)
    assert (result.code, result.out) == (2, "")
    assert told in result.err


def test_a_file_that_is_no_check_request(here: Command) -> None:
    """It is told, and not explained as an odd request."""
    Path("check").write_bytes(b"\xff\xff")
    assert here("--check", "check").code == 2
    Path("check").write_text('{"a": 1}')
    assert here("--check", "check").code == 2


def test_broken_policies(here: Command) -> None:
    """With their places, as `validate` tells them."""
    Path("policies/orders.yaml").write_text(POLICY.replace("rules:", "ruls:"), "utf-8")
    result = here(URL)
    assert result.code == 2
    assert "policies/orders.yaml:8:3: unknown key 'spec.ruls'" in result.err


def test_keys_that_can_not_be_had(here: Command) -> None:
    """Are told with the provider's fault, and nobody waits for long."""
    Path("extauthz.yaml").write_text(
        CONFIG.replace("jwksFile: jwks.json", 'jwksUri: "https://127.0.0.1:9/jwks"'), "utf-8"
    )
    began = time.monotonic()
    result = here(URL, "-H", f"Authorization: Bearer {token()}")
    assert time.monotonic() - began < 10
    assert result.code == 1
    assert first(result).startswith("DENIED 503  keys-unavailable:")
    assert "the provider's keys are here" in result.out


def test_on_a_terminal(here: Command, tmp_path: Path) -> None:
    """In its width and with colours; elsewhere without either."""
    pty = pytest.importorskip("pty")
    master, slave = pty.openpty()
    try:
        command = [sys.executable, "-m", "extauthz", "explain", URL, "--anonymous"]
        environment = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "COLUMNS": "60", "LANG": "C.UTF-8"}
        environment["PYTHONPATH"] = str(CAPTURES.parents[1])
        run = subprocess.run(
            command, cwd=tmp_path, env=environment, stdout=slave, stderr=subprocess.PIPE, timeout=30, check=False
        )
        shown = os.read(master, 65_536).decode()
    finally:
        os.close(slave)
        os.close(master)
    assert (run.returncode, run.stderr) == (1, b"")
    assert "\x1b[1;31mDENIED 401\x1b[0m" in shown
    plain = here(URL, "--anonymous").out
    assert "\x1b" not in plain
    assert all(not line.endswith(" ") for line in plain.splitlines())


def test_the_configuration_of_these_tests_is_valid(here: Command) -> None:
    """Otherwise they would show nothing."""
    assert [provider.name for provider in load_config("extauthz.yaml", {}).providers] == ["corporate", "mesh"]


@pytest.mark.parametrize("capture", sorted(CAPTURES.glob("*.binpb")), ids=lambda path: path.stem)
def test_whatever_envoy_sends_is_explained(here: Command, capture: Path) -> None:
    """HTTP, gRPC, websockets, CONNECT, TCP: an answer and no fault; its credentials stay out of sight."""
    result = here("--check", str(capture), "--all")
    assert (result.code, result.err) == (1, "")
    assert result.out.startswith("DENIED")
    assert "Bearer tok" not in result.out


def test_flags_may_come_first(here: Command) -> None:
    """A flag takes one value, and leaves the request alone."""
    assert here("-H", "x-tenant: a", "--role", "admin", "POST", URL).code == 0


def test_a_method_alone_is_no_url(here: Command) -> None:
    """The URL was forgotten; nobody means a host of that name."""
    result = here("GET")
    assert result.code == 2
    assert result.err.startswith("extauthz: say which request: ")


def test_an_address_that_is_none_is_refused(here: Command) -> None:
    """It would quietly match no block."""
    result = here("GET", URL, "--source", "zzz")
    assert (result.code, result.err) == (2, "extauthz: --source 'zzz' is no IP address: write --source 192.0.2.1\n")


def test_claims_that_are_nested_too_deeply_are_refused(here: Command) -> None:
    """Python's reader gives up at some thousand levels."""
    result = here("GET", URL, "--claims", '{"a":' + "[" * 50_000)
    assert result.code == 2
    assert "--claims is no JSON object" in result.err


def test_a_hostile_line_of_a_log_is_passed_over(here: Command) -> None:
    """Another record may be what is looked for."""
    Path("deep.log").write_text('{"id": "x1", "a":' + "[" * 50_000 + "\n", "utf-8")
    result = here("--log", "deep.log", "--id", "x1")
    assert result.code == 2
    assert "the log has no decision with the id 'x1'" in result.err


def test_a_damaged_archive_is_told(here: Command) -> None:
    """Its header is right, what is in it is not."""
    packed = bytearray(gzip.compress(b'{"id": "x1"}\n' * 9999))
    packed[20:60] = b"z" * 40
    Path("bad.log.gz").write_bytes(packed)
    result = here("--log", "bad.log.gz", "--id", "x1")
    assert result.code == 2
    assert result.err.startswith("extauthz: bad.log.gz can't be read: ")


@pytest.mark.parametrize("words", [("--check", "-"), ("--log", "-", "--id", "x1")])
def test_standard_input_can_be_named(here: Command, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    """By -, which is no option; bytes that are no text are no crash."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe\n"), encoding="utf-8"))
    result = here(*words)
    assert result.code == 2
    assert "can't be used" in result.err or "has no decision" in result.err
