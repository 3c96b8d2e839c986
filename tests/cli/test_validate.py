import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from extauthz.cli.terminal import problem_lines
from extauthz.errors import Position, Problem
from extauthz.workbench.lint import Finding

Command = Callable[..., Any]
PROBLEMS = (
    Problem(Position("policies/a.yaml", 3, 5), "unknown key 'spec.ruls'", "did you mean 'rules'?"),
    Problem(Position("policies/b.yaml"), "can't be read"),
)


def test_fine(run: Command, app: Any) -> None:
    """Nothing wrong: a summary and exit code 0."""
    result = run("validate")
    assert (result.code, result.out, result.err) == (0, "fine: 1 policy, 2 rules, 0 providers\n", "")


def test_no_policy(run: Command, app: Any) -> None:
    """A set without policies is valid, and denies everything: it says so."""
    app.policies = 0
    result = run("validate")
    assert result.code == 0
    assert result.out.endswith("0 providers; without a policy every request is denied\n")


def test_problems(run: Command, app: Any) -> None:
    """Each problem is a line with its place, and the exit code is 1."""
    app.problems = PROBLEMS
    result = run("validate")
    assert result.code == 1
    assert result.out.splitlines() == [
        "policies/a.yaml:3:5: unknown key 'spec.ruls' (did you mean 'rules'?)",
        "policies/b.yaml: can't be read",
        "2 problems",
    ]


def test_configuration_problems(run: Command, app: Any) -> None:
    """What is wrong with the configuration is told in the same form."""
    Path("extauthz.yaml").write_text("check: {deadlin: 1s}\nlisten: {htttp: {}}\n", "utf-8")
    result = run("validate")
    assert result.code == 1
    assert [line.split(" ")[0] for line in result.out.splitlines()] == [
        "extauthz.yaml:1:9:",
        "extauthz.yaml:2:10:",
        "2",
    ]
    assert result.out.endswith("2 problems; policies are looked at once the configuration can be read\n")
    assert app.validated == []


def test_named_files(run: Command, app: Any) -> None:
    """A configuration and more policies can be named."""
    Path("mine.yaml").write_text("check: {grace: 1s}", "utf-8")
    assert run("validate", "--config", "mine.yaml", "new.yaml", "more/").code == 0
    [(config, files)] = app.validated
    assert (config.check.grace, files) == (1.0, ("new.yaml", "more/"))


def test_missing_configuration(run: Command, app: Any) -> None:
    """A named configuration that is not there is a problem like any other."""
    result = run("validate", "--config", "none.yaml")
    assert (result.code, result.out) == (
        1,
        "none.yaml: there is no such file\n1 problem; policies are looked at once the configuration can be read\n",
    )


def test_environment(run: Command, app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables override the file here as they do for the server."""
    monkeypatch.setenv("EXTAUTHZ_CHECK__GRACE", "2s")
    assert run("validate").code == 0
    assert app.validated[0][0].check.grace == 2.0


def test_json(run: Command, app: Any) -> None:
    """Programs get everything in one JSON object."""
    app.problems = PROBLEMS[:1]
    result = run("validate", "--output", "json")
    assert result.code == 1
    assert json.loads(result.out) == {
        "ok": False,
        "problems": [
            {
                "file": "policies/a.yaml",
                "line": 3,
                "column": 5,
                "message": "unknown key 'spec.ruls'",
                "hint": "did you mean 'rules'?",
            }
        ],
        "warnings": [],
        "policies": 1,
        "rules": 2,
        "providers": 0,
    }


WARNING = Finding(
    "unknown-role", Position("policies/a.yaml", 7, 5), "rule 'x' asks for role 'usr'", "did you mean 'user'?"
)


def test_warnings(run: Command, app: Any) -> None:
    """What is legal and looks wrong is told with its code, and stops nothing unless it shall."""
    app.findings = (WARNING,)
    result = run("validate")
    assert result.code == 0
    assert result.out.splitlines() == [
        "policies/a.yaml:7:5: warning[unknown-role]: rule 'x' asks for role 'usr' (did you mean 'user'?)",
        "valid, with 1 warning: 1 policy, 2 rules, 0 providers",
    ]
    assert run("validate", "--strict").code == 1
    assert json.loads(run("validate", "--strict", "--output", "json").out)["ok"] is False
    assert json.loads(run("validate", "--output", "json").out)["warnings"][0]["code"] == "unknown-role"


def test_warnings_can_be_left_out(run: Command, app: Any) -> None:
    """By their code; a code that there is not is a mistake of whoever typed it."""
    app.findings = (WARNING,)
    assert run("validate", "--strict", "--ignore", "unknown-role").code == 0
    result = run("validate", "--ignore", "unknown-rule")
    assert result.code == 2
    assert "no warning has the code 'unknown-rule'" in result.err


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Colour is for terminals, and not for those who asked for none."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[" in problem_lines(PROBLEMS, Terminal())[0]
    assert "\x1b[" not in problem_lines(PROBLEMS, StringIO())[0]
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in problem_lines(PROBLEMS, Terminal())[0]


def test_control_characters() -> None:
    """What somebody else wrote can't move the cursor or turn the direction of a line."""
    problem = Problem(Position("a\x1b.yaml"), "unknown key 'x\n\x9b2J\u202e'", "or\x07")
    [line] = problem_lines([problem], StringIO())
    assert line == "a\\x1b.yaml: unknown key 'x\\n\\x9b2J\\u202e' (or\\x07)"
