"""Test suites of policies: how they are written, what they find, and what is told of it."""

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.check import RequestRules
from extauthz.model import Deny, Identity, Reason
from extauthz.policy import PolicySettings, PolicyText, load
from extauthz.workbench.engine import Engine
from extauthz.workbench.sketch import read_target
from extauthz.workbench.suites import Case, Coverage, Outcome, Suite, read_suites, run_case
from extauthz.workbench.suites.finding import find_suites
from extauthz.workbench.suites.reports import as_json, as_junit, coverage_lines, explain_command, failure_lines

SETTINGS = PolicySettings(providers=frozenset({"corporate"}), mesh_providers=frozenset({"mesh"}))
POLICY = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: orders}
spec:
  deny:
  - {name: no-internals, to: [{paths: ["/internal/**"]}]}
  rules:
  - {name: read, role: user, to: [{methods: [GET], paths: ["/orders/**"]}], maxRequestsPerMinute: 9}
  - {name: own, role: user, to: [{paths: ["/tenants/**"]}], when: 'claims.tenant == request.headers["x-tenant"]'}
  - {name: tried, role: guest, shadow: true}
  response:
    headers: {x-auth-subject: identity.subject}
    removeHeaders: [authorization]
"""
HEAD = """\
apiVersion: security.example.com/v1
kind: PolicyTest
metadata: {name: suite}
spec:
  callers:
    alice: {provider: corporate, roles: [user], claims: {tenant: acme}}
    guest: {provider: corporate, roles: [guest]}
    late: {provider: corporate, refused: token-expired}
    web: {provider: mesh, subject: spiffe://d/web, roles: []}
  cases:
"""


def vouch(provider: str, claims: Mapping[str, Any]) -> Identity | Deny:
    if provider == "mesh":
        raise ValueError("provider 'mesh' has no tokens")
    return Identity(claims["sub"], "i", provider, frozenset(claims.get("groups", ())))


def read(folder: Path, text: str) -> tuple[list[Suite], list[str]]:
    file = folder / "a.test.yaml"
    file.write_text(text, "utf-8")
    suites, problems = read_suites(
        [str(file)], group="security.example.com", providers=["corporate", "mesh"], vouch=vouch
    )
    return suites, [str(problem).replace(f"{folder}/", "") for problem in problems]


def cases(folder: Path, text: str) -> list[Case]:
    suites, problems = read(folder, HEAD + text)
    assert not problems
    return [case for suite in suites for case in suite.cases]


@pytest.fixture
def engine() -> Engine:
    return Engine(load([PolicyText("orders.yaml", POLICY)], SETTINGS, 1), RequestRules())


def outcomes(engine: Engine, folder: Path, text: str) -> list[Outcome]:
    return [run_case(engine, case) for case in cases(folder, text)]


ALL = """
  - {name: long, request: {method: GET, path: /orders/1}, caller: alice, expect: {decision: allow, rule: read, rate: 9}}
  - {request: GET /orders/1, caller: alice, expect: allow}
  - {request: /orders/1, expect: no-credentials}
  - {request: /orders/1, caller: anonymous, expect: {decision: deny, status: 401}}
  - {request: /orders/1, caller: late, expect: token-expired}
  - {request: /orders/1, caller: {provider: corporate, token: {sub: bob, groups: [user]}}, expect: allow}
  - {request: /orders/../x, caller: alice, expect: path-ambiguous}
  - {request: /internal/x, caller: alice, expect: {reason: denied-by-rule, policy: orders, rule: no-internals}}
  - {request: /orders/1, caller: alice, expect: {headers: {x-auth-subject: alice, authorization: null}}}
  - {request: {path: /tenants/x, headers: {x-tenant: acme}}, caller: alice, expect: allow}
  - {request: {path: /tenants/x, headers: {X-Tenant: [a, b]}}, caller: alice, expect: no-rule}
  - {request: /orders/1, caller: guest, expect: {decision: deny, shadow: {orders/tried: allow}}}
  - {request: {tcp: true, port: 5432}, caller: alice, peer: web, expect: deny}
  - name: table
    caller: alice
    table:
      columns: [name, method, path, expect, rule]
      rows:
      - [reads, GET, /orders/1, allow, read]
      - [writes, PUT, /orders/1, no-rule, null]
"""


def test_every_way_to_write_a_case_says_the_same_as_the_long_one(engine: Engine, tmp_path: Path) -> None:
    """Requests, callers and expectations in their short forms and rows."""
    ran = outcomes(engine, tmp_path, ALL)
    assert [list(failure_lines(outcome)) for outcome in ran if not outcome.passed] == []
    assert [outcome.case.name for outcome in ran][-2:] == ["table: reads", "table: writes"]
    assert ran[-1].case.where.line == HEAD.count("\n") + ALL.count("\n")


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("{request: /orders/1, caller: alice, expect: deny}", ["decision  expected deny, got allow"]),
        ("{request: /orders/1, expect: role-missing}", ["reason  expected role-missing, got no-credentials"]),
        ("{request: /orders/1, caller: alice, expect: {rule: own}}", ["rule  expected own, got read"]),
        ("{request: /orders/1, caller: alice, expect: {rate: 0}}", ["rate  expected 0, got 9"]),
        ("{request: /x, caller: alice, expect: {status: 401}}", ["status  expected 401, got 403"]),
        (
            "{request: /orders/1, caller: alice, expect: {headers: {x-auth-subject: bob, x-other: null}}}",
            ["header x-auth-subject  expected 'bob', got 'alice'", "header x-other"],
        ),
        ("{request: /x, caller: alice, expect: {headers: {x-auth-subject: a}}}", ["expected an allow with headers"]),
        ("{request: /x, caller: alice, expect: {shadow: {orders/tried: deny}}}", ["expected deny, got nothing"]),
    ],
)
def test_what_came_otherwise_is_told(engine: Engine, tmp_path: Path, case: str, told: list[str]) -> None:
    """What was asked, what was expected, what came, and how to go on."""
    (outcome,) = outcomes(engine, tmp_path, f"  - {case}\n")
    assert not outcome.passed
    lines = "\n".join(failure_lines(outcome))
    for words in told:
        assert " ".join(words.split()) in " ".join(lines.split())
    assert f"a.test.yaml:{HEAD.count(chr(10)) + 1}:5: FAILED" in lines
    assert "explain   extauthz explain GET" in lines


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("{expct: allow}", "unknown key"),
        ("{request: /x}", "expects nothing (write expect: allow, deny or a reason)"),
        ("{request: /x, expect: perhaps}", "'perhaps' is no reason"),
        ("{request: /x, expect: {}}", "expects nothing"),
        (
            "{request: /x, caller: bob, expect: allow}",
            "there is no caller 'bob' (spec.callers has: alice, guest, late, web)",
        ),
        ("{request: /x, caller: {roles: []}, expect: allow}", "says no provider, and there are several"),
        ("{request: /x, caller: {provider: other, roles: []}, expect: allow}", "'other' is not a configured provider"),
        ("{request: /x, caller: {provider: mesh, token: {sub: a}}, expect: allow}", "provider 'mesh' has no tokens"),
        ("{request: /x, caller: {provider: corporate}, expect: allow}", "says neither roles nor token nor refused"),
        ("{request: /x, caller: {provider: corporate, refused: allowed}, expect: deny}", "'allowed' is no reason"),
        ("{request: {port: 0}, expect: deny}", "request.port"),
        ("{table: {columns: [pth], rows: []}}", "'pth' is no column"),
        ("{table: {columns: [path, path], rows: []}}", "names a column twice"),
        ("{table: {columns: [path, expect], rows: [[/x]]}}", "row 1 has 1 cells, and there are 2 columns"),
        ("{table: {columns: [path, expect], rows: [[/x, maybe]]}}", "'maybe' is no reason"),
        ("{table: {columns: [path, expect], rows: [[/x, null]]}}", "expects nothing"),
        ("{table: {columns: [path, expect], rows: [[7, allow]]}}", "column 'path' must be a text"),
        ("{table: {columns: [request, expect], rows: [[7, allow]]}}", "column 'request' must be a text"),
        ("{table: {columns: [request, caller, expect], rows: [[/x, bob, allow]]}}", "there is no caller 'bob'"),
    ],
)
def test_a_mistake_in_a_suite_has_a_place(tmp_path: Path, case: str, told: str) -> None:
    """And is told before anything runs."""
    suites, problems = read(tmp_path, f"{HEAD}  - {case}\n")
    assert not suites
    assert any(told in problem for problem in problems), problems
    assert all(problem.startswith(f"a.test.yaml:{HEAD.count(chr(10)) + 1}:") for problem in problems), problems


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """In the order of the file."""
    rows = "  - {request: /x, caller: bob, expect: allow}\n  - {request: /x, caller: eve, expect: maybe}\n"
    _, problems = read(tmp_path, HEAD + rows.replace("maybe", "allow"))
    assert [problem.split(":")[1] for problem in problems] == ["11", "12"]


def test_a_suite_of_another_group_or_kind_is_refused(tmp_path: Path) -> None:
    """With what to write."""
    assert "write security.example.com/v1" in read(tmp_path, HEAD.replace("security.", "other."))[1][0]
    assert "kind" in read(tmp_path, HEAD.replace("PolicyTest", "AuthPolicy"))[1][0]
    assert "a suite must be a mapping" in read(tmp_path, "[]")[1][0]


def test_files_that_can_not_be_read_are_problems(tmp_path: Path) -> None:
    """Not crashes."""
    (tmp_path / "b.test.yaml").write_bytes(b"\xff")
    files = [str(tmp_path / "b.test.yaml"), str(tmp_path / "none.test.yaml")]
    _, problems = read_suites(files, group="g", providers=[], vouch=vouch)
    assert ["not UTF-8" in problems[0].message, "No such file" in problems[1].message] == [True, True]


def test_suites_are_found_in_folders(tmp_path: Path) -> None:
    """And below them; names with a dot are not."""
    for name in ("b.test.yaml", "deep/a.test.yml", ".hidden/c.test.yaml", ".d.test.yaml", "policy.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [Path(file).relative_to(tmp_path).as_posix() for file in find_suites([str(tmp_path)])]
    assert found == ["b.test.yaml", "deep/a.test.yml"]
    assert find_suites(["none"]) == ["none"]


def test_rules_that_no_case_reaches_are_told(engine: Engine, tmp_path: Path) -> None:
    """A rule that matched and did not decide was reached."""
    coverage = Coverage(engine.snapshot)
    for outcome in outcomes(engine, tmp_path, "  - {request: /orders/1, caller: alice, expect: allow}\n"):
        coverage.count(outcome)
    reached = {rule.rule: rule.cases for rule in coverage.rules()}
    assert reached == {"no-internals": 0, "read": 1, "own": 0, "tried": 0}
    assert coverage.percent == 25
    lines = list(coverage_lines(coverage.rules(), coverage.percent))
    assert lines[0] == "orders.yaml:7:5: no case reaches orders/no-internals"
    assert lines[-1] == "coverage: 1 of 4 rules, 25 %"


def test_programs_get_everything(engine: Engine, tmp_path: Path) -> None:
    """As JSON."""
    ran = outcomes(engine, tmp_path, "  - {request: /orders/1, caller: alice, expect: deny}\n")
    report = json.loads(json.dumps(as_json(ran, [], 100)))
    assert (report["passed"], report["failed"]) == (0, 1)
    assert report["cases"][0]["mismatches"] == [{"what": "decision", "expected": "deny", "got": "allow"}]


def test_ci_gets_junit(engine: Engine, tmp_path: Path) -> None:
    """Well-formed, whatever names hold."""
    text = """
  - {name: "evil \\x07 <&>", request: /orders/1, caller: alice, expect: deny}
  - {name: good, request: /orders/1, caller: alice, expect: allow}
"""
    root = ET.fromstring(as_junit(outcomes(engine, tmp_path, text), 0.5))
    assert (root.tag, root.get("tests"), root.get("failures")) == ("testsuites", "2", "1")
    (suite,) = root
    assert [case.get("name") for case in suite] == ["evil \\x07 <&>", "good"]
    assert suite[0][0].get("message") == "decision: expected deny, got allow"


def test_a_thousand_cases_take_well_under_three_seconds(engine: Engine, tmp_path: Path) -> None:
    """Read and run, in CPU time."""
    rows = "".join(f"      - [GET /orders/{number}, alice, allow]\n" for number in range(1000))
    begin = time.process_time()
    ran = outcomes(engine, tmp_path, f"  - table:\n      columns: [request, caller, expect]\n      rows:\n{rows}")
    assert len(ran) == 1000
    assert all(outcome.passed for outcome in ran)
    assert time.process_time() - begin < 3


def test_a_failed_case_can_be_explained(engine: Engine, tmp_path: Path) -> None:
    """The command is one to paste, quoted for a shell."""
    request = "{path: '/x?a=1&b', headers: {x-a: it's}, context: {app: a}, source: {address: 10.0.0.1}}"
    text = f"  - {{request: {request}, caller: alice, expect: deny}}\n"
    (outcome,) = outcomes(engine, tmp_path, text)
    assert explain_command(outcome.case) == (
        "extauthz explain GET 'https://example.com/x?a=1&b' -H 'x-a: it'\"'\"'s' --context app=a --source 10.0.0.1 "
        '--provider corporate --subject alice --role user --claims \'{"tenant": "acme"}\''
    )


@pytest.mark.parametrize(
    ("text", "read_as"),
    [
        ("/orders?x=1", ("", "", "", "/orders?x=1")),
        ("GET /orders", ("GET", "", "", "/orders")),
        ("POST https://a.example.com/x?y=https://z/", ("POST", "https", "a.example.com", "/x?y=https://z/")),
        ("http://a:8080", ("", "http", "a:8080", "/")),
        ("https://a?x", ("", "https", "a", "/?x")),
        ("GET //x", ("GET", "", "", "//x")),
        ("GET /x?u=http://y", ("GET", "", "", "/x?u=http://y")),
    ],
)
def test_a_target_is_read_as_it_is_meant(text: str, read_as: tuple[str, str, str, str]) -> None:
    """A path stays as it was written, odd or not."""
    assert read_target(text) == read_as


@given(st.text())
def test_no_target_is_too_odd(text: str) -> None:
    """It may be refused later, and never crashes here."""
    assert len(read_target(text)) == 4


def test_credentials_that_are_refused_reach_no_rule(engine: Engine, tmp_path: Path) -> None:
    """They end before any is asked."""
    (outcome,) = outcomes(engine, tmp_path, "  - {request: /orders/1, caller: late, expect: deny}\n")
    coverage = Coverage(engine.snapshot)
    coverage.count(outcome)
    assert outcome.decision.verdict == Deny(Reason.TOKEN_EXPIRED, provider="corporate")
    assert coverage.percent == 0


@pytest.mark.parametrize(
    ("case", "told"),
    [
        (
            "{request: /orders/1, caller: guest, expect: allow}",
            ["the policies take callers of corporate; one of partner is nobody to them"],
        ),
        (
            "{request: /orders/1, peer: web, expect: allow}",
            ["the policies take no peers; one of mesh is nobody to them"],
        ),
        ("{request: /orders/1, caller: alice, expect: deny}", []),
        ("{request: /orders/1, expect: allow}", []),
    ],
)
def test_a_caller_whom_no_policy_asks_for_is_told(tmp_path: Path, case: str, told: list[str]) -> None:
    """A named caller who is quietly nobody would be looked for in the rules, where the reason is not."""
    policy = POLICY.replace("spec:\n", "spec:\n  authentication: {providers: [corporate]}\n", 1)
    engine = Engine(load([PolicyText("orders.yaml", policy)], SETTINGS, 1), RequestRules())
    (made,) = cases(tmp_path, f"  - {case}\n")
    if made.caller_name == "guest":
        made = replace(made, caller=Identity("guest", "i", "partner", frozenset({"user"})))
    lines = list(failure_lines(run_case(engine, made)))
    assert [line.removeprefix("    caller    ") for line in lines if "nobody to them" in line] == told
