"""``extauthz audit``."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from extauthz.telemetry import AuditFile, audit_key
from extauthz.tokens.ports import AuditEvent

Command = Callable[..., Any]

EVENTS = [
    (1_790_000_000.0, AuditEvent("issue", "done", client_id="billing", subject="billing", token="ey.first.token")),
    (1_790_000_100.0, AuditEvent("refresh", "refused", client_id="shop", reason="invalid_grant", detail="it was used")),
    (1_790_000_200.0, AuditEvent("revoke", "done", client_id="billing", subject="\x1b[31mred")),
]


@pytest.fixture
def logged(run: Command) -> None:
    """Three events in a log."""
    times = iter(at for at, _ in EVENTS)
    audit = AuditFile("audit.log", audit_key("audit.key", make=True), now=lambda: next(times), clock=lambda: 0.0)
    for _, event in EVENTS:
        audit.record(event)
    audit.close()


def verify(run: Command, *more: str) -> Any:
    return run("audit", "verify", "audit.log", "--key-file", "audit.key", *more)


@pytest.mark.usefixtures("logged")
def test_a_whole_log(run: Command) -> None:
    """Exit code 0, and the hash to note elsewhere."""
    result = verify(run)
    assert result.code == 0
    assert re.fullmatch(r"4 lines, whole; the last hash is [0-9a-f]{64}\n", result.out)
    last = result.out.split()[-1]
    assert verify(run, "--expect-last", last).code == 0


@pytest.mark.usefixtures("logged")
def test_a_tampered_log(run: Command) -> None:
    """Exit code 1, and the line in a form that editors open."""
    text = Path("audit.log").read_text()
    Path("audit.log").write_text(text.replace("invalid_grant", "unknown_grant"))
    result = verify(run)
    assert result.code == 1
    assert result.out.startswith("audit.log:3: was changed")
    told = json.loads(verify(run, "--output", "json").out)
    assert (told["whole"], told["lines"], told["fault"]["line"]) == (False, 2, 3)


@pytest.mark.usefixtures("logged")
def test_a_cut_log(run: Command) -> None:
    """Only with the hash that was noted before."""
    last = verify(run).out.split()[-1]
    Path("audit.log").write_text("".join(Path("audit.log").read_text().splitlines(keepends=True)[:-1]))
    assert verify(run).code == 0
    assert verify(run, "--expect-last", last).code == 1


@pytest.mark.usefixtures("logged")
def test_wrong_use(run: Command) -> None:
    """No file, no key, another key."""
    assert run("audit", "verify", "--key-file", "audit.key").code == 2
    assert run("audit", "verify", "audit.log", "--key-file", "none.key").code == 2
    assert run("audit", "verify", "none.log", "--key-file", "audit.key").code == 2
    assert run("audit", "show", "audit.log", "--since", "yesterday").code == 2
    assert run("audit", "show", "audit.log", "--token", "-").code == 2
    audit_key("other.key", make=True)
    assert run("audit", "verify", "audit.log", "--key-file", "other.key").code == 1


@pytest.mark.usefixtures("logged")
@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        (["--client", "billing"], ["issue", "revoke"]),
        (["--subject", "billing"], ["issue"]),
        (["--refused"], ["refresh"]),
        (["--action", "revoke"], ["revoke"]),
        (["--since", "2026-09-21T14:15:00Z"], ["refresh", "revoke"]),
        (["--since", "2026-09-21T14:15", "--until", "2026-09-21 14:16"], ["refresh"]),
        (["--client", "nobody"], []),
    ],
)
def test_show(run: Command, asked: list[str], shown: list[str]) -> None:
    """What was asked for and nothing else; exit code 1 if that is nothing."""
    result = run("audit", "show", "audit.log", *asked, "--output", "json")
    assert [line["action"] for line in json.loads(result.out)] == shown
    assert result.code == (0 if shown else 1)


@pytest.mark.usefixtures("logged")
def test_show_to_people(run: Command) -> None:
    """One line an event; nothing that a terminal would obey."""
    result = run("audit", "show", "audit.log")
    lines = result.out.splitlines()
    assert lines[1].startswith("2026-09-21T14:13:20Z  issue done  client=billing  subject=billing  token=")
    assert lines[2] == "2026-09-21T14:15:00Z  refresh refused  client=shop  reason=invalid_grant  detail=it was used"
    assert "\x1b" not in result.out


@pytest.mark.usefixtures("logged")
def test_what_became_of_a_token(run: Command) -> None:
    """Who has the token and the key finds its lines."""
    Path("leaked").write_text("Authorization: Bearer ey.first.token\n")
    result = run("audit", "show", "audit.log", "--token", "leaked", "--key-file", "audit.key", "--output", "json")
    assert [line["action"] for line in json.loads(result.out)] == ["issue"]
    assert "first" not in result.out + result.err


def test_a_token_on_the_command_line_is_refused(run: Command) -> None:
    """And not repeated."""
    result = run("audit", "show", "audit.log", "--token", "eyJ.eyJ.canary", "--key-file", "audit.key")
    assert result.code == 2
    assert "canary" not in result.out + result.err


@pytest.mark.usefixtures("logged")
def test_the_key_of_the_configuration(run: Command) -> None:
    """Nobody has to know where it is; without one it is said what to give."""
    result = run("audit", "verify", "audit.log")
    assert result.code == 2
    assert "give --key-file" in result.err
    Path("sub").mkdir()
    Path("audit.key").rename("sub/audit.key")
    Path("sub/extauthz.yaml").write_text("""
tokens: {issuer: "https://auth.example.com", audiences: [orders], audit: {file: audit.log, keyFile: audit.key}}
store: {url: "sqlite:state.db"}
""")
    assert run("audit", "verify", "audit.log", "--config", "sub/extauthz.yaml").code == 0
    Path("token").write_text("ey.first.token")
    shown = run("audit", "show", "audit.log", "--token", "token", "--config", "sub/extauthz.yaml")
    assert (shown.code, shown.out.count("\n")) == (0, 1)
    assert run("audit", "verify", "audit.log", "--config", "none.yaml").code == 2
    assert not Path("sub/state.db").exists()
