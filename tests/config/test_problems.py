from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extauthz.config import Config, load_config
from extauthz.errors import ConfigError, Problem


def test_all_at_once(problems: Callable[..., list[str]]) -> None:
    """Faults of every kind are told together, each at its place, sorted by it."""
    found = problems(
        """\
        listen:
          check: {address: "0.0.0.0:9000"}
          admin: {adress: 127.0.0.1:8081}
        check: {deadline: 150, grace: 1s, grace: 2s}
        providers:
        - name: a
          jwt: {issuer: https://a.example/, audiences: ["*"]}
        - name: a
          jwt: {issuer: 3, audiences: [x]}
        - introspection: {}
        roles: {includes: {a: [b], b: [a]}}
        telemtry: {}
        workers: 0
        """,
        {"EXTAUTHZ_CHECK__GARCE": "1s"},
    )
    assert [problem.split(" ")[0] for problem in found] == [
        "EXTAUTHZ_CHECK__GARCE:",
        "2:20:",
        "3:11:",
        "4:19:",
        "4:35:",
        "6:3:",
        "7:48:",
        "9:17:",
        "10:3:",
        "10:18:",
        "10:18:",
        "11:23:",
        "12:1:",
        "13:10:",
    ]


def test_unknown_key(problems: Callable[..., list[str]]) -> None:
    """An unknown key is told with the nearest known one."""
    assert problems("check: {deadlin: 1s}") == ["1:9: unknown key 'check.deadlin' (did you mean 'deadline'?)"]


def test_duplicate_key(problems: Callable[..., list[str]]) -> None:
    """A key that is given twice is an error, since parsers differ in which one counts."""
    assert problems("check: {grace: 1s}\ncheck: {grace: 2s}") == ["2:1: key 'check' is already given on line 1"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('check: {maxMessageBytes: "262144"}', "1:26: check.maxMessageBytes must be a whole number"),
        ("check: {maxMessageBytes: 262144.0}", "1:26: check.maxMessageBytes must be a whole number"),
        ("check: {maxMessageBytes: true}", "1:26: check.maxMessageBytes must be a whole number"),
        ("responses: {reasons: 1}", "1:22: responses.reasons must be true or false"),
        ("responses: {reasons: yes}", "1:22: responses.reasons must be true or false"),
        ("policies: {files: policies}", "1:19: policies.files must be a list"),
        ("policies: {files: []}", "1:19: policies.files: must not be empty"),
        ("policies: {files: [1]}", "1:20: policies.files[0] must be a string"),
        ("policies: {files: [' ']}", "1:20: policies.files[0]: must not be empty"),
        ("providers: {}", "1:12: providers must be a list"),
        ("check:", "1:7: check must be a mapping"),
        ("request: {encodedSlash: allow}", "1:25: request.encodedSlash must be 'refuse' or 'accept'"),
    ],
)
def test_wrong_types(problems: Callable[..., list[str]], text: str, problem: str) -> None:
    """A value of another type is an error with its place, never converted."""
    assert problems(text) == [problem]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- a", "1:1: the configuration must be a mapping of keys to values"),
        ("just text", "1:1: the configuration must be a mapping of keys to values"),
        ("a: [", "2:1: not valid YAML"),
        ("{}\n---\n{}", "3:1: the configuration is one YAML document (remove the --- before this)"),
        ("check: &a {}\nroles: *a", "1:8: anchors and aliases are not allowed (write the value out at both places)"),
    ],
)
def test_other_documents(problems: Callable[..., list[str]], text: str, problem: str) -> None:
    """A file that is not one mapping is refused."""
    [found] = problems(text)
    assert found.startswith(problem)


def test_not_text(tmp_path: Path) -> None:
    """A file that is not UTF-8 is refused with the line."""
    file = tmp_path / "latin.yaml"
    file.write_bytes(b"policies:\n  group: caf\xe9\n")
    with pytest.raises(ConfigError, match=r"latin\.yaml:2: is not UTF-8 text"):
        load_config(str(file), {})


def test_message_size(load: Callable[..., Any], problems: Callable[..., list[str]]) -> None:
    """A message limit below 64 KiB would refuse ordinary requests, one over 64 MiB would invite large ones."""
    assert load("check: {maxMessageBytes: 65536}").check.max_message_bytes == 65536
    assert problems("check: {maxMessageBytes: 65535}") == [
        "1:26: check.maxMessageBytes: must be from 65536 to 67108864, and is 65535"
    ]


keys = st.sampled_from(
    [
        "listen",
        "check",
        "providers",
        "roles",
        "includes",
        "jwt",
        "name",
        "from",
        "headers",
        "policies",
        "files",
        "http",
        "issuer",
        "audiences",
        "address",
        "tls",
        "telemetry",
        "decisions",
        "sink",
        "acceptRisks",
        "jwks",
        "claims",
        "map",
    ]
)
scalars = st.sampled_from([None, True, 0, 1.5, "", "a", "*", "5s", "0.0.0.0:1", "unix:x", "https://a/", "any-audience"])
trees: st.SearchStrategy[Any] = st.recursive(
    scalars, lambda inner: st.dictionaries(keys, inner, max_size=4) | st.lists(inner, max_size=3), max_leaves=20
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=st.dictionaries(keys, trees, max_size=5))
def test_any_tree(tmp_path: Path, tree: dict[str, Any]) -> None:
    """Whatever a file says, loading gives a configuration, or problems with places in that file."""
    file = tmp_path / "any.yaml"
    file.write_text(yaml.safe_dump(tree), "utf-8")
    found: list[Problem] = []
    try:
        assert isinstance(load_config(str(file), {}), Config)
    except ConfigError as error:
        found += error.problems
        assert found, "an error without a problem"
    assert all(problem.where.file == str(file) for problem in found)
    assert found == sorted(found, key=lambda problem: (problem.where, problem.message))


@pytest.mark.parametrize("share", ["1.5", "-0.1", ".nan", "half"])
def test_a_share_is_between_none_and_all(problems: Callable[..., list[str]], share: str) -> None:
    """Of what is recorded."""
    (problem,) = problems(f"telemetry: {{decisions: {{sample: {{allow: {share}}}}}}}")
    assert "telemetry.decisions.sample.allow" in problem


def test_what_can_not_be_left_out_of_a_record_is_told(problems: Callable[..., list[str]]) -> None:
    """With what can."""
    (problem,) = problems("telemetry: {decisions: {omit: [subject, reason]}}")
    assert "telemetry.decisions.omit[1]: 'reason' is no field that can be left out" in problem
    assert "client, detail" in problem
