"""What is wrong with a configuration, its policies and the files that they name, without opening or fetching anything."""

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from extauthz.app.open_secrets import open_secrets
from extauthz.app.providers import authenticator, provider_roles
from extauthz.app.token_clients import ClientFiles
from extauthz.app.values import listener, policy_settings
from extauthz.config import Config
from extauthz.errors import ConfigError, PolicyError, Position, Problem, ProblemsError, ServingError
from extauthz.fetch import HttpFetcher
from extauthz.identity import ClientAssertions
from extauthz.policy import load
from extauthz.serving import Certificates, Listener, check_listener, read_policy_texts, unobtrusive
from extauthz.tokens.metadata import ASSERTION_ALGORITHMS
from extauthz.workbench.lint import Finding, lint, service_findings

__all__ = ["ValidationReport", "validate"]


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """The problems, sorted by place, and how much was looked at."""

    problems: tuple[Problem, ...]
    policies: int = 0
    rules: int = 0
    providers: int = 0
    findings: tuple[Finding, ...] = ()
    """What is legal and looks wrong; empty if there are problems with policies."""


def validate(
    config: Config,
    extra_files: Sequence[str] = (),
    *,
    config_file: str = "extauthz.yaml",
    ignore: Collection[str] = (),
) -> ValidationReport:
    """Check everything that the server would check at its start, and look for what is legal and looks wrong.

    ``extra_files`` are policies besides those in force; findings about providers are placed in ``config_file``; ``ignore``
    names codes of findings that nobody wants to hear of.
    """
    problems = [
        *_listener_problems(config),
        *_provider_problems(config),
        *_log_problems(config),
        *_token_problems(config),
    ]
    absent_by_default = "files" not in config.policies.model_fields_set
    texts, unreadable = read_policy_texts([*config.policies.files, *extra_files])
    problems += [
        problem
        for problem in unreadable
        if not (absent_by_default and problem.where == Position(config.policies.files[0]))
    ]
    policies = rules = 0
    findings: tuple[Finding, ...] = ()
    try:
        with unobtrusive():  # full collections would cost a large set a third of its time
            snapshot = load(texts, policy_settings(config), generation=1)
        loaded = (*snapshot.policies, *snapshot.shadows)
        policies = len(loaded)
        rules = sum(len(policy.rules) for policy in loaded)
        beside = (*_service_findings(config, config_file), *_secret_findings(config))
        findings = lint(snapshot, provider_roles(config), config=config_file, ignore=ignore, beside=beside)
    except PolicyError as error:
        problems += error.problems
    ordered = ProblemsError(problems).problems
    return ValidationReport(ordered, policies, rules, len(config.providers), findings)


def _listener_problems(config: Config) -> list[Problem]:
    problems: list[Problem] = []
    listeners = {"listen.check": config.listen.check, "listen.admin": config.listen.admin}
    if config.tokens is not None:
        listeners["listen.http"] = config.listen.http
    for name, settings in listeners.items():
        try:
            values = listener(settings)
            message = check_listener(name, values)
            if message is None:
                _read_certificates(name, values)
        except ServingError as error:
            message = str(error)
        if message:
            # Most messages begin with the setting that they are about.
            setting, _, rest = message.partition(": ") if message.startswith(name) else (name, "", message)
            problems.append(Problem(Position(setting), rest))
    return problems


def _log_problems(config: Config) -> list[Problem]:
    sink = config.telemetry.decisions.sink
    if sink in ("none", "stdout", "otlp") or Path(sink).parent.is_dir():
        return []
    return [
        Problem(Position("telemetry.decisions.sink"), f"{sink} can't be written: its folder is missing", "create it")
    ]


def _token_problems(config: Config) -> list[Problem]:
    """What is wrong with the files of the token service, which makes and opens nothing yet."""
    tokens = config.tokens
    if tokens is None:
        return []
    problems = []
    if tokens.audit is not None and not Path(tokens.audit.file).parent.is_dir():
        message = f"{tokens.audit.file} can't be written: its folder is missing"
        problems.append(Problem(Position("tokens.audit.file"), message, "create it"))
    if config.store.file and not Path(config.store.file).parent.is_dir():
        message = f"{config.store.file} can't be opened: its folder is missing"
        problems.append(Problem(Position("store.url"), message, "create it"))
    try:
        ClientFiles(tokens, ClientAssertions(frozenset(ASSERTION_ALGORITHMS))).read()
    except ConfigError as error:
        problems += error.problems
    return problems


def _service_findings(config: Config, config_file: str) -> Iterator[Finding]:
    if config.tokens is not None:
        believed = {provider.jwt.issuer for provider in config.providers if provider.jwt is not None}
        yield from service_findings(config.tokens.issuer, believed, config_file)


def _secret_findings(config: Config) -> Iterator[Finding]:
    for one in open_secrets(config):
        message = f"{one.readers}, and it holds a secret: {one.setting}"
        yield Finding("secret-readable", Position(one.path), message, one.readers.mend)


def _read_certificates(name: str, values: Listener) -> None:
    """Read the certificates of a listener as the server would. Raises ServingError."""
    if values.tls is not None:
        Certificates(name, values.tls)


def _provider_problems(config: Config) -> list[Problem]:
    try:
        authenticator(config, HttpFetcher(), time.time)
    except ConfigError as error:
        return list(error.problems)
    return []
