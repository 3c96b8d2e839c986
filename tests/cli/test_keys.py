"""``extauthz keys api``."""

import json
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PROJECT

Command = Callable[..., Any]
KEY = re.compile(r"eak_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def create(run: Command, *more: str, subject: str = "billing") -> Any:
    return run("keys", "api", "create", "--file", "keys.yaml", "--subject", subject, *more)


def test_a_key_is_shown_once(run: Command) -> None:
    """Alone on standard output, for a shell to take; the words are on the other stream, and the file has the digest."""
    result = create(run, "--roles", "partner, user", "--expires", "90d", "--description", "nightly export")
    assert result.code == 0
    key = result.out.strip()
    assert KEY.fullmatch(key)
    assert re.fullmatch(
        rf"API key {key[:16]} of billing, expires at {TIME.pattern}. It is not shown again.\n", result.err
    )
    text = Path("keys.yaml").read_text()
    assert sha256(key.encode()).hexdigest() in text
    assert key[17:] not in text
    assert stat.S_IMODE(Path("keys.yaml").stat().st_mode) == 0o600


def test_json(run: Command) -> None:
    """Programs get one object."""
    told = json.loads(create(run, "--output", "json").out)
    assert KEY.fullmatch(told["key"])
    assert told == {"id": told["key"][:16], "key": told["key"], "subject": "billing", "expires": None}


def test_list(run: Command) -> None:
    """Who has which key, until when; neither secrets nor digests."""
    assert create(run, "--roles", "partner,user", "--expires", "2099-01-01").code == 0
    key = create(run, subject="yes").out.strip()
    assert run("keys", "api", "revoke", key[:16], "--file", "keys.yaml").code == 0
    result = run("keys", "api", "list", "--file", "keys.yaml")
    assert result.code == 0
    head, first, second = (re.split(r"  +", line) for line in result.out.splitlines())
    assert head == ["ID", "STATE", "SUBJECT", "ROLES", "CREATED", "EXPIRES", "DESCRIPTION"]
    assert first[1:4] + first[5:] == ["active", "billing", "partner,user", "2099-01-01T00:00:00Z", "-"]
    assert second[0:4] + second[5:] == [key[:16], "revoked", "yes", "-", "-", "-"]
    rows = json.loads(run("keys", "api", "list", "--file", "keys.yaml", "--output", "json").out)
    assert rows[0] | {"id": "", "created": ""} == {
        "id": "",
        "state": "active",
        "subject": "billing",
        "roles": ["partner", "user"],
        "created": "",
        "expires": "2099-01-01T00:00:00Z",
        "description": "",
    }
    assert sha256(key.encode()).hexdigest()[:8] not in result.out + json.dumps(rows)


def test_list_of_a_folder(run: Command) -> None:
    """A folder is listed as a server reads it; an empty one says so."""
    Path("keys").mkdir()
    result = run("keys", "api", "list", "--file", "keys")
    assert (result.code, result.out, result.err) == (0, "", "there is no key yet\n")
    assert run("keys", "api", "create", "--file", "keys/a.yaml", "--subject", "a").code == 0
    assert len(run("keys", "api", "list", "--file", "keys").out.splitlines()) == 2


def test_expired_keys_are_listed_as_such(run: Command) -> None:
    """The state is that of now."""
    Path("keys.yaml").write_text(
        f"keys: [{{id: eak_7Ht2kQ9xWbLm, sha256: '{'0' * 64}', subject: a, expires: 2001-01-01}}]"
    )
    assert "  expired  " in run("keys", "api", "list", "--file", "keys.yaml").out


def test_revoke(run: Command) -> None:
    """By its id, or by the whole key that leaked; twice is fine; the record stays for those who look later."""
    key = create(run).out.strip()
    for given in (key[:16], key, key[:16]):
        result = run("keys", "api", "revoke", given, "--file", "keys.yaml")
        assert (result.code, result.out) == (0, f"{key[:16]} is revoked\n")
    assert Path("keys.yaml").read_text().count("disabled: true") == 1


def test_revoking_an_unknown_key(run: Command) -> None:
    """The answer is no: exit code 1, and what was given, which may be most of a key, is not repeated."""
    create(run)
    result = run("keys", "api", "revoke", "eak_s3cret", "--file", "keys.yaml")
    assert (result.code, result.out) == (1, "")
    assert "keys.yaml has no key with this id" in result.err
    assert "s3cret" not in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", "--subject", "a"], "--file"),
        (["create", "--file", "keys.yaml"], "--subject"),
        (["create", "--file", "keys.yaml", "--subject", "a", "--expires", "soon"], "--expires: write 12h"),
        (["create", "--file", "keys.yaml", "--subject", "a", "--expires", "0d"], "--expires: this time has passed"),
        (["create", "--file", "keys.yaml", "--subject", "a", "--expires", "2001-01-01"], "has passed"),
        (["create", "--file", "keys.yaml", "--subject", "a", "--prefix", "EAK"], "--prefix: 2 to 15"),
        (["create", "--file", "keys.yaml", "--subject", "a\x1b[2J"], "subject: must not hold control characters"),
        (["create", "--file", "none/keys.yaml", "--subject", "a"], "none/keys.yaml: can't be changed"),
        (["list", "--file", "none.yaml"], "none.yaml: there is no such file"),
        (["revoke", "x", "--file", "none.yaml"], "none.yaml has no key"),
        (["create", "--file", "broken.yaml", "--subject", "a"], "broken.yaml:1:7: keys: must be a list"),
        (["list", "--file", "broken.yaml"], "broken.yaml:1:7: keys: must be a list"),
    ],
)
def test_what_can_not_be_done(run: Command, arguments: list[str], message: str) -> None:
    """Exit code 2 for wrong use and 1 for an unknown key; no key is printed, and no file made or changed."""
    Path("broken.yaml").write_text("keys: x")
    result = run("keys", "api", *arguments)
    assert result.code == (1 if arguments[0] == "revoke" else 2)
    assert message in result.err
    assert result.out == ""
    assert [path.name for path in Path().iterdir()] == ["broken.yaml"]
    assert Path("broken.yaml").read_text() == "keys: x"


@pytest.mark.parametrize(
    "command", [[], ["list"], ["rotate"], ["revoke"], ["api"], ["api", "create"], ["api", "list"], ["api", "revoke"]]
)
def test_help_has_an_example(run: Command, command: list[str]) -> None:
    """On every level."""
    assert "Example: extauthz keys" in run("keys", *command, "--help").out


def test_no_server_is_loaded() -> None:
    """Managing keys needs neither gRPC nor CEL, and the help of it not even the room of identities."""
    code = (
        "import sys\n"
        "from extauthz.cli import main\n"
        "main(['keys', '--help'])\n"
        "assert not any(name.startswith(('extauthz.identity', 'jwt', 'yaml')) for name in sys.modules)\n"
        "assert main(['keys', 'api', 'list', '--file', '.']) == 0\n"
        "assert not {'grpc', 'cel_expr_python', 'opentelemetry', 'httpx2'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT / "tests" / "vectors", check=True, timeout=30)
