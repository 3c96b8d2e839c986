"""``extauthz token mint``: a token of the service's own keys, which its providers take until it is revoked."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from extauthz.telemetry import audit_key

Command = Callable[..., Any]

CONFIGURATION = """
store: {url: "sqlite:state.db"}
tokens:
  issuer: http://127.0.0.1:8080
  audiences: [orders, billing]
  accessTokenLifetime: 2m
  audit: {file: audit.log, keyFile: audit.key}
providers:
- name: own
  jwt: {issuer: "http://127.0.0.1:8080", audiences: [orders]}
  roles: {claims: [roles]}
"""


@pytest.fixture
def service(run: Command) -> Command:
    """A folder with a token service that has a key."""
    Path("extauthz.yaml").write_text(CONFIGURATION)
    assert run("keys", "rotate").code == 0
    return run


def minted(service: Command, *more: str) -> str:
    result = service("token", "mint", "--subject", "on-call", "--role", "user", *more)
    assert result.code == 0, result.err
    Path("token").write_text(result.out)
    return str(result.out.strip())


def test_it_is_accepted_until_it_is_revoked(service: Command) -> None:
    """By the provider of the service's own tokens; the verdict says the word that a Check would say."""
    minted(service)
    verified = service("token", "verify", "token")
    assert (verified.code, verified.out) == (0, "accepted: it proves on-call to provider own; roles: user\n")
    assert service("token", "revoke", "token").code == 0
    verified = service("token", "verify", "token")
    assert verified.code == 1
    assert verified.out.startswith("token-revoked: ")
    assert "nothing is revoked that means it" in service("token", "inspect", "token").out


@pytest.mark.parametrize("how", [["--subject", "on-call"], ["--client", "mint"], ["--key"]])
def test_all_of_a_kind_are_revoked(service: Command, how: list[str]) -> None:
    """Of the subject, of all that were ever minted, of the key."""
    minted(service)
    if how == ["--key"]:
        how = [
            "--key",
            json.loads(service("token", "inspect", "token", "--output", "json").out)["header"]["kid"]["value"],
        ]
    assert service("token", "revoke", *how).code == 0
    assert service("token", "verify", "token").out.startswith("token-revoked: ")


@pytest.mark.parametrize("words", [["mint", "--subject", "a"], ["verify", "token"], ["client", "list"]])
def test_a_wrapped_secret_id_is_for_the_server(service: Command, words: list[str]) -> None:
    """It can be opened once: no command does."""
    minted(service)
    vault = "vault: {address: 'http://127.0.0.1:1', auth: {appRole: {roleId: a, secretIdFile: b, wrapped: true}}}\n"
    keys = "  keys: {transit: {}}\n  audiences:"
    store = 'store: {url: "redis://127.0.0.1:1", passwordFile: "vault:auth#password"}'
    configuration = CONFIGURATION.replace("  audiences:", keys, 1).replace('store: {url: "sqlite:state.db"}', store)
    Path("extauthz.yaml").write_text(vault + configuration)
    result = service("token", *words)
    assert result.code == 2
    assert "a wrapped secret id can be opened once, and a server needs it" in result.err


def test_it_is_in_the_audit_log(service: Command) -> None:
    """Who, for what, with which key, and the digest of it; not the token, and nothing of it on the other stream."""
    token = minted(service, "--scope", "orders:read", "--lifetime", "30s")
    line = json.loads(Path("audit.log").read_text().splitlines()[-1])
    assert (line["action"], line["subject"], line["client_id"]) == ("mint", "on-call", "mint")
    assert line["token"] == audit_key("audit.key", make=False).digest(token)
    assert re.match(r"roles user, for orders, by user \d+ of", line["detail"])
    assert token not in Path("audit.log").read_text()
    said = json.loads(service("token", "inspect", "token", "--output", "json").out)["claims"]
    assert said["exp"]["value"] - said["iat"]["value"] == 30
    assert said["scope"]["value"] == "orders:read"
    assert said["kid" if "kid" in said else "jti"]["value"] == line["jti"]


