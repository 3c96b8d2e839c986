"""Test suites of policies, run as the server would decide: the configuration's rules, the policies that each suite names."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from extauthz.app.engine import engine
from extauthz.app.providers import credential_places, vouch
from extauthz.config import Config
from extauthz.errors import PolicyError
from extauthz.telemetry.redaction import is_sensitive, mask
from extauthz.workbench.engine import Engine
from extauthz.workbench.suites import Case, Coverage, Outcome, RuleReached, read_suites, run_case
from extauthz.workbench.suites.finding import find_suites
from extauthz.workbench.suites.hiding import without_credentials

__all__ = ["Run", "run_suites"]


@dataclass(slots=True)
class Run:
    """What came of all suites."""

    suites: int = 0
    outcomes: list[Outcome] = field(default_factory=list)
    """As they can be shown: without what may be a credential."""
    rules: list[RuleReached] = field(default_factory=list)
    """Every rule of all policies that were tested, with the cases that reach it; empty if nobody asked."""
    percent: int = 100
    """How many of them are reached."""
    seconds: float = 0.0

    @property
    def failed(self) -> int:
        """Cases of which something came otherwise than expected."""
        return sum(not outcome.passed for outcome in self.outcomes)


def run_suites(
    config: Config,
    paths: Sequence[str],
    *,
    chosen: Callable[[Case], bool],
    coverage: bool,
    stop_at_failure: bool,
) -> Run:
    """Read the suites at some paths and run the cases that are chosen.

    Raises:
        PolicyError: Something is wrong with a suite, or with the policies that it names; all problems are in it.
    """
    begin = time.monotonic()
    providers = [provider.name for provider in config.providers]
    suites, problems = read_suites(
        find_suites(paths), group=config.policies.group, providers=providers, vouch=vouch(config)
    )
    engines: dict[tuple[str, ...], Engine] = {}
    for suite in suites:
        if suite.policies not in engines:
            try:
                engines[suite.policies] = engine(config, suite.policies or None)
            except PolicyError as error:
                problems += error.problems
    if problems:
        raise PolicyError(problems)
    run = Run(len(suites))
    reached = {files: Coverage(made.snapshot) for files, made in engines.items()} if coverage else {}
    asked = ((suite.policies, case) for suite in suites for case in suite.cases if chosen(case))
    shown = without_credentials(credential_places(config), mask=mask, sensitive=is_sensitive)
    for outcome in _outcomes(asked, engines, reached):
        run.outcomes.append(shown(outcome))
        if stop_at_failure and not outcome.passed:
            break
    run.rules = _merged(reached)
    if run.rules:
        run.percent = 100 * sum(rule.cases > 0 for rule in run.rules) // len(run.rules)
    run.seconds = time.monotonic() - begin
    return run


def _outcomes(
    asked: Iterator[tuple[tuple[str, ...], Case]],
    engines: dict[tuple[str, ...], Engine],
    reached: dict[tuple[str, ...], Coverage],
) -> Iterator[Outcome]:
    for files, case in asked:
        outcome = run_case(engines[files], case)
        if files in reached:
            reached[files].count(outcome)
        yield outcome


def _merged(reached: dict[tuple[str, ...], Coverage]) -> list[RuleReached]:
    """The rules of all sets; one that is in several is one."""
    by_place: dict[object, RuleReached] = {}
    for coverage in reached.values():
        for rule in coverage.rules():
            known = by_place.get(rule.where)
            cases = rule.cases + (known.cases if known else 0)
            by_place[rule.where] = RuleReached(rule.policy, rule.rule, rule.where, cases)
    return sorted(by_place.values(), key=lambda rule: (rule.where, rule.policy, rule.rule))
