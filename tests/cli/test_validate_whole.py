"""``extauthz validate`` with nothing put in place of the server: what a start would stumble over."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

Command = Callable[..., Any]

CONFIGURATION = """
listen:
  check:
    address: 127.0.0.1:9000
    tls: {certFile: missing.crt, keyFile: missing.key}
providers:
- name: corporate
  jwt: {issuer: "https://login.example.com/", audiences: [orders], jwksFile: missing.json}
policies: {files: [policies/, more/]}
telemetry: {decisions: {sink: logs/decisions.jsonl}}
tokens:
  issuer: https://auth.example.com
  audit: {file: logs/audit.log, keyFile: audit.key}
  clients:
  - {id: shop, secretFile: missing.secret, audiences: [orders]}
"""

POLICY = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: orders}
spec:
  rules:
  - rol: user
    to: [{paths: ["/a/*/b"]}]
    when: clams.x == 1
"""


def test_everything_at_once(run: Command) -> None:
    """Certificates, keys, log folder, policy folder and policies: each problem has its line, and the exit code is 1."""
    Path("extauthz.yaml").write_text(CONFIGURATION)
    Path("policies").mkdir()
    Path("policies/orders.yaml").write_text(POLICY)
    result = run("validate")
    assert result.code == 1
    for words in (
        "\nlisten.check.tls.certFile: missing.crt can't be read",
        "missing.json",
        "telemetry.decisions.sink: logs/decisions.jsonl can't be written",
        "tokens.audit.file: logs/audit.log can't be written",
        "missing.secret: can't be read: No such file or directory (make one with: (umask 077; openssl rand -hex 32 > missing.secret))",
        "more: there is no such file or folder",
        "policies/orders.yaml:7:5: unknown key 'spec.rules[0].rol' (did you mean 'role'?)",
        "policies/orders.yaml:8:19: ",
        "unknown name 'clams.x' (did you mean 'claims'?)",
    ):
        assert words in f"\n{result.out}", result.out
    assert result.out.endswith("\n9 problems\n")


def test_the_folder_of_the_store(run: Command) -> None:
    """The server would start and answer nothing about tokens, so it is a problem before; the file itself is made at the start."""
    written = (
        'tokens: {issuer: "https://auth.example.com", audiences: [orders]}\nstore: {url: "sqlite:records/state.db"}\n'
    )
    Path("extauthz.yaml").write_text(written)
    result = run("validate")
    assert (result.code, "store.url: records/state.db can't be opened: its folder is missing" in result.out) == (
        1,
        True,
    )
    Path("records").mkdir()
    assert run("validate").code == 0
    assert not list(Path("records").iterdir())


def test_the_smallest_complete_set(run: Command) -> None:
    """Nothing is opened or written for it."""
    Path("policies").mkdir()
    Path("policies/orders.yaml").write_text(POLICY.partition("  - rol")[0] + "  - role: user\n")
    Path("extauthz.yaml").write_text(
        "providers: [{name: corporate, jwt: {issuer: 'https://login.example.com/', audiences: [orders]}}]\n"
        "telemetry: {decisions: {sink: ./decisions.jsonl}}\n"
    )
    assert run("validate").out == "fine: 1 policy, 1 rule, 1 provider\n"
    assert not Path("decisions.jsonl").exists()


TOKEN_SERVICE = """
tokens: {issuer: "https://auth.example.com", audiences: [orders]}
store: {url: "memory:"}
"""


def test_a_token_service_whose_tokens_its_own_checks_refuse(run: Command) -> None:
    """A warning; none once a provider has its issuer, or somebody says that it is meant so."""
    Path("policies").mkdir()
    Path("extauthz.yaml").write_text(TOKEN_SERVICE)
    result = run("validate", "--strict")
    assert result.code == 1
    assert "extauthz.yaml: warning[own-tokens-refused]: the token service issues tokens that" in result.out
    assert run("validate", "--strict", "--ignore", "own-tokens-refused").code == 0
    own = "providers: [{name: own, jwt: {issuer: 'https://auth.example.com', audiences: [orders]}}]\n"
    Path("extauthz.yaml").write_text(TOKEN_SERVICE + own)
    assert run("validate", "--strict").code == 0


def test_a_secret_that_others_may_read(run: Command) -> None:
    """A warning with its mode and what to do, once for each file; mounted Secrets are left alone."""
    Path("policies").mkdir()
    Path("volume/..2026").mkdir(parents=True)
    Path("volume/..2026/two").write_text("t" * 40)
    Path("volume/..2026/two").chmod(0o644)
    Path("volume/two").symlink_to("..2026/two")
    Path("one.secret").write_text("s" * 40)
    Path("one.secret").chmod(0o644)
    clients = (
        "[{id: one, secretFile: one.secret}, {id: two, secretFile: volume/two}, {id: three, secretFile: one.secret}]"
    )
    service = f"{{issuer: 'https://auth.example.com', audiences: [orders], clients: {clients}}}"
    own = "[{name: own, jwt: {issuer: 'https://auth.example.com', audiences: [orders]}}]"
    Path("extauthz.yaml").write_text(f"tokens: {service}\nproviders: {own}\nstore: {{url: 'memory:'}}\n")
    told = run("validate")
    who = "every user of this machine may read it (-rw-r--r--)"
    what = "it holds a secret: tokens.clients[0].secretFile (chmod 600 one.secret)"
    assert told.code == 0
    assert told.out.splitlines()[:-1] == [f"one.secret: warning[secret-readable]: {who}, and {what}"]
    Path("one.secret").chmod(0o600)
    assert run("validate", "--strict").code == 0
