"""``extauthz test`` on a command line."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

Command = Callable[..., Any]

CONFIG = """
providers:
- name: corporate
  jwt: {issuer: https://login.example.com/, audiences: [orders]}
  roles: {claims: [groups], map: {staff: user}, mayGrant: [user]}
"""
POLICY = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: orders}
spec:
  rules:
  - {name: read, role: user, to: [{methods: [GET]}]}
  - {name: write, role: user, to: [{methods: [PUT]}]}
"""
SUITE = """
apiVersion: security.example.com/v1
kind: PolicyTest
metadata: {name: orders}
spec:
  callers:
    alice: {token: {sub: alice, groups: [staff, admins]}}
  cases:
  - {name: reads, request: GET /orders, caller: alice, expect: {decision: allow, rule: read}}
  - {name: nobody, request: GET /orders, expect: no-credentials}
"""


@pytest.fixture
def project(run: Command) -> Path:
    """A folder with a configuration, a policy and its suite."""
    Path("extauthz.yaml").write_text(CONFIG, "utf-8")
    Path("policies").mkdir()
    Path("policies/orders.yaml").write_text(POLICY, "utf-8")
    Path("policies/orders.test.yaml").write_text(SUITE, "utf-8")
    return Path.cwd()


def test_suites_beside_the_policies_are_run(run: Command, project: Path) -> None:
    """Without any argument; a suite is no policy."""
    result = run("test")
    assert result.code == 0
    assert result.out.startswith("2 of 2 cases passed (1 suite, ")
    assert run("validate").code == 0


def test_a_failed_case_is_told_and_the_exit_code_says_so(run: Command, project: Path) -> None:
    """With its place."""
    Path("policies/orders.test.yaml").write_text(SUITE.replace("no-credentials", "allow"), "utf-8")
    result = run("test")
    assert result.code == 1
    assert "policies/orders.test.yaml:10:5: FAILED orders: nobody" in result.out
    assert "expected allow, got deny" in result.out
    assert "1 of 2 cases passed, 1 failed" in result.out


def test_cases_can_be_chosen(run: Command, project: Path) -> None:
    """By a part of their name; one that there is not is a mistake."""
    assert run("test", "-k", "reads").out.startswith("1 of 1 cases")
    missing = run("test", "-k", "nothing like it")
    assert (missing.code, "no case has" in missing.err) == (2, True)


def test_the_first_failure_can_end_it(run: Command, project: Path) -> None:
    """For a quick look."""
    Path("policies/orders.test.yaml").write_text(SUITE.replace("rule: read", "rule: x"), "utf-8")
    assert "0 of 1 cases passed" in run("test", "--fail-fast").out


def test_coverage_can_be_asked_for_and_demanded(run: Command, project: Path) -> None:
    """Rules that no case reaches are named with their places."""
    result = run("test", "--coverage")
    assert result.code == 0
    assert "policies/orders.yaml:8:5: no case reaches orders/write" in result.out
    assert "coverage: 1 of 2 rules, 50 %" in result.out
    assert run("test", "--min-coverage", "50").code == 0
    assert run("test", "--min-coverage", "51").code == 1


def test_reports_for_programs(run: Command, project: Path) -> None:
    """JSON on standard output, JUnit in a file."""
    result = run("test", "--output", "json", "--coverage", "--junit", "junit.xml")
    report = json.loads(result.out)
    assert (report["passed"], report["coverage"]["percent"]) == (2, 50)
    assert ET.parse("junit.xml").getroot().get("tests") == "2"


def test_a_broken_suite_or_policy_is_wrong_use(run: Command, project: Path) -> None:
    """All problems of both, at once."""
    Path("policies/orders.yaml").write_text(POLICY.replace("role:", "rol:"), "utf-8")
    Path("policies/orders.test.yaml").write_text(SUITE.replace("expect:", "expct:"), "utf-8")
    result = run("test")
    assert result.code == 2
    assert "policies/orders.test.yaml:9:" in result.err
    Path("policies/orders.test.yaml").write_text(SUITE, "utf-8")
    assert "policies/orders.yaml:7:" in run("test").err


def test_without_a_suite_it_says_how_to_begin(run: Command, project: Path) -> None:
    """And what it prints is a suite that runs."""
    Path("policies/orders.test.yaml").unlink()
    result = run("test")
    assert result.code == 2
    assert "there is no test suite at policies" in result.err
    example = "\n".join(line[4:] for line in result.err.splitlines() if line.startswith("    "))
    Path("policies/first.test.yaml").write_text(example, "utf-8")
    assert run("test").code == 0


def test_a_suite_can_name_its_policies(run: Command, project: Path) -> None:
    """Relative to itself: a draft is tested before it is in force."""
    Path("drafts").mkdir()
    Path("drafts/new.yaml").write_text(POLICY.replace("GET", "DELETE"), "utf-8")
    suite = SUITE.replace("spec:", "spec:\n  policies: [new.yaml]").replace("GET /orders", "DELETE /orders")
    Path("drafts/new.test.yaml").write_text(suite, "utf-8")
    assert run("test", "drafts").code == 0


@pytest.mark.timeout(60)
def test_watching_runs_again_after_a_change_and_survives_a_mistake(project: Path) -> None:
    """Until it is told to stop; then it ends quietly."""
    command = [sys.executable, "-m", "extauthz", "test", "--watch"]
    environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout is not None
        assert process.stderr is not None

        def until(words: str) -> str:
            assert process.stdout is not None
            for line in process.stdout:
                if words in line:
                    return line
            pytest.fail(f"never said {words!r}")

        try:
            assert "2 of 2" in until("cases passed")
            until("waiting for a change")
            time.sleep(0.5)
            Path("policies/orders.yaml").write_text("kind: [", "utf-8")
            until("policies/orders.yaml:")
            until("waiting for a change")
            time.sleep(0.5)
            Path("policies/orders.yaml").write_text(POLICY, "utf-8")
            assert "2 of 2" in until("cases passed")
            until("waiting for a change")
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 130
            assert process.stderr.read() == ""
        finally:
            process.kill()


@pytest.mark.parametrize("place", ["missing/report.xml", "."])
def test_a_report_that_cannot_be_written_is_told(run: Command, project: Path, place: str) -> None:
    """In a sentence, as wrong use."""
    result = run("test", "--junit", place)
    assert result.code == 2
    assert result.err.startswith(f"extauthz: {place} can't be written: ")


@pytest.mark.parametrize("percent", ["-1", "101"])
def test_a_coverage_that_nothing_can_reach_is_wrong_use(run: Command, project: Path, percent: str) -> None:
    """A pipeline would fail for ever, or never."""
    result = run("test", f"--min-coverage={percent}")
    assert (result.code, result.err) == (2, "extauthz: --min-coverage: a number from 0 to 100\n")


def test_no_report_shows_a_credential(run: Command, project: Path) -> None:
    """Of headers, cookies, parameters and claims: reports are kept by CI, and read by many."""
    case = (
        "  - name: fails\n"
        '    request: {path: "/o?access_token=sesame1&page=2", headers: {authorization: Bearer sesame2, cookie: sid=sesame3,'
        " x-api-key: sesame4, x-partner-key: sesame5, x-tenant: blue}}\n"
        "    caller: {provider: corporate, roles: [user], claims: {session_token: sesame6}}\n"
        "    expect: {headers: {authorization: Bearer sesame7, x-api-key: sesame8}}\n"
    )
    Path("policies/orders.test.yaml").write_text(SUITE + case, "utf-8")
    told = run("test", "--junit", "report.xml").out
    told += run("test", "--output", "json").out + Path("report.xml").read_text("utf-8")
    assert "sesame" not in told
    assert "-H 'cookie: [redacted]'" in told
    assert "-H 'x-tenant: blue'" in told
