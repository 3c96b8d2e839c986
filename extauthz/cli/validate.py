"""``extauthz validate``: everything that is wrong with a configuration and its policies, without starting anything."""

import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from extauthz.cli.serve import ConfigFile
from extauthz.cli.terminal import problem_lines
from extauthz.errors import ExtAuthzError, Problem, ProblemsError

if TYPE_CHECKING:
    from extauthz.workbench.lint import Finding

__all__ = ["OutputForm", "validate"]

OutputForm = Annotated[Literal["text", "json"], Parameter(help="text for people, json for programs.")]


def validate(
    *paths: Annotated[str, Parameter(help="Policy files or folders to check together with the configured ones.")],
    config: ConfigFile = None,
    strict: Annotated[bool, Parameter(negative="", help="Exit with 1 for warnings, too.")] = False,
    ignore: Annotated[
        list[str] | None, Parameter(help="A code of warnings to leave out, such as unknown-role.", negative="")
    ] = None,
    output: OutputForm = "text",
) -> int:
    """Check a configuration and its policies; nothing is started, fetched or changed.

    What the configuration refers to in Vault is read, and given back. Each problem is a line
    `file:line:column: message (hint)`. What is legal and looks wrong is a warning, with a code:
    a rule that no request can match, a role that nobody can give, a deny that a client can step around, and so on.
    Exit code 0 if there is no problem, else 1.
    """
    from extauthz import app
    from extauthz.workbench.lint import CODES

    counts: dict[str, int] = {}
    problems: Sequence[Problem]
    findings: Sequence[Finding] = ()
    unknown = sorted(set(ignore or ()) - CODES.keys())
    if unknown:
        raise ExtAuthzError(f"no warning has the code {unknown[0]!r}; known are: {', '.join(CODES)}")
    try:
        with app.Secrets(os.environ, passing=True) as secrets:
            written = secrets.load(config)
            report = app.validate(written, paths, config_file=config or "extauthz.yaml", ignore=ignore or ())
        problems, findings = report.problems, report.findings
        counts = {"policies": report.policies, "rules": report.rules, "providers": report.providers}
    except ProblemsError as error:
        problems = error.problems
    code = 1 if problems or (strict and findings) else 0
    if output == "json":
        print(json.dumps(_as_json(problems, findings, counts, ok=code == 0), indent=2))
    else:
        warnings = [Problem(found.where, f"warning[{found.code}]: {found.message}", found.mend) for found in findings]
        told = [*problem_lines(problems, sys.stdout), *problem_lines(warnings, sys.stdout)]
        for line in [*told, _summary(len(problems), len(findings), counts)]:
            print(line)
    return code


def _summary(problems: int, warnings: int, counts: dict[str, int]) -> str:
    warned = f"{warnings} {'warning' if warnings == 1 else 'warnings'}" if warnings else ""
    if problems:
        count = f"{problems} {'problem' if problems == 1 else 'problems'}" + (f", {warned}" if warned else "")
        return count if counts else f"{count}; policies are looked at once the configuration can be read"
    one = {"policies": "policy", "rules": "rule", "providers": "provider"}
    text = ", ".join(f"{count} {one[name] if count == 1 else name}" for name, count in counts.items())
    fine = f"valid, with {warned}" if warned else "fine"
    return f"{fine}: {text}" + ("" if counts.get("policies") else "; without a policy every request is denied")


def _as_json(
    problems: Sequence[Problem], findings: "Sequence[Finding]", counts: dict[str, int], *, ok: bool
) -> dict[str, Any]:
    """The report for programs. The counts are missing if the configuration itself could not be read."""
    return {
        "ok": ok,
        "problems": [
            {
                "file": problem.where.file,
                "line": problem.where.line,
                "column": problem.where.column,
                "message": problem.message,
                "hint": problem.hint,
            }
            for problem in problems
        ],
        "warnings": [
            {
                "code": found.code,
                "file": found.where.file,
                "line": found.where.line,
                "column": found.where.column,
                "message": found.message,
                "hint": found.mend,
            }
            for found in findings
        ],
        **counts,
    }
