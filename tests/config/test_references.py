"""Values that are in Vault: ``vault:<path>#<field>``."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from extauthz.config import Config, SecretSource, Vault, load_config
from extauthz.errors import ConfigError, Position, Problem, UpstreamError

CANARY = "hunter2"
PROVIDER = """
vault: {{address: "https://vault.example.com:8200"}}
providers:
- name: corporate
  introspection:
    endpoint: https://login.example.com/introspect
    clientId: {client_id}
    clientSecretFile: {secret}
"""


class Source:
    """Secrets of a test, by path and field."""

    def __init__(self, **secrets: Any) -> None:
        self.secrets = secrets
        self.opened: list[Vault] = []

    def __call__(self, section: Vault) -> SecretSource:
        self.opened.append(section)
        return self

    def value(self, path: str, field: str) -> Any:
        if field not in self.secrets:
            raise UpstreamError(f"{path}: it has no field {field!r}")
        return self.secrets[field]

    def file(self, path: str, field: str) -> str:
        self.value(path, field)
        return f"/dev/shm/{path.replace('/', '-')}-{field}"


def load(folder: Path, text: str, source: Any = None, environ: Mapping[str, str] | None = None) -> Config:
    file = folder / "extauthz.yaml"
    file.write_text(dedent(text), "utf-8")
    return load_config(str(file), environ or {}, source)


def problems(folder: Path, text: str, source: Any = None, environ: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text, source, environ)
    return [str(problem).removeprefix(f"{folder}/extauthz.yaml:") for problem in caught.value.problems]


def test_values_and_files(tmp_path: Path) -> None:
    """A key that names a file gets one, which is not relative to anything; all others get the value."""
    text = PROVIDER.format(client_id='"vault:secret/auth#id"', secret='"vault:#secret"')
    provider = load(tmp_path, text, Source(id="me", secret=CANARY)).providers[0].introspection
    assert provider is not None
    assert (provider.client_id, provider.client_secret_file) == ("me", "/dev/shm/-secret")


def test_files_in_a_list(tmp_path: Path) -> None:
    """Both secrets of a client while one replaces the other: a value there would be shown as a path that can't be read."""
    text = """
    vault: {address: "https://vault.example.com:8200"}
    tokens:
      issuer: https://auth.example.com
      clients: [{id: shop, audiences: [orders], secretFiles: ["vault:shop#now", "vault:shop#next"]}]
    """
    tokens = load(tmp_path, text, Source(now=CANARY, next=CANARY)).tokens
    assert tokens is not None
    assert tokens.clients[0].secret_files == ("/dev/shm/shop-now", "/dev/shm/shop-next")


def test_values_of_other_kinds(tmp_path: Path) -> None:
    """Numbers, lists and mappings are what they are; and in a variable of the environment it works as well."""
    text = 'vault: {address: "https://v"}\nroles: {includes: "vault:a/b#roles"}\ncheck: {maxInFlight: "vault:a/b#most"}'
    source = Source(roles={"admin": ["user"]}, most=2, file="x")
    config = load(tmp_path, text, source, {"EXTAUTHZ_STORE__PASSWORDFILE": "vault:/a/b#file"})
    assert (config.roles.includes, config.check.max_in_flight) == ({"admin": ("user",)}, 2)
    assert config.store.password_file == "/dev/shm/a-b-file"
    assert len(source.opened) == 1


def test_vault_is_opened_only_if_something_refers_to_it(tmp_path: Path) -> None:
    """And with what is said about it in the file and in the environment."""
    source = Source(id="me")
    load(tmp_path, 'vault: {address: "https://v"}', source)
    assert source.opened == []
    environ = {"VAULT_ADDR": "https://elsewhere", "VAULT_NAMESPACE": "team", "SECRETS_PATH": "secret/auth/"}
    load(tmp_path, 'vault: {address: "https://v"}\nstore: {username: "vault:#id"}', source, environ)
    [section] = source.opened
    assert (section.address, section.namespace, section.secrets_path) == ("https://v", "team", "secret/auth")


