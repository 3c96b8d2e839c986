"""``apiKeys`` and ``allowedOrigins`` of providers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from extauthz.app.providers import authenticator
from extauthz.errors import ConfigError
from extauthz.fetch import HttpFetcher
from tests.identity.issuer import request, word
from tests.identity.key_file import entry, fresh_key, write

Load = Callable[..., Any]
Problems = Callable[..., list[str]]


def one(kind: str, rest: str = "") -> str:
    return f"providers: [{{name: a, {kind}{rest}}}]"


def test_defaults(load: Load) -> None:
    """Keys stand in x-api-key, alone; their prefix is eak_; the path is relative to the configuration."""
    provider = load(one("apiKeys: {file: keys.yaml}")).providers[0]
    assert provider.api_keys.prefix == "eak_"
    assert provider.api_keys.file == "keys.yaml"
    assert [(header.name, header.prefix) for header in provider.places.headers] == [("x-api-key", "")]
    written = load(one("apiKeys: {folder: keys}", ", from: {headers: [{name: authorization, prefix: 'ApiKey '}]}"))
    assert [header.name for header in written.providers[0].places.headers] == ["authorization"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (one("apiKeys: {}"), "apiKeys: does not say where the keys are (give file or folder)"),
        (one("apiKeys: {file: a, folder: b}"), "keys are in a file or in a folder, not in both"),
        (one("apiKeys: {file: a, prefix: sk-}"), "apiKeys.prefix: is not the prefix of API keys"),
        (one("apiKeys: {file: a, prefix: eyJ_}"), "apiKeys.prefix: is not the prefix of API keys"),
        (one("apiKeys: {file: a}", ", fetch: {allowHttp: true}"), "fetch: API keys are not fetched"),
        (one("apiKeys: {file: a}", ", roles: {claims: [x]}"), "API keys have no claims"),
        (
            one("apiKeys: {file: a}", ", jwt: {issuer: 'https://a.example/', audiences: [x]}"),
            "provider 'a' is of one kind, not both jwt and apiKeys",
        ),
        (
            one(
                "apiKeys: {file: a}", ", roles: {mayGrant: [x]}}, {name: b, apiKeys: {file: b}, roles: {mayGrant: [x]}"
            ),
            "prefix 'eak_' is already there",
        ),
        (
            one("apiKeys: {file: a}", ", from: {headers: [{name: x}], allowedOrigins: ['https://a']}"),
            "there is neither",
        ),
        (one("apiKeys: {file: a}", ", from: {cookies: [x], allowedOrigins: []}"), "must not be empty"),
        *(
            (one("apiKeys: {file: a}", f", from: {{cookies: [x], allowedOrigins: ['{origin}']}}"), "is not an origin")
            for origin in ("*", "null", "app.example.com", "https://app.example.com/", "https://App.example.com", "")
        ),
    ],
)
def test_problems(problems: Problems, text: str, told: str) -> None:
    """One each, with the way out."""
    [problem] = problems(text)
    assert told in problem


def test_several_providers_need_may_grant(problems: Problems) -> None:
    """Whatever their kinds: one could otherwise name the roles of another."""
    found = problems(
        "providers: [{name: a, apiKeys: {file: a}}, {name: b, jwt: {issuer: 'https://a.example/', audiences: [x]}}]"
    )
    assert ["needs roles.mayGrant" in problem for problem in found] == [True, True]


def test_from_configuration_to_caller(load: Load, tmp_path: Path) -> None:
    """What is written becomes a provider that knows its keys, and whose roles are confined."""
    key = fresh_key("acme_")
    load()
    write(tmp_path / "keys.yaml", entry(key, roles="[reader, admin]"))
    config = load(
        """\
        providers:
        - name: partners
          apiKeys: {file: keys.yaml, prefix: acme_}
          from: {headers: [{name: x-api-key}], cookies: [key], allowedOrigins: ["https://app.example.com"]}
          roles: {map: {reader: user}, mayGrant: [user]}
        """
    )
    subject = authenticator(config, HttpFetcher(), lambda: 0.0)
    found: Any = subject.authenticate(request({"x-api-key": key}))
    assert (found.provider, found.roles) == ("partners", {"user"})
    for origin, outcome in (("https://app.example.com", "identity"), ("https://evil.example", "credentials-invalid")):
        assert word(subject.authenticate(request({"cookie": f"key={key}", "origin": origin}))) == outcome


def test_a_broken_key_file_is_a_problem_of_the_configuration(load: Load) -> None:
    """With its own file, line and column, as all others."""
    config = load(one("apiKeys: {file: keys.yaml}"))
    Path("keys.yaml").write_text("keys:\n- id: x\n")
    with pytest.raises(ConfigError) as caught:
        authenticator(config, HttpFetcher(), lambda: 0.0)
    assert str(caught.value.problems[0].where) == "keys.yaml:2:3"
