"""What the operator says about a directory, and what the directory says about a person, as values."""

from dataclasses import dataclass

__all__ = ["GroupSearch", "LdapSettings", "Person", "PersonSearch"]


@dataclass(frozen=True, slots=True)
class PersonSearch:
    """People are found by a filter; it must fit exactly one entry."""

    base: str
    filter: str = "(uid={username})"
    """With ``{username}`` as a whole value or a part of one."""
    subtree: bool = True
    """The whole tree below the base; False: only the entries right below it."""


@dataclass(frozen=True, slots=True)
class GroupSearch:
    """Groups are found by a filter that fits those in which a person is."""

    base: str
    filter: str = "(member={dn})"
    """With ``{dn}`` or ``{username}``."""
    attribute: str = "cn"
    """What a group is called by."""


@dataclass(frozen=True, slots=True)
class LdapSettings:
    """One directory."""

    url: str
    """``ldaps://host[:port]`` or ``ldap://host[:port]``."""
    person: str | PersonSearch
    """A DN with ``{username}`` in it, or how to search for the person."""
    start_tls: bool = False
    """TLS begins on the connection of an ``ldap://`` URL before anything else is said (RFC 4511 section 4.14)."""
    ca_file: str | None = None
    """PEM certificates to trust; None: the system's."""
    username_attribute: str = "uid"
    """The attribute with a person's one name as the directory spells it."""
    bind_dn: str | None = None
    """Who reads people and groups; None: each person reads for themselves, and searches for people are anonymous."""
    bind_password_file: str | None = None
    """The password of ``bind_dn``, as UTF-8 text without the last newline; read anew for each connection."""
    groups: GroupSearch | None = None
    """None: nobody is in any group."""
    timeout: float = 2.0
    """Seconds for all that one sign-in needs, waiting for a connection included."""
    pool_size: int = 8
    """Connections of each of the two sorts: those that read as ``bind_dn``, and those that people sign in on."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody whose password was right."""

    dn: str
    """As the directory spells it, whatever way it was typed."""
    username: str
    """Likewise."""
    groups: tuple[str, ...]
    """Sorted, each once."""