def test_without_anybody_to_ask(tmp_path: Path) -> None:
    """A command that asks no provider needs no Vault: names of providers are there, and what can't be read has its default."""
    text = PROVIDER.format(client_id='"vault:secret/auth#id"', secret='"vault:#secret"') + 'store: {url: "vault:#url"}'
    config = load(tmp_path, text)
    assert [provider.name for provider in config.providers] == ["corporate"]
    assert config.store.url == "memory:"


def test_what_can_not_be_read_is_told_with_all_else(tmp_path: Path) -> None:
    """One cause is one problem, at its first place, beside what is wrong elsewhere."""

    class Down(Source):
        def value(self, path: str, field: str) -> Any:
            raise UpstreamError("https://v: can't be reached: Connection refused")

    text = PROVIDER.format(client_id='"vault:secret/auth#id"', secret='"vault:#secret"') + "check: {deadlin: 1s}"
    assert problems(tmp_path, text, Down()) == [
        "7:15: can't be read from Vault: https://v: can't be reached: Connection refused (and 1 more)",
        "9:9: unknown key 'check.deadlin' (did you mean 'deadline'?)",
    ]


def test_a_vault_that_can_not_be_opened(tmp_path: Path) -> None:
    """As without a way to log in."""

    def opener(section: Vault) -> SecretSource:
        raise ConfigError([Problem(Position("vault.auth"), "it is not said how to log in to Vault", "set VAULT_TOKEN")])

    [problem] = problems(tmp_path, 'store: {username: "vault:a#b"}', opener)
    assert problem.startswith("1:19: can't be read from Vault: vault.auth: it is not said how to log in")


@pytest.mark.parametrize(
    "text",
    [
        'store: {url: "vault:a#secret"}',
        'policies: {group: "vault:a#secret"}',
        'providers: [{name: "vault:a#secret"}]',
        'headers: {allowed: ["vault:a#secret"]}',
        'listen: {check: {address: "vault:a#secret"}}',
        'workers: "vault:a#secret"',
        'tokenCache: {maxEntries: "vault:a#secret"}',
        'roles: {includes: {admin: "vault:a#secret"}}',
    ],
)
def test_a_secret_that_can_not_be_used_is_not_told(tmp_path: Path, text: str) -> None:
    """X1: the messages about wrong values quote them; not those about values from Vault."""
    told = problems(tmp_path, text, Source(secret=f"{CANARY}!! "))
    assert any("what Vault holds for it can't be used here" in problem for problem in told)
    assert not any(CANARY in problem for problem in told)


@pytest.mark.parametrize(
    "reference", ["vault:", "vault:secret/auth", "vault:secret/auth#", "vault:a b#c", "vault:../sys#x", "vault:a?b#c"]
)
def test_what_is_no_reference(tmp_path: Path, reference: str) -> None:
    """A slip is told, and is no value."""
    told = problems(tmp_path, f'store: {{username: "{reference}"}}', Source())
    assert told == [
        f"1:19: store.username: {reference!r} is no reference to Vault (write vault:<path>#<field>, or vault:#<field> for a field of vault.secretsPath)"
    ]


def test_vault_is_not_in_vault(tmp_path: Path) -> None:
    """How would it be reached?"""
    told = problems(tmp_path, 'vault: {address: "https://v", namespace: "vault:a#b"}', Source(b="x"))
    assert told == ["1:42: vault.namespace: how Vault is reached can't be in Vault (write it here, or name a file)"]


def test_a_value_is_not_quoted_where_it_does_not_fit_either(tmp_path: Path) -> None:
    """X1: a message about something else, that would name what is from Vault; what is written in the file is named."""
    text = """
        vault: {address: "https://vault.example.com:8200"}
        tokens: {issuer: "https://a", audiences: [x], clients: [{id: "vault:a#id"}, {id: written}]}
    """
    for value in (CANARY, f"{CANARY}-longer"):
        told = problems(tmp_path, text, Source(id=value))
        assert not any(CANARY in problem for problem in told)
        assert any("client '(from Vault)' has no way to prove who it is" in problem for problem in told)
        assert any("client 'written' has no way" in problem for problem in told)
