"""``extauthz validate``: everything that is wrong with a configuration and its policies, without starting anything."""

import json
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from extauthz.cli.serve import ConfigFile
from extauthz.cli.terminal import problem_lines
from extauthz.errors import Problem, ProblemsError

__all__ = ["OutputForm", "validate"]

OutputForm = Annotated[Literal["text", "json"], Parameter(help="text for people, json for programs.")]


def validate(
    *paths: Annotated[str, Parameter(help="Policy files or folders to check together with the configured ones.")],
    config: ConfigFile = None,
    output: OutputForm = "text",
) -> int:
    """Check a configuration and its policies; nothing is started, fetched or changed.

    Each problem is a line `file:line:column: message (hint)`. Exit code 0 if there is none, else 1.
    """
    from extauthz import app
    from extauthz.config import load_config

    counts: dict[str, int] = {}
    problems: Sequence[Problem]
    try:
        report = app.validate(load_config(config, os.environ), paths)
        problems = report.problems
        counts = {"policies": report.policies, "rules": report.rules, "providers": report.providers}
    except ProblemsError as error:
        problems = error.problems
    if output == "json":
        print(json.dumps(_as_json(problems, counts), indent=2))
    else:
        for line in [*problem_lines(problems, sys.stdout), _summary(len(problems), counts)]:
            print(line)
    return 1 if problems else 0


def _summary(problems: int, counts: dict[str, int]) -> str:
    if problems:
        count = f"{problems} {'problem' if problems == 1 else 'problems'}"
        return count if counts else f"{count}; policies are looked at once the configuration can be read"
    one = {"policies": "policy", "rules": "rule", "providers": "provider"}
    text = ", ".join(f"{count} {one[name] if count == 1 else name}" for name, count in counts.items())
    return f"fine: {text}" + ("" if counts.get("policies") else "; without a policy every request is denied")


def _as_json(problems: Sequence[Problem], counts: dict[str, int]) -> dict[str, Any]:
    """The report for programs. The counts are missing if the configuration itself could not be read."""
    return {
        "ok": not problems,
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
        **counts,
    }
