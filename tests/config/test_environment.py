import json
from collections.abc import Callable
from typing import Any

import pytest

from extauthz.config import Config
from extauthz.config.environment import variables

PROVIDER: dict[str, Any] = {"name": "a", "jwt": {"issuer": "https://a.example/", "audiences": ["x"]}}


@pytest.mark.parametrize(
    ("name", "text", "path", "value"),
    [
        ("EXTAUTHZ_CHECK__MAXMESSAGEBYTES", "131072", "check.max_message_bytes", 131072),
        ("EXTAUTHZ_CHECK__DEADLINE", "50ms", "check.deadline", 0.05),
        ("EXTAUTHZ_LISTEN__CHECK__ADDRESS", "127.0.0.1:1234", "listen.check.address", "127.0.0.1:1234"),
        ("EXTAUTHZ_LISTEN__CHECK__REFLECTION", "true", "listen.check.reflection", True),
        ("EXTAUTHZ_REQUEST__ENCODEDSLASH", "accept", "request.encoded_slash", "accept"),
        ("EXTAUTHZ_HEADERS__ALLOWED", '["x-a", "x-b-*"]', "headers.allowed", ("x-a", "x-b-*")),
        ("EXTAUTHZ_ROLES__INCLUDES", '{"admin": ["user"]}', "roles.includes", {"admin": ("user",)}),
        ("EXTAUTHZ_CHECK", '{"grace": "1s"}', "check.grace", 1.0),
        ("EXTAUTHZ_TELEMETRY__TRACES__EXPORTER", "none", "telemetry.traces.exporter", "none"),
        ("EXTAUTHZ_POLICIES__GROUP", "1.example", "policies.group", "1.example"),
    ],
)
def test_overrides(load: Callable[..., Any], name: str, text: str, path: str, value: Any) -> None:
    """A variable gives its setting, whatever the file says; lists and mappings are JSON."""
    found: Any = load("check: {deadline: 1s, grace: 2s}\nheaders: {allowed: [x-c]}", {name: text})
    for step in path.split("."):
        found = getattr(found, step)
    assert found == value


def test_every_setting_has_one() -> None:
    """Each key of the configuration down to lists and maps has a variable; elements of lists have none."""
    names = variables(Config)
    assert {"EXTAUTHZ_PROVIDERS", "EXTAUTHZ_ACCEPTRISKS", "EXTAUTHZ_LISTEN__ADMIN__TLS__CERTFILE"} <= set(names)
    assert not any(name.startswith("EXTAUTHZ_PROVIDERS__") for name in names)


def test_list_as_a_whole(load: Callable[..., Any]) -> None:
    """Providers are given as one JSON list, which replaces that of the file."""
    config = load(
        "providers: [{name: b, jwt: {issuer: 'https://b/', audiences: [y]}}]",
        {"EXTAUTHZ_PROVIDERS": json.dumps([PROVIDER])},
    )
    assert [provider.name for provider in config.providers] == ["a"]


def test_inner_beats_outer(load: Callable[..., Any]) -> None:
    """Of two variables the one for the inner setting wins, whatever their order."""
    environ = {"EXTAUTHZ_CHECK__GRACE": "3s", "EXTAUTHZ_CHECK": '{"grace": "1s", "deadline": "1s"}'}
    for variables_ in (environ, dict(reversed(environ.items()))):
        check = load("", variables_).check
        assert (check.grace, check.deadline) == (3.0, 1.0)


@pytest.mark.parametrize(
    "name",
    [
        "EXTAUTHZ_PORT",
        "EXTAUTHZ_SERVICE_HOST",
        "EXTAUTHZ_SERVICE_PORT_GRPC",
        "EXTAUTHZ_PORT_9000_TCP",
        "EXTAUTHZ_PORT_9000_TCP_ADDR",
        "EXTAUTHZ_CHECK_SERVICE_HOST",
        "EXTAUTHZ_CONFIG",
        "extauthz_check__grace",
        "OTEL_TRACES_EXPORTER",
        "PATH",
    ],
)
def test_foreign_variables(load: Callable[..., Any], name: str) -> None:
    """What Kubernetes injects for a Service called extauthz, and everything else, is not read."""
    assert load("", {name: "tcp://10.0.0.1:9000"}) == load()


