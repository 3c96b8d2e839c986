"""``vault``: where Vault is, and how to log in."""

from collections.abc import Callable
from typing import Any

import pytest

Load = Callable[..., Any]
Problems = Callable[..., list[str]]


def test_there_is_none_by_default(load: Load) -> None:
    """Nothing is asked."""
    vault = load("").vault
    assert (vault.address, vault.secrets_path, vault.timeout, vault.refresh) == (None, None, 2.0, 30.0)


def test_the_usual_variables(load: Load) -> None:
    """They are read; paths in them are relative to the working directory, as with any other program."""
    environ = {
        "VAULT_ADDR": "https://vault.example.com:8200/",
        "VAULT_NAMESPACE": "team/a",
        "VAULT_CACERT": "ca.pem",
        "VAULT_CLIENT_CERT": "me.crt",
        "VAULT_CLIENT_KEY": "me.key",
        "SECRETS_PATH": "/secret/data/auth/",
        "VAULT_SKIP_VERIFY": "false",
    }
    vault = load("", environ).vault
    assert vault.address == "https://vault.example.com:8200"
    assert (vault.namespace, vault.ca_file, vault.cert_file, vault.key_file) == ("team/a", "ca.pem", "me.crt", "me.key")
    assert vault.secrets_path == "secret/data/auth"


def test_what_is_written_beats_them(load: Load) -> None:
    """In the file, or in a variable of ours."""
    environ = {"VAULT_ADDR": "https://a", "SECRETS_PATH": "a", "EXTAUTHZ_VAULT__SECRETSPATH": "b"}
    vault = load('vault: {address: "https://c"}', environ).vault
    assert (vault.address, vault.secrets_path) == ("https://c", "b")


def test_ways_to_log_in(load: Load) -> None:
    """Each with its defaults."""
    auth = load("vault: {auth: {kubernetes: {role: auth}}}").vault.auth
    assert auth.kubernetes.token_file == "/var/run/secrets/kubernetes.io/serviceaccount/token"
    assert auth.kubernetes.mount == "kubernetes"
    auth = load("vault: {auth: {appRole: {roleId: x, secretIdFile: s}}}").vault.auth
    assert (auth.app_role.mount, auth.app_role.wrapped) == ("approle", False)
    assert load("vault: {auth: {jwt: {role: auth, tokenFile: t}}}").vault.auth.jwt.mount == "jwt"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{address: valt:8200}", "is not an https URL"),
        ("{address: 'https://me:hunter2@v'}", "must not hold a user name or a password"),
        ("{address: 'https://v/v1'}", "holds more than a host and a port"),
        ("{address: 'http://vault.example.com'}", "anyone on the way can read the secrets"),
        ("{address: 'https://v', plaintext: true}", "TLS from the first byte"),
        ("{secretsPath: 'a/../sys'}", "is no path in Vault"),
        ("{certFile: x}", "keyFile is missing"),
        ("{auth: {tokenFile: t, jwt: {role: a, tokenFile: t}}}", "tokenFile and jwt are ways to log in"),
        ("{auth: {appRole: {}}}", "the role id is in roleId or in roleIdFile"),
        ("{auth: {appRole: {roleId: a, roleIdFile: b}}}", "the role id is in roleId or in roleIdFile"),
        ("{auth: {appRole: {roleId: a, wrapped: true}}}", "there is no secretIdFile"),
        ("{auth: {token: hunter2}}", "unknown key 'vault.auth.token'"),
    ],
)
def test_what_does_not_fit_is_refused(problems: Problems, text: str, told: str) -> None:
    """At start, with its place, and without secrets."""
    found = problems(f"vault: {text}")
    assert any(told in problem for problem in found)
    assert not any("hunter2" in problem for problem in found)


@pytest.mark.parametrize("text", ["{address: 'http://127.0.0.1:8200'}", "{address: 'http://v', plaintext: true}"])
def test_plaintext(load: Load, text: str) -> None:
    """To this machine, or asked for by name."""
    assert load(f"vault: {text}").vault.address


def test_a_wrapped_secret_id_is_for_one_process(problems: Problems) -> None:
    """The second worker would find it opened."""
    text = (
        "workers: 2\nlimits: {perProcess: true}\nvault: {auth: {appRole: {roleId: a, secretIdFile: s, wrapped: true}}}"
    )
    [problem] = problems(text)
    assert "a wrapped secret id can be opened once, and there are 2 workers" in problem


def test_certificates_are_always_checked(load: Load, problems: Problems) -> None:
    """The variable that turns that off stops the start."""
    [problem] = problems("", {"VAULT_SKIP_VERIFY": "1"})
    assert problem.startswith("VAULT_SKIP_VERIFY: whoever is on the way could be Vault")


def test_a_user_that_comes_and_goes(load: Load, problems: Problems) -> None:
    """``store.usernameFile``, for credentials that are lent."""
    assert load("store: {url: 'redis://a', usernameFile: u, passwordFile: p}").store.username_file == "u"
    [problem] = problems("store: {url: 'redis://a', usernameFile: u}")
    assert "a user needs a password" in problem
    [problem] = problems("store: {url: 'redis://a', username: x, usernameFile: u, passwordFile: p}")
    assert "keep one of them" in problem
