"""Tables and long lines: whole in a pipe, readable on a terminal of 80 columns."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from extauthz.cli.tables import folded, table
from tests.conftest import PROJECT

Command = Callable[..., Any]

LINES = [
    ["ID", "PROOF", "AUDIENCES"],
    ["a", "client_secret_basic", "https://orders.example.com,https://billing.example.com"],
    ["b", "-", "x,y"],
]


def on_terminal(columns: int, *argv: str) -> list[str]:
    """What a command shows on a terminal so wide, standard error included."""
    terminal, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    command = [sys.executable, "-m", "extauthz", *argv]
    environment["PYTHONPATH"] = str(PROJECT)
    with subprocess.Popen(command, env=environment, stdin=side, stdout=side, stderr=side) as process:
        os.close(side)
        shown = b""
        with suppress(OSError):  # the terminal is closed by whoever was there
            while part := os.read(terminal, 65_536):
                shown += part
        assert process.wait(30) == 0
    os.close(terminal)
    return shown.decode().replace("\r\n", "\n").splitlines()


@pytest.fixture
def service(run: Command) -> Command:
    """A folder with a token service that has keys, a client and an audit log."""
    Path("extauthz.yaml").write_text("""
store: {url: "sqlite:state.db"}
tokens: {issuer: "http://127.0.0.1:8080", audiences: [orders], audit: {file: audit.log, keyFile: audit.key}}
""")
    assert run("keys", "rotate").code == 0
    assert run("keys", "rotate").code == 0
    names = ("https://orders.example.com", "https://billing.internal.example.com")
    options = [f"--{name}" for name in ("refresh", "renew")] + ["--role", "user", "--scope", "orders:read"]
    audiences = [word for name in names for word in ("--audience", name)]
    assert run("token", "client", "add", "billing", *audiences, *options).code == 0
    assert run("token", "mint", "--subject", "alice@example.com", "--role", "admin").code == 0
    return run


@pytest.mark.parametrize("words", [["keys", "list"], ["token", "client", "list"], ["audit", "show", "audit.log"]])
def test_no_line_is_wider_than_the_terminal(service: Command, words: list[str]) -> None:
    """At 80 columns; at 300 each record is one line with all that there is, as in a pipe."""
    narrow = on_terminal(80, *words)
    assert max(map(len, narrow)) <= 80, narrow
    piped = service(*words).out.splitlines()
    assert on_terminal(300, *words)[: len(piped)] == piped
    assert len(narrow) > len(piped)


def test_what_is_left_out_is_told(service: Command) -> None:
    """What stays is what a person looks for: the whole kid, which slot, what happens then; whom a client's tokens are for."""
    head, *rows = on_terminal(80, "keys", "list")
    assert head.split() == ["KID", "SLOT", "THEN"]
    (kid, *_), *_ = (line.split() for line in service("keys", "list").out.splitlines()[1:])
    assert rows[0].startswith(f"{kid}  current  signs until")
    assert "left out: CREATED, ALGORITHM (a wider terminal has all, and --output json)" in rows
    shown = on_terminal(80, "token", "client", "list")
    assert shown[0].split() == ["ID", "STATE", "AUDIENCES", "ROLES", "SCOPES"]
    assert "https://billing.internal.example.com" in shown[2]
    assert on_terminal(140, "keys", "list")[0].split() == ["KID", "SLOT", "ALGORITHM", "CREATED", "THEN"]


def test_a_table_that_is_wide_enough_is_left_alone() -> None:
    """Cells go on below before a column is left out, and one is left out before a word is broken."""
    assert table(LINES, None, folds=["AUDIENCES"], leaves_out=["PROOF"]) == table(LINES, 78)
    told, missing = table(LINES, 60, folds=["AUDIENCES"], leaves_out=["PROOF"])
    assert (told, missing) == (
        [
            "ID  PROOF                AUDIENCES",
            "a   client_secret_basic  https://orders.example.com,",
            "                         https://billing.example.com",
            "b   -                    x,y",
        ],
        [],
    )
    told, missing = table(LINES, 40, folds=["AUDIENCES"], leaves_out=["PROOF"])
    assert missing == ["PROOF"]
    assert told[1:3] == ["a   https://orders.example.com,", "    https://billing.example.com"]
    told, _ = table(LINES, 20, folds=["AUDIENCES"], leaves_out=["PROOF"])
    assert max(map(len, told)) <= 32, "a terminal that is far too narrow is shown a table nevertheless"
    assert "".join(line[4:] for line in told[1:-1]) == LINES[1][2]


def test_fields_of_a_record() -> None:
    """Beside each other as far as they go, then below, a long one at its words."""
    fields = ["12:00:00Z", "issue done", "client=billing", "detail=" + "word " * 5 + "end"]
    assert list(folded(fields, None)) == ["  ".join(fields)]
    assert list(folded(fields, 30)) == [
        "12:00:00Z  issue done",
        "    client=billing",
        "    detail=word word word word",
        "    word end",
    ]
    assert list(folded(["x" * 50], 30)) == ["x" * 50]