def test_empty_is_unset(load: Callable[..., Any]) -> None:
    """An empty variable counts as unset, so that a compose file can pass on what may not be there."""
    assert load("check: {grace: 2s}", {"EXTAUTHZ_CHECK__GRACE": ""}).check.grace == 2.0


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("EXTAUTHZ_CHECK__GARCE", "no setting has this variable (did you mean EXTAUTHZ_CHECK__GRACE?)"),
        (
            "EXTAUTHZ_CHECK__MAX_MESSAGE_BYTES",
            "no setting has this variable (did you mean EXTAUTHZ_CHECK__MAXMESSAGEBYTES?)",
        ),
        ("EXTAUTHZ_PROVIDERS__0__NAME", "no setting has this variable (give the whole of EXTAUTHZ_PROVIDERS as JSON)"),
        (
            "EXTAUTHZ_ROLES__INCLUDES__ADMIN",
            "no setting has this variable (give the whole of EXTAUTHZ_ROLES__INCLUDES as JSON)",
        ),
    ],
)
def test_unknown_names(problems: Callable[..., list[str]], name: str, problem: str) -> None:
    """A name with ``__`` that no setting has is an error: a typing error must not leave the default in force."""
    assert problems("", {name: "hunter2"}) == [f"{name}: {problem}"]


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("EXTAUTHZ_CHECK__GRACE", "5", "check.grace: '5' is not a duration (write it as 150ms, 5s, 1m30s or 1h)"),
        ("EXTAUTHZ_CHECK__MAXMESSAGEBYTES", "many", "check.maxMessageBytes must be a whole number"),
        ("EXTAUTHZ_RESPONSES__REASONS", "1", "responses.reasons must be true or false"),
        ("EXTAUTHZ_POLICIES__FILES", "policies", "policies.files must be a list"),
    ],
)
def test_wrong_values(problems: Callable[..., list[str]], name: str, text: str, problem: str) -> None:
    """A wrong value is told with the name of its variable."""
    assert problems("check: {grace: 1s}", {name: text}) == [f"{name}: {problem}"]


def test_places_in_json(problems: Callable[..., list[str]]) -> None:
    """What is wrong in a list is told with its place in the variable."""
    text = json.dumps([{**PROVIDER, "jtw": 1}], indent=2)
    assert problems("", {"EXTAUTHZ_PROVIDERS": text}) == [
        "EXTAUTHZ_PROVIDERS:10:5: unknown key 'providers[0].jtw' (did you mean 'jwt'?)"
    ]
    [broken] = problems("", {"EXTAUTHZ_PROVIDERS": "[{"})
    assert broken.startswith("EXTAUTHZ_PROVIDERS:2:1: not valid YAML")


def test_checks_across_layers(problems: Callable[..., list[str]]) -> None:
    """A value of a variable is checked against those of the file, and told at the variable."""
    [problem] = problems(
        "listen: {admin: {address: 127.0.0.1:7000}}", {"EXTAUTHZ_LISTEN__CHECK__ADDRESS": "0.0.0.0:9000"}
    )
    assert problem.startswith("EXTAUTHZ_LISTEN__CHECK__ADDRESS: listen.check.address: 0.0.0.0:9000 can be reached")


def test_missing_beside_a_variable(problems: Callable[..., list[str]]) -> None:
    """What is missing in a section that only variables speak of is told at one of them."""
    assert problems("", {"EXTAUTHZ_LISTEN__CHECK__TLS__CERTFILE": "cert.pem"}) == [
        "EXTAUTHZ_LISTEN__CHECK__TLS__CERTFILE: 'listen.check.tls.keyFile' is required"
    ]