def test_json(service: Command) -> None:
    """Programs get one object."""
    told = json.loads(service("token", "mint", "--subject", "x", "--audience", "billing", "--output", "json").out)
    assert told["expires_in"] == 120
    assert told.keys() == {"token", "jti", "kid", "expires_in"}
    Path("token").write_text(told["token"])
    assert service("token", "verify", "token").out.startswith("audience-mismatch: ")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--lifetime", "3m"], "no token of this service lives longer than 120s"),
        (["--lifetime", "0s"], "longer than"),
        (["--lifetime", "long"], "90s"),
        (["--role", "anonymous"], "anonymous"),
    ],
)
def test_what_nobody_may_have(service: Command, more: list[str], told: str) -> None:
    """Exit code 2, no token, and no record of one."""
    result = service("token", "mint", "--subject", "x", *more)
    assert (result.code, result.out) == (2, "")
    assert told in result.err
    assert "mint" not in Path("audit.log").read_text()


def test_no_record_no_token(service: Command) -> None:
    """A log that can't be written: exit code 2, and nothing on standard output. Without a log, people are told."""
    Path("audit.log").unlink()
    Path("audit.log").mkdir()
    result = service("token", "mint", "--subject", "x")
    assert (result.code, result.out) == (2, "")
    assert "audit log" in result.err
    text = Path("extauthz.yaml").read_text()
    Path("extauthz.yaml").write_text(text.replace("  audit: {file: audit.log, keyFile: audit.key}\n", ""))
    result = service("token", "mint", "--subject", "x")
    assert result.code == 0
    assert "nobody will know of this token" in result.err


def test_without_a_key(run: Command) -> None:
    """A service that has never run has none."""
    Path("extauthz.yaml").write_text(CONFIGURATION)
    result = run("token", "mint", "--subject", "x")
    assert (result.code, result.out) == (2, "")
    assert "there is no signing key yet" in result.err


POLICY = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: orders}
spec:
  rules: [{name: read, role: user}]
"""


@pytest.fixture
def policies(service: Command) -> Command:
    """Policies beside the service, and as others to compare with."""
    for folder in ("policies", "new"):
        Path(folder).mkdir()
        Path(folder, "orders.yaml").write_text(POLICY)
    return service


def test_explain_judges_it_as_the_server_does(policies: Command) -> None:
    """By the service's own keys and revocations, without a server that would have to answer for them."""
    asked = ["explain", "https://orders.example.com/", "-H", f"authorization: Bearer {minted(policies)}", "--output"]
    told = policies(*asked, "json")
    assert (told.code, json.loads(told.out)["reason"]) == (0, "allowed")
    assert policies("token", "revoke", "token").code == 0
    told = policies(*asked, "json")
    assert (told.code, json.loads(told.out)["reason"]) == (1, "token-revoked")


def test_explain_says_that_no_provider_has_the_issuer(policies: Command) -> None:
    """Tokens of the service in the same process are believed by nobody until a provider names it: said, with its name."""
    asked = ["explain", "https://orders.example.com/", "-H", f"authorization: Bearer {minted(policies)}"]
    assert "note: " not in policies(*asked).out
    Path("extauthz.yaml").write_text(
        CONFIGURATION.replace('jwt: {issuer: "http://127.0.0.1:8080"', 'jwt: {issuer: "https://x.example"')
    )
    told = policies(*asked)
    assert (told.code, "issuer-unknown" in told.out) == (1, True)
    assert "no provider has its issuer, http://127.0.0.1:8080" in " ".join(told.out.split())


def test_replay_judges_it_as_the_server_does(policies: Command) -> None:
    """A recorded CheckRequest with a token of the service's own."""
    token = minted(policies)
    http = {"method": "GET", "host": "orders.example.com", "path": "/", "headers": {"authorization": f"Bearer {token}"}}
    Path("token-check.json").write_text(json.dumps({"attributes": {"request": {"http": http}}}))
    Path("new", "orders.yaml").write_text(POLICY.replace("role: user", "role: admin"))
    asked = ["replay", "token-check.json", "--policies", "new", "--output", "json"]
    assert json.loads(policies(*asked).out)["denied"] == 1
    assert policies("token", "revoke", "token").code == 0
    assert json.loads(policies(*asked).out)["denied"] == 0


