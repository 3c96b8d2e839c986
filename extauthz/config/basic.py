"""``basic``: people of a directory who show a name and a password, and how its settings must fit together.

The words are those of other proxies that ask directories. Passwords travel here, so a connection without TLS has to be
asked for by name, and the password of our own account comes from a file.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

from extauthz.config.durations import Duration
from extauthz.config.faults import Fault
from extauthz.config.fields import FilePath, Section, Text, within

if TYPE_CHECKING:
    from extauthz.config.providers import FromPlaces, Provider

__all__ = ["Basic", "Ldap", "LdapGroups", "LdapPool", "LdapSearch", "basic_faults", "basic_set_faults"]

Path = tuple[str | int, ...]
_SCHEME = "basic"


class LdapSearch(Section):
    """How a person's entry is found."""

    base: Text
    """The entry below which people are: `ou=people,dc=example,dc=org`."""
    filter: Text = "(uid={username})"
    """What fits a person's entry and no other, with `{username}` for what was typed. For Active Directory
    `(sAMAccountName={username})`. A person whom it finds twice is refused."""
    scope: Literal["sub", "one"] = "sub"
    """sub: anywhere below the base. one: right below it."""


class LdapGroups(Section):
    """How the groups of a person are found."""

    base: Text
    """The entry below which groups are: `ou=groups,dc=example,dc=org`."""
    filter: Text = "(member={dn})"
    """What fits the groups of a person, with `{dn}` or `{username}` as the directory spells them. For POSIX groups
    `(memberUid={username})`; for nested ones in Active Directory `(member:1.2.840.113556.1.4.1941:={dn})`."""
    attribute: Text = "cn"
    """What a group is called by, in `roles.map` and in the claim `groups`."""


class LdapPool(Section):
    """Connections that are kept."""

    size: Annotated[int, within(1, 64)] = 8
    """Connections of each of two sorts: those that read as `bindDn`, and those that people sign in on. Who finds none free
    waits, within `timeout`."""


class Ldap(Section):
    """An LDAP directory. Its people sign in to it with a bind; who may is for the directory to say."""

    url: Text
    """`ldaps://host`, or `ldap://host` with `startTls`. With the DN it is who somebody is: the identity's issuer."""
    start_tls: bool = False
    """true: on an `ldap://` URL, TLS begins before anything else is said."""
    plaintext: bool = False
    """true: passwords go over `ldap://` without TLS. Whoever is on the way can read them, and can be anybody."""
    ca_file: FilePath | None = None
    """Authorities to trust instead of the system's, PEM. Read again when it changes."""
    user_dn_template: Text | None = None
    """The DN of a person, with `{username}` for what was typed: `uid={username},ou=people,dc=example,dc=org`. Either this or
    `search`."""
    search: LdapSearch | None = None
    """How a person's entry is found, where names are not part of the DN."""
    username_attribute: Text = "uid"
    """The attribute with the one name of a person, for the claim `username`. For Active Directory `sAMAccountName`."""
    bind_dn: Text | None = None
    """The account that reads people and groups. Absent: people are searched for anonymously, and everybody reads their own
    entry and groups."""
    bind_password_file: FilePath | None = None
    """The password of `bindDn`: one line. Read anew for each connection."""
    groups: LdapGroups | None = None
    """How the groups of a person are found. Absent: nobody has a role."""
    timeout: Annotated[float, Duration(0.05, 10)] = 2.0
    """The most time for one sign-in. A Check waits for it no longer than `check.deadline`; an answer that comes later
    serves the next one."""
    pool: LdapPool = LdapPool()
    """Connections that are kept."""
    cache_max_age: Annotated[float, Duration(1, 3600)] = 60.0
    """How long somebody who signed in is believed without asking again: a changed password, a locked account and a group
    that was left are noticed after at most this time."""


