"""The directories of the configuration, opened only where one is written: their library belongs to an extra."""

from extauthz import config as written
from extauthz.errors import ConfigError, Position, Problem, UpstreamError
from extauthz.identity import Directory

__all__ = ["open_directory"]


def open_directory(provider: str, ldap: written.Ldap) -> Directory:
    """The directory of a provider; its files are looked at, and nothing is dialled.

    Raises:
        ConfigError: It can't be used, or the extra is not installed.
    """
    try:
        from extauthz.ldap import GroupSearch, LdapDirectory, LdapSettings, PersonSearch
    except ModuleNotFoundError as error:
        if error.name != "sansldap":
            raise
        message = f"provider {provider!r} asks an LDAP directory, and what that needs is not installed"
        raise ConfigError([Problem(Position("providers"), message, 'pip install "extauthz[ldap]"')]) from None
    search, groups = ldap.search, ldap.groups
    settings = LdapSettings(
        url=ldap.url,
        person=PersonSearch(search.base, search.filter, search.scope == "sub")
        if search is not None
        else ldap.user_dn_template or "",
        start_tls=ldap.start_tls,
        ca_file=ldap.ca_file,
        username_attribute=ldap.username_attribute,
        bind_dn=ldap.bind_dn,
        bind_password_file=ldap.bind_password_file,
        groups=None if groups is None else GroupSearch(groups.base, groups.filter, groups.attribute),
        timeout=ldap.timeout,
        pool_size=ldap.pool.size,
    )
    try:
        return LdapDirectory(settings)
    except UpstreamError as error:
        raise ConfigError([Problem(Position("providers"), f"provider {provider!r}: {error}")]) from None
