"""The benchmarks run, say what became of their promises, and measure a real server. What they measure is no test."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as everything
from bench import stages, transports
from bench.load import Load
from bench.report import COLLECTED, aimed, collected, promised
from extauthz.cli import main
from mesh.address import free_addresses
from mesh.processes import Process, answers

BENCH = Path(everything.__file__).parent
CONFIG = """
listen: {{check: {{address: "{check}"}}, admin: {{address: "{admin}"}}}}
check: {{drainDelay: 0s}}
policies: {{files: [policy.yaml]}}
"""
POLICY = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: get-alone}
spec:
  authentication: {optional: true}
  rules: [{role: anonymous, to: [{methods: [GET]}]}]
"""


def test_whatever_can_be_run_alone_is_run_with_all() -> None:
    """A benchmark that nobody runs tells nobody that a promise broke."""
    runnable = {file.stem for file in BENCH.glob("[!_]*.py") if "def main() -> int:" in file.read_text()}
    assert runnable == set(everything.PARTS)
    for name in everything.PARTS:
        assert callable(importlib.import_module(f"bench.{name}").main)


def test_what_concerns_checks_is_run_without_a_word() -> None:
    """The rest takes minutes more, and is there by name, or with all."""
    assert everything._chosen([]) == [name for name in everything.PARTS if name not in everything.TOKEN_SERVICE]
    assert set(everything.PARTS) >= everything.TOKEN_SERVICE | everything.FROM_SOURCES
    assert everything._chosen(["all"]) == [*everything.PARTS]
    assert everything._chosen(["signing", "stages"]) == ["signing", "stages"]


def test_a_broken_promise_is_told_and_an_aim_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order in which they came."""
    monkeypatch.setenv(COLLECTED, str(tmp_path / "report"))
    assert promised("a", 1.0, 2.0)
    assert not promised("b", 3.0, 2.0)
    assert not aimed("c", 0.5, 0.9, at_least=True)
    told = [str(verdict).split()[-1] for verdict in collected(tmp_path / "report")]
    assert told == ["kept", "BROKEN", "reached"]
    assert not collected(tmp_path / "none")


def test_where_the_time_goes_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each stage by itself, in the order of a Check."""
    for name in ("ROUNDS", "TIMES"):
        monkeypatch.setattr(stages, name, 1)
    monkeypatch.setattr(stages, "MESSAGES", 3)
    assert stages.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("  ")[0] for line in lines[1:4]] == [
        "bytes to attributes (wire)",
        "canonical request (check, canonical)",
        "who is asking (identity)",
    ]


@pytest.mark.system("h2load")
def test_both_transports_are_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With every kind of Check, and none of them fails."""
    monkeypatch.setattr(transports, "ROUNDS", 1)
    monkeypatch.setattr(transports, "WARM_UP", Load(10))
    monkeypatch.setattr(transports, "LOADS", {"native": Load(50), "grpcio": Load(50)})
    assert transports.main() == 0
    told = capsys.readouterr().out
    assert told.count("native") == told.count("grpcio") == len(transports.TITLES)
    assert "failed" not in told


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server as people run it, with its configuration where they would be; gives its process."""
    monkeypatch.chdir(tmp_path)
    check, admin = free_addresses(0, 0)
    Path("extauthz.yaml").write_text(CONFIG.format(check=check, admin=admin))
    Path("policy.yaml").write_text(POLICY)
    command = [sys.executable, "-m", "extauthz", "serve", "--config", "extauthz.yaml"]
    ready = [answers(f"http://{admin}/readyz")]
    with Process("extauthz", command, log=tmp_path / "log", ready=ready, directory=tmp_path) as process:
        yield process.pid


@pytest.mark.system("h2load")
def test_a_server_is_measured_by_one_command(server: int, capsys: pytest.CaptureFixture[str]) -> None:
    """What it answers, how often and how fast, and what it costs."""
    command = ["bench", "GET", "https://a.example.com/", "--requests", "400", "--pid", str(server)]
    assert main([*command, "--output", "json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert told["answer"] == {"allowed": True, "status": 0}
    full, half = told["runs"]
    assert (full["name"], half["name"]) == ("as fast as it answers", "half of that, by the clock")
    assert (full["done"], full["failed"]) == (400, 0)
    assert 0 < full["p50"] <= full["p99"] <= full["p999"]
    assert half["per_second"] < full["per_second"]
    assert full["cpu_us"] >= 0


@pytest.mark.system("h2load")
def test_a_denial_is_measured_as_one(server: int, capsys: pytest.CaptureFixture[str]) -> None:
    """By the clock, at the rate that is asked for."""
    assert server
    assert main(["bench", "DELETE", "https://a.example.com/", "--requests", "100", "--rate", "200"]) == 0
    first, head, row = capsys.readouterr().out.splitlines()
    assert first == "the answer is to deny it (403)"
    assert head.split() == ["1/s", "CPU", "us", "p50", "p99", "p99.9", "ms"]
    assert row.startswith("200 a second, by the clock")


@pytest.mark.system("h2load")
def test_a_server_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Before any load is sent, in a sentence."""
    (address,) = free_addresses(0)
    assert main(["bench", "GET", "https://a/", "--address", address]) == 2
    assert f"{address} did not answer a Check: DEADLINE_EXCEEDED" in capsys.readouterr().err
