"""Directories (LDAP): whether a person's password is right, and which groups the person is in.

Built by ``extauthz.app`` behind the ``Directory`` that ``extauthz.identity`` defines, and only if a provider needs it: the
library that knows the protocol, sansldap, belongs to the extra ``ldap``. It does no input and output of its own. Why it is
not one that does: docs/decisions/0006-ldap-over-our-own-connections.md.
"""

from extauthz.ldap.directory import LdapDirectory
from extauthz.ldap.settings import GroupSearch, LdapSettings, Person, PersonSearch

__all__ = ["GroupSearch", "LdapDirectory", "LdapSettings", "Person", "PersonSearch"]
