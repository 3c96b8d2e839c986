"""The command line in this process, with a stand-in for the server where a test needs none."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import extauthz
from extauthz.app import Secrets
from extauthz.cli import main
from extauthz.errors import Problem
from extauthz.workbench.lint import Finding


@dataclass
class Run:
    """What a command left behind."""

    code: int
    out: str
    err: str


@dataclass
class StandIn:
    """``extauthz.app`` with the answers that a test wants, and what it was asked."""

    Secrets = Secrets
    code: int | BaseException = 0
    problems: tuple[Problem, ...] = ()
    findings: tuple[Finding, ...] = ()
    policies: int = 1
    served: list[Any] = field(default_factory=list)
    validated: list[tuple[Any, tuple[str, ...]]] = field(default_factory=list)

    def serve(self, config: Any, *, secrets: Any, reload: Callable[[], Any]) -> int:
        self.served.append(config)
        if isinstance(self.code, BaseException):
            raise self.code
        return self.code

    def validate(self, config: Any, extra_files: Sequence[str] = (), *, config_file: str = "", ignore: Any = ()) -> Any:
        self.validated.append((config, tuple(extra_files)))
        found = tuple(finding for finding in self.findings if finding.code not in ignore)
        return SimpleNamespace(problems=self.problems, policies=self.policies, rules=2, providers=0, findings=found)


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Put a stand-in where the commands look for the server."""
    stand_in = StandIn()
    monkeypatch.setattr(extauthz, "app", stand_in, raising=False)
    monkeypatch.setitem(sys.modules, "extauthz.app", stand_in)
    return stand_in


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    """Run a command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def run_command(*argv: str) -> Run:
        code = main(argv)
        captured = capsys.readouterr()
        return Run(code, captured.out, captured.err)

    return run_command
