"""Providers of kind basic, as they are written."""

from collections.abc import Callable
from typing import Any

import pytest

TEMPLATE = "userDnTemplate: 'uid={username},ou=people,dc=example'"


def entry(
    ldap: str = TEMPLATE, rest: str = "", *, url: str = "url: 'ldaps://directory.example'", name: str = "staff"
) -> str:
    """One entry of the list of providers."""
    words = ", ".join(filter(None, (url, ldap)))
    return f"- {{name: {name}, basic: {{ldap: {{{words}}}}}" + (f", {rest}" if rest else "") + "}\n"


def providers(*entries: str) -> str:
    return "providers:\n" + "".join(entries)


def test_defaults(load: Callable[..., Any]) -> None:
    """Two words are enough; everything else has a strict default, and the place is the one that such credentials have."""
    found = load(providers(entry())).providers[0]
    ldap = found.basic.ldap
    assert (ldap.url, ldap.user_dn_template) == ("ldaps://directory.example", "uid={username},ou=people,dc=example")
    assert (ldap.start_tls, ldap.plaintext, ldap.ca_file, ldap.search, ldap.groups) == (False, False, None, None, None)
    assert (ldap.timeout, ldap.pool.size, ldap.cache_max_age, ldap.username_attribute) == (2.0, 8, 60.0, "uid")
    assert [(header.name, header.prefix) for header in found.places.headers] == [("authorization", "Basic ")]


def test_searches(load: Callable[..., Any]) -> None:
    """People and groups are searched for by base and filter, which have the usual defaults."""
    text = "search: {base: b}, groups: {base: g}, bindDn: cn=x, bindPasswordFile: p, startTls: true, caFile: ca.pem"
    ldap = load(providers(entry(text, url="url: 'ldap://directory.example:389'"))).providers[0].basic.ldap
    assert (ldap.search.filter, ldap.search.scope) == ("(uid={username})", "sub")
    assert (ldap.groups.filter, ldap.groups.attribute) == ("(member={dn})", "cn")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (entry(url=""), "'providers[0].basic.ldap.url' is required"),
        (entry(url="url: 'https://x'"), "url is not the URL of a directory (write ldaps://host"),
        (entry(url="url: 'ldaps://'"), "url is not the URL of a directory"),
        (entry(url="url: 'ldaps://x:0x'"), "url is not the URL of a directory"),
        (entry(url="url: 'ldaps://u:secret@x'"), "url holds more than a host and a port"),
        (entry(url="url: 'ldaps://x/dc=example?uid'"), "url holds more than a host and a port"),
        (entry(url="url: 'ldap://x'"), "over ldap:// without TLS anyone on the way can read the passwords"),
        (entry(url="url: 'ldaps://x', startTls: true"), "startTls: ldaps:// is TLS from the first byte"),
        (entry(url="url: 'ldaps://x', plaintext: true"), "plaintext: ldaps:// is TLS from the first byte"),
        (entry(url="url: 'ldap://x', plaintext: true, startTls: true"), "plaintext and startTls exclude each other"),
        (entry(url="url: 'ldap://x', plaintext: true, caFile: c"), "without TLS no certificate is checked"),
        (entry(""), "people are found by userDnTemplate or by search (give one of the two)"),
        (entry(f"{TEMPLATE}, search: {{base: b}}"), "people are found by userDnTemplate or by search"),
        (entry("userDnTemplate: uid=alice"), "userDnTemplate does not say where {username} goes"),
        (entry("search: {base: b, filter: '(uid=x)'}"), "search.filter does not say where {username} goes"),
        (
            entry(f"{TEMPLATE}, groups: {{base: b, filter: '(cn=x)'}}"),
            "groups.filter does not say where {dn} or {username}",
        ),
        (entry(f"{TEMPLATE}, bindDn: cn=x"), "bindDn and bindPasswordFile belong together"),
        (entry(f"{TEMPLATE}, bindPasswordFile: p"), "bindDn and bindPasswordFile belong together"),
        (entry(f"{TEMPLATE}, bindPassword: p"), "bindPassword"),
        (entry(f"{TEMPLATE}, cacheMaxAge: 0s"), "cacheMaxAge"),
        (entry(f"{TEMPLATE}, timeout: 1m"), "timeout"),
        (entry(f"{TEMPLATE}, pool: {{size: 0}}"), "must be from 1 to 64"),
        (entry(rest="from: {headers: [{name: x-login}]}"), "a name and a password are in authorization: Basic alone"),
        (entry(rest="from: {cookies: [login]}"), "a name and a password are in authorization: Basic alone"),
        (entry(rest="fetch: {allowHttp: true}"), "how the directory is reached is said under basic.ldap"),
        (entry(rest="jwt: {issuer: 'https://x', audiences: [a]}"), "is of one kind, not both jwt and basic"),
    ],
)
def test_what_does_not_fit(problems: Callable[..., list[str]], text: str, message: str) -> None:
    """Everything that would be unsafe or mean nothing is told with its place; a password is never repeated."""
    [problem] = problems(providers(text))
    assert message in problem
    assert "secret" not in problem


def test_a_password_is_shown_to_one_directory(problems: Callable[..., list[str]]) -> None:
    """Two providers that read the same place could only be told apart by asking both with the password."""
    may = "roles: {mayGrant: [user]}"
    [problem] = problems(providers(entry(rest=may), entry(rest=may, name="guests")))
    assert "providers 'staff' and 'guests' both read authorization: Basic" in problem
    token = "- {name: odd, jwt: {issuer: 'https://x', audiences: [a]}, " + may
    token += ", from: {headers: [{name: authorization, prefix: 'BASIC '}]}}\n"
    [problem] = problems(providers(entry(rest=may), token))
    assert "providers 'staff' and 'odd' both read authorization: Basic" in problem


def test_may_grant_is_asked_for(problems: Callable[..., list[str]]) -> None:
    """Beside another provider, of whatever kind, this one too must say which roles it may give."""
    token = "- {name: a, jwt: {issuer: 'https://x', audiences: [a]}, roles: {mayGrant: [user]}}\n"
    [problem] = problems(providers(token, entry()))
    assert "provider 'staff' needs roles.mayGrant" in problem