class Basic(Section):
    """Names and passwords in `authorization: Basic`. At most one provider is of this kind."""

    ldap: Ldap
    """The directory that knows them. Needs the extra `ldap`."""


def basic_faults(path: Path, provider: "Provider", basic: Basic) -> Iterator[Fault]:
    """What does not fit together in a provider of this kind."""
    own = (*path, "basic", "ldap")
    yield from _url_faults(own, basic.ldap)
    yield from _person_faults(own, basic.ldap)
    if (basic.ldap.bind_dn is None) != (basic.ldap.bind_password_file is None):
        yield Fault(own, "bindDn and bindPasswordFile belong together", "give both or neither")
    if not _is_basic_alone(provider.places):
        yield Fault((*path, "from"), "a name and a password are in authorization: Basic alone", "remove it")
    if "fetch" in provider.model_fields_set:
        yield Fault((*path, "fetch"), "how the directory is reached is said under basic.ldap", "remove it")


def basic_set_faults(providers: Sequence[tuple[int, "Provider"]]) -> Iterator[Fault]:
    """Providers that could not be told apart by what a request carries."""
    readers = [(index, provider) for index, provider in providers if _reads_basic(provider.places)]
    if not any(provider.basic for _, provider in readers):
        return
    for index, provider in readers[1:]:
        yield Fault(
            ("providers", index),
            f"providers {readers[0][1].name!r} and {provider.name!r} both read authorization: Basic, and a password is "
            "shown to one directory only",
            "keep one of them",
        )


def _url_faults(path: Path, ldap: Ldap) -> Iterator[Fault]:
    where = (*path, "url")
    try:
        parts = urlsplit(ldap.url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("ldap", "ldaps") or any(character.isspace() for character in ldap.url):
        yield Fault(where, "url is not the URL of a directory", "write ldaps://host or ldaps://host:port")
        return
    if parts.username is not None or parts.path.strip("/") or parts.query or parts.fragment:
        yield Fault(where, "url holds more than a host and a port", "say the rest with search, bindDn and groups")
    if parts.scheme == "ldaps":
        for key, given in (("startTls", ldap.start_tls), ("plaintext", ldap.plaintext)):
            if given:
                yield Fault((*path, key), f"ldaps:// is TLS from the first byte, and {key} is for ldap://", "remove it")
    elif ldap.start_tls and ldap.plaintext:
        yield Fault((*path, "plaintext"), "plaintext and startTls exclude each other", "remove one of them")
    elif not ldap.start_tls and not ldap.plaintext:
        yield Fault(
            where,
            "over ldap:// without TLS anyone on the way can read the passwords, and can be anybody",
            "use ldaps://, or set startTls: true, or accept it for this provider with plaintext: true",
        )
    if ldap.plaintext and ldap.ca_file:
        yield Fault((*path, "caFile"), "without TLS no certificate is checked", "remove it, or plaintext")


def _person_faults(path: Path, ldap: Ldap) -> Iterator[Fault]:
    if (ldap.user_dn_template is None) == (ldap.search is None):
        yield Fault(path, "people are found by userDnTemplate or by search", "give one of the two")
    templates = [
        ("userDnTemplate", ldap.user_dn_template, ("{username}",)),
        ("search.filter", ldap.search.filter if ldap.search else None, ("{username}",)),
        ("groups.filter", ldap.groups.filter if ldap.groups else None, ("{dn}", "{username}")),
    ]
    for key, template, placeholders in templates:
        if template is not None and not any(placeholder in template for placeholder in placeholders):
            yield Fault((*path, *key.split(".")), f"{key} does not say where {' or '.join(placeholders)} goes")


def _is_basic_alone(places: "FromPlaces") -> bool:
    others = places.cookies or places.query or places.websocket_protocol
    return len(places.headers) == 1 and _reads_basic(places) and not others


def _reads_basic(places: "FromPlaces") -> bool:
    return any(header.name == "authorization" and header.prefix.strip().lower() == _SCHEME for header in places.headers)
