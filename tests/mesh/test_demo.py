"""The demo notices when an answer is not the one that it promises."""

import json
from pathlib import Path

import pytest

from mesh.demo.clients import Answer
from mesh.demo.report import judge
from mesh.demo.scenario import Scenario, Step
from mesh.desk import TokenDesk
from mesh.issuer import Issuer

ALLOWED = Step("x", "GET / as user", lambda: Answer("200", "id-1"), "200", "allowed")


def log(folder: Path, **entry: object) -> Path:
    """An access log with one line."""
    path = folder / "access.log"
    path.write_text(json.dumps({"request_id": "id-1", **entry}) + "\n" + '{"half a line')
    return path


def test_what_is_expected_has_no_differences(tmp_path: Path) -> None:
    outcome = judge(ALLOWED, log(tmp_path, authz={"reason": "allowed", "policy": "p", "rule": "r"}))
    assert (outcome.differences, outcome.evidence.rule) == ((), "p/r")


def test_the_right_status_for_the_wrong_reason_is_a_difference(tmp_path: Path) -> None:
    assert judge(ALLOWED, log(tmp_path, authz={"reason": "no-rule"})).differences


def test_an_answer_without_a_check_is_a_difference(tmp_path: Path) -> None:
    """A request that reached the upstream unchecked must not pass for an allowed one."""
    assert judge(ALLOWED, log(tmp_path, details="via_upstream")).differences


def test_a_wrong_status_is_a_difference(tmp_path: Path) -> None:
    step = Step("x", "GET /", lambda: Answer("403", "id-1"), "200", "allowed")
    assert judge(step, log(tmp_path, authz={"reason": "allowed"})).differences


def test_a_failed_proof_is_a_difference(tmp_path: Path) -> None:
    step = Step("x", "GET /", lambda: Answer("200", "id-1"), "200", "allowed", proof=lambda answer: False, proves="it")
    assert judge(step, log(tmp_path, authz={"reason": "allowed"})).differences == ("not shown: it",)


def test_a_broken_connection_is_a_difference(tmp_path: Path) -> None:
    def ask() -> Answer:
        raise ConnectionResetError("gone")

    assert judge(Step("x", "GET /", ask, "200", "allowed"), log(tmp_path)).differences == ("no answer",)


def test_a_request_that_envoy_refused_is_found_by_its_port(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_text(json.dumps({"client": "127.0.0.1:5", "details": "http1.unexpected_underscore"}) + "\n")
    step = Step("x", "_", lambda: Answer("400", "", "127.0.0.1:5"), "400", "http1.unexpected_underscore", by="envoy")
    assert judge(step, path).differences == ()


def test_the_story_covers_what_it_has_to() -> None:
    """Roles, tokens, headers, paths, conditions, protocols; allowed and denied in each kind of protocol."""
    steps = Scenario("127.0.0.1:1", Issuer("127.0.0.1:1"), TokenDesk("http://127.0.0.1:1", Path("nowhere"))).steps()
    reasons = {step.reason for step in steps}
    assert len(steps) >= 30
    assert len({step.asked for step in steps}) == len(steps)
    assert {
        "allowed",
        "role-missing",
        "token-expired",
        "signature-invalid",
        "denied-by-rule",
        "path-ambiguous",
        "token-revoked",
    } <= reasons


@pytest.mark.parametrize("status", ["grpc 0", "grpc 7", "grpc 16", "101", "307", "400", "401", "403"])
def test_the_story_shows_every_kind_of_answer(status: str) -> None:
    assert status in {
        step.status
        for step in Scenario(
            "127.0.0.1:1", Issuer("127.0.0.1:1"), TokenDesk("http://127.0.0.1:1", Path("nowhere"))
        ).steps()
    }
