"""``extauthz test``: suites of requests and callers, with what must come of them."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from extauthz.cli.serve import ConfigFile
from extauthz.cli.terminal import complain, harmless, problem_lines
from extauthz.cli.validate import OutputForm
from extauthz.errors import ExtAuthzError, ProblemsError

if TYPE_CHECKING:
    from extauthz.app import Run
    from extauthz.config import Config
    from extauthz.workbench.suites import Case

__all__ = ["test"]

_ALL = 100
"""Percent."""

_NO_SUITE = """\
there is no test suite at {places}.
A suite is a file such as policies/orders.test.yaml:

    apiVersion: {group}/v1
    kind: PolicyTest
    metadata: {{name: orders}}
    spec:
      callers:
        alice: {{provider: {provider}, roles: [user]}}
      cases:
      - table:
          columns: [request, caller, expect]
          rows:
          - [GET /orders/42, alice, allow]
          - [GET /orders/42, null, no-credentials]
"""


def test(
    *paths: Annotated[str, Parameter(help="Suites, or folders with *.test.yaml; absent: where the policies are.")],
    config: ConfigFile = None,
    only: Annotated[
        str, Parameter(name=("-k", "--only"), help="Run the cases whose name or suite has this text.")
    ] = "",
    fail_fast: Annotated[bool, Parameter(negative="", help="Stop at the first case that fails.")] = False,
    coverage: Annotated[bool, Parameter(negative="", help="Tell which rules no case reaches.")] = False,
    min_coverage: Annotated[
        int | None, Parameter(help="Exit with 1 if the cases reach less than this many percent of the rules.")
    ] = None,
    junit: Annotated[str | None, Parameter(help="Write a JUnit report to this file, for CI.")] = None,
    watch: Annotated[bool, Parameter(negative="", help="Run again whenever a file changes, until Ctrl-C.")] = False,
    output: OutputForm = "text",
) -> int:
    """Run test suites of policies: the engine that the server runs, without a server.

    Exit code 0 if all came as expected, 1 if a case failed or too few rules are reached, 2 if a suite or a policy can't
    be read.
    """
    if min_coverage is not None and not 0 <= min_coverage <= _ALL:
        raise ExtAuthzError("--min-coverage: a number from 0 to 100")

    def once() -> int:
        return _once(
            config,
            paths,
            only=only,
            fail_fast=fail_fast,
            coverage=coverage or min_coverage is not None,
            min_coverage=min_coverage or 0,
            junit=junit,
            as_json=output == "json",
        )

    if not watch:
        return once()
    return _watch(once, lambda: _watched(config, paths))


def _once(
    config: str | None,
    paths: tuple[str, ...],
    *,
    only: str,
    fail_fast: bool,
    coverage: bool,
    min_coverage: int,
    junit: str | None,
    as_json: bool,
) -> int:
    from extauthz import app
    from extauthz.config import load_config

    loaded = load_config(config, os.environ)

    def chosen(case: "Case") -> bool:
        return only in case.name or only in case.suite

    run = app.run_suites(loaded, _places(loaded, paths), chosen=chosen, coverage=coverage, stop_at_failure=fail_fast)
    if not run.suites:
        provider = loaded.providers[0].name if loaded.providers else "corporate"
        places = ", ".join(_places(loaded, paths))
        raise ExtAuthzError(_NO_SUITE.format(places=places, group=loaded.policies.group, provider=provider))
    if not run.outcomes:
        raise ExtAuthzError(f"no case has {only!r} in its name or in that of its suite")
    if junit is not None:
        from extauthz.workbench.suites.reports import as_junit

        try:
            Path(junit).write_text(as_junit(run.outcomes, run.seconds), "utf-8")
        except OSError as error:
            raise ExtAuthzError(f"{junit} can't be written: {error.strerror}") from None
    _tell(run, coverage=coverage, as_json=as_json)
    enough = not coverage or run.percent >= min_coverage
    if not enough and not as_json:
        complain(f"the cases reach {run.percent} % of the rules, and must reach {min_coverage} %")
    return 0 if enough and not run.failed else 1


def _tell(run: "Run", *, coverage: bool, as_json: bool) -> None:
    from extauthz.workbench.suites import reports

    if as_json:
        rules = run.rules if coverage else None
        print(json.dumps(reports.as_json(run.outcomes, rules, run.percent if coverage else None), indent=2))
        return
    for outcome in run.outcomes:
        if not outcome.passed:
            for line in reports.failure_lines(outcome):
                print(harmless(line))
    if coverage:
        for line in reports.coverage_lines(run.rules, run.percent):
            print(harmless(line))
    passed = len(run.outcomes) - run.failed
    failed = f", {run.failed} failed" if run.failed else ""
    suites = f"{run.suites} {'suite' if run.suites == 1 else 'suites'}"
    print(f"{passed} of {len(run.outcomes)} cases passed{failed} ({suites}, {run.seconds:.2f} s)")


def _places(config: "Config", paths: tuple[str, ...]) -> list[str]:
    """Where suites are looked for: where somebody says, else beside the policies."""
    if paths:
        return list(paths)
    found = (path if Path(path).is_dir() else str(Path(path).parent) for path in config.policies.files)
    return [path for path in dict.fromkeys(found) if Path(path).is_dir()]


def _watched(config: str | None, paths: tuple[str, ...]) -> list[str]:
    """The files and folders of which a change runs everything again; those that are there."""
    from extauthz.config import DEFAULT_FILE, load_config

    found = [config or DEFAULT_FILE, *paths]
    try:
        loaded = load_config(config, os.environ)
        found += [*loaded.policies.files, *_places(loaded, paths)]
    except ProblemsError:
        found.append(str(Path(config or DEFAULT_FILE).parent))
    return [path for path in dict.fromkeys(found) if Path(path).exists()] or ["."]


def _watch(once: Callable[[], int], watched: Callable[[], list[str]]) -> int:
    """Run, and again after each change; what can't be read is told, and waited for."""
    from watchfiles import watch as changes

    while True:
        try:
            once()
        except ProblemsError as error:
            print("\n".join(problem_lines(error.problems, sys.stdout)))
        except ExtAuthzError as error:
            print(harmless(str(error).splitlines()[0]))
        print("waiting for a change; Ctrl-C ends", flush=True)
        for _ in changes(*watched(), raise_interrupt=True, rust_timeout=1000):
            break
        print()
