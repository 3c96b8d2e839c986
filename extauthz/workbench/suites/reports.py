"""What a run of suites is told as: lines for people, JSON for programs, JUnit XML for CI."""

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from extauthz.model import Allow, Deny, Identity
from extauthz.workbench.sketch import RequestSketch
from extauthz.workbench.suites.cases import Case
from extauthz.workbench.suites.coverage import RuleReached
from extauthz.workbench.suites.running import Outcome

__all__ = ["as_json", "as_junit", "coverage_lines", "explain_command", "failure_lines"]

_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def failure_lines(outcome: Outcome) -> Iterator[str]:
    """A failed case, as a person wants to see it."""
    case, verdict = outcome.case, outcome.decision.verdict
    yield f"{case.where}: FAILED {case.suite}: {case.name}"
    yield f"    asked     {case.asked}"
    width = max(len(mismatch.what) for mismatch in outcome.mismatches)
    for mismatch in outcome.mismatches:
        yield f"    {mismatch.what:{width}}  expected {mismatch.expected}, got {mismatch.got}"
    told = "allowed" if isinstance(verdict, Allow) else verdict.reason.word
    by = f" by {verdict.policy}/{verdict.rule}" if verdict.policy and verdict.rule else ""
    detail = f": {verdict.detail}" if isinstance(verdict, Deny) and verdict.detail else ""
    yield f"    answer    {told}{by}{detail}"
    if outcome.overlooked:
        yield f"    caller    {outcome.overlooked}"
    yield f"    explain   {explain_command(case)}"


def explain_command(case: Case) -> str:
    """The command that explains the same request."""
    sketch = case.sketch
    words = ["extauthz", "explain", sketch.method, f"{sketch.scheme}://{sketch.host}{sketch.path}"]
    for name, value in sketch.headers:
        words += ["-H", f"{name}: {value}"]
    for key, value in sketch.context:
        words += ["--context", f"{key}={value}"]
    plain = RequestSketch()
    for flag, value, usual in (
        ("--source", sketch.source_address, plain.source_address),
        ("--principal", sketch.source_principal, plain.source_principal),
        ("--sni", sketch.sni, plain.sni),
    ):
        if value != usual:
            words += [flag, value]
    caller = case.caller
    if isinstance(caller, Identity):
        words += ["--provider", caller.provider, "--subject", caller.subject]
        for role in sorted(caller.roles):
            words += ["--role", role]
        if caller.claims:
            words += ["--claims", json.dumps(dict(caller.claims), ensure_ascii=False)]
    elif caller is None:
        words.append("--anonymous")
    return shlex.join(words)


def coverage_lines(rules: Sequence[RuleReached], percent: int) -> Iterator[str]:
    """Which rules no case reaches."""
    missed = [rule for rule in rules if not rule.cases]
    for rule in missed:
        yield f"{rule.where}: no case reaches {rule.policy}/{rule.rule}"
    yield f"coverage: {len(rules) - len(missed)} of {len(rules)} rules, {percent} %"


def as_json(outcomes: Sequence[Outcome], rules: Sequence[RuleReached] | None, percent: int | None) -> dict[str, Any]:
    """Everything, for programs."""
    report: dict[str, Any] = {
        "passed": sum(outcome.passed for outcome in outcomes),
        "failed": sum(not outcome.passed for outcome in outcomes),
        "cases": [_case(outcome) for outcome in outcomes],
    }
    if rules is not None:
        report["coverage"] = {
            "percent": percent,
            "rules": [
                {"policy": rule.policy, "rule": rule.rule, "place": str(rule.where), "cases": rule.cases}
                for rule in rules
            ],
        }
    return report


def _case(outcome: Outcome) -> dict[str, Any]:
    case, verdict = outcome.case, outcome.decision.verdict
    return {
        "suite": case.suite,
        "name": case.name,
        "place": str(case.where),
        "asked": case.asked,
        "passed": outcome.passed,
        "decision": "allow" if isinstance(verdict, Allow) else "deny",
        "reason": verdict.reason.word,
        "policy": verdict.policy,
        "rule": verdict.rule,
        "overlooked": outcome.overlooked,
        "mismatches": [
            {"what": mismatch.what, "expected": mismatch.expected, "got": mismatch.got}
            for mismatch in outcome.mismatches
        ],
    }


def as_junit(outcomes: Sequence[Outcome], seconds: float) -> str:
    """The XML that CI servers read: one test suite for each suite, one test case for each case."""
    from xml.etree.ElementTree import Element, SubElement, indent, tostring

    by_suite: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        by_suite.setdefault((outcome.case.where.file, outcome.case.suite), []).append(outcome)
    failures = sum(not outcome.passed for outcome in outcomes)
    root = Element("testsuites", tests=str(len(outcomes)), failures=str(failures), errors="0", time=f"{seconds:.3f}")
    for (file, name), group in by_suite.items():
        failed = sum(not outcome.passed for outcome in group)
        suite = SubElement(
            root, "testsuite", name=_xml(name), tests=str(len(group)), failures=str(failed), errors="0", file=_xml(file)
        )
        for outcome in group:
            case = outcome.case
            test = SubElement(
                suite,
                "testcase",
                classname=_xml(name),
                name=_xml(case.name),
                file=_xml(file),
                line=str(case.where.line),
            )
            if not outcome.passed:
                first = outcome.mismatches[0]
                message = f"{first.what}: expected {first.expected}, got {first.got}"
                SubElement(test, "failure", message=_xml(message)).text = _xml("\n".join(failure_lines(outcome)))
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _xml(text: str) -> str:
    """The text without characters that XML can't hold."""
    return _NOT_XML.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)
