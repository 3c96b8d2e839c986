"""What happens where the extra is not installed."""

import sys
from pathlib import Path

import pytest

from extauthz.app.providers import authenticator
from extauthz.config import Config, load_config
from extauthz.errors import ConfigError
from tests.identity.issuer import FakeFetcher


def written(folder: Path, ldap: str) -> Config:
    file = folder / "extauthz.yaml"
    file.write_text(f"providers: [{{name: staff, basic: {{ldap: {{url: 'ldaps://directory.example', {ldap}}}}}}}]")
    return load_config(str(file), {})


def test_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory is configured and the library is missing: the error says what to install."""
    for name in [name for name in sys.modules if name == "extauthz.ldap" or name.startswith("extauthz.ldap.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sansldap", None)
    config = written(tmp_path, "userDnTemplate: 'uid={username},dc=example'")
    with pytest.raises(ConfigError) as caught:
        authenticator(config, FakeFetcher(), lambda: 0.0)
    assert str(caught.value) == (
        "providers: provider 'staff' asks an LDAP directory, and what that needs is not installed "
        '(pip install "extauthz[ldap]")'
    )


@pytest.mark.parametrize(
    ("ldap", "message"),
    [
        ("userDnTemplate: '{username}@example.org'", "is not a DN such as"),
        ("search: {base: b, filter: '(uid=*{username})'}", "not beside *"),
        ("search: {base: b, filter: '(uid={username}'}", "is not a filter"),
        (
            "search: {base: b}, groups: {base: g, filter: '(member={dn})(x={name})'}",
            "{name} is not known, only {dn} or",
        ),
        ("search: {base: b}, caFile: none.pem", "caFile "),
        ("search: {base: b}, bindDn: cn=x, bindPasswordFile: none", "bindPasswordFile "),
    ],
)
def test_what_only_the_library_can_tell(tmp_path: Path, ldap: str, message: str) -> None:
    """Filters, DNs and files that can't be used are problems of the configuration, and name the provider."""
    with pytest.raises(ConfigError) as caught:
        authenticator(written(tmp_path, ldap), FakeFetcher(), lambda: 0.0)
    [problem] = caught.value.problems
    assert problem.message.startswith("provider 'staff': ")
    assert message in problem.message


def test_no_directory_no_library() -> None:
    """Who asks no directory does not pay for the import of its library."""
    import subprocess

    code = "import sys, extauthz.app; print('sansldap' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert run.stdout.strip() == "False"