def test_nothing_is_made_by_looking(policies: Command) -> None:
    """Where the service has not run yet: no key, no store, no log, and an answer that says what is missing."""
    token = minted(policies)
    for made in ("audit.log", "audit.key"):
        Path(made).unlink()
    Path("state.db").unlink()
    shutil.rmtree("signing-keys")
    before = sorted(Path().iterdir())
    told = policies(
        "explain", "https://orders.example.com/", "-H", f"authorization: Bearer {token}", "--output", "json"
    )
    assert (told.code, json.loads(told.out)["reason"]) == (1, "keys-unavailable")
    assert policies("token", "verify", "token").out.startswith("keys-unavailable")
    assert policies("keys", "list").code == 0
    assert policies("token", "client", "list").err == (
        "there is no client: state.db is not there yet: extauthz serve makes it when it starts\n"
    )
    assert sorted(Path().iterdir()) == before


def test_nothing_is_changed_by_looking(policies: Command) -> None:
    """Where a server has run: every file is as it was, whatever is asked."""
    token = minted(policies)
    assert policies("token", "client", "add", "billing", "--audience", "orders").code == 0
    before = contents()
    assert "state.db" in {name.name for name in before}
    asked = (
        ("explain", "https://orders.example.com/", "-H", f"authorization: Bearer {token}"),
        ("token", "verify", "token"),
        ("token", "inspect", "token"),
        ("token", "client", "list"),
        ("keys", "list"),
        ("audit", "show", "audit.log", "--token", "token"),
        ("audit", "verify", "audit.log"),
        ("validate",),
    )
    for words in asked:
        assert policies(*words).code == 0, words
        assert contents() == before, words


def contents() -> dict[Path, tuple[int, bytes]]:
    """Each file, when it was changed and what it holds; each folder, when something was put into it."""
    return {path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"") for path in Path().rglob("*")}


def test_a_store_that_is_not_there_yet_is_told(policies: Command) -> None:
    """A server would begin with an empty one, so the token is judged as if nothing was revoked."""
    token = minted(policies)
    Path("state.db").unlink()
    told = "no revocation is known: state.db is not there yet: extauthz serve makes it when it starts"
    explained = policies("explain", "https://orders.example.com/", "-H", f"authorization: Bearer {token}")
    assert (explained.code, told in " ".join(explained.out.split())) == (0, True)
    inspected = policies("token", "inspect", "token", "--output", "json")
    assert json.loads(inspected.out)["verdict"]["notes"] == [told]
    assert told in policies("token", "inspect", "token").out
    verified = policies("token", "verify", "token")
    assert (verified.code, verified.err) == (0, f"{told}\n")


def test_what_is_in_a_server_s_memory_is_not_known(policies: Command) -> None:
    """And that is said."""
    token = minted(policies)
    Path("extauthz.yaml").write_text(CONFIGURATION.replace('"sqlite:state.db"', '"memory:"'))
    told = policies("explain", "https://orders.example.com/", "-H", f"authorization: Bearer {token}")
    assert told.code == 0
    assert "what a server has revoked is known to that process alone" in told.out


def test_a_store_that_is_down_refuses_as_in_the_server(policies: Command) -> None:
    """And the explanation says what could not be read."""
    token = minted(policies)
    Path("extauthz.yaml").write_text(CONFIGURATION.replace('"sqlite:state.db"', '"redis://127.0.0.1:1"'))
    told = policies("explain", "https://orders.example.com/", "-H", f"authorization: Bearer {token}")
    assert told.code == 1
    assert told.out.startswith("DENIED 503  store-unavailable")
    assert "the revocations can't be read: " in told.out
