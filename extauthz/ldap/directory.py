"""Whether somebody's password is right, asked of a directory by signing in as that person (RFC 4513 section 5.1.3).

Two sorts of connections, and no connection ever changes its sort: those that read as ``bind_dn``, which nobody else ever
signs in on, and those that people sign in on, each use of which begins with a bind. So no password is ever checked on a
connection that can do more than its owner, and nothing is ever read with rights that somebody left behind.

One sign-in: find the person (or take the DN from the template), bind as the person, read the names as the directory
spells them, read the groups. The names matter: ``Alice``, ``ALICE`` and ``alice `` are one person to a directory, and
must be one subject to policies and limits. What is read after the bind is read as ``bind_dn``, or without one as the
person.

None is for whoever may not come in, whatever the directory calls it; which of name and password is wrong is not told. An
``EntryError`` concerns one person, any other ``UpstreamError`` the directory.
"""

import asyncio
import math
import ssl
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import sansldap

from extauthz.errors import EntryError, UpstreamError
from extauthz.ldap.connection import Code, Connection, Found, Server, dial
from extauthz.ldap.pool import Pool
from extauthz.ldap.settings import LdapSettings, Person, PersonSearch
from extauthz.ldap.templates import DnTemplate, FilterTemplate, TemplateError

__all__ = ["LdapDirectory"]

MAX_GROUPS = 512
"""More groups than this are refused: they travel with every decision, and a cut list would be a wrong one."""
_MAX_PASSWORD = 4096

_PORTS = {"ldaps": 636, "ldap": 389}
_ANYTHING = sansldap.FilterPresent("objectClass")

_REFUSED = frozenset(
    {
        Code.INVALID_CREDENTIALS,
        Code.NO_SUCH_OBJECT,
        Code.INVALID_DN_SYNTAX,
        Code.INAPPROPRIATE_AUTHENTICATION,  # the entry has no password
        Code.INSUFFICIENT_ACCESS_RIGHTS,
        Code.CONSTRAINT_VIOLATION,  # locked, in some directories
        Code.UNWILLING_TO_PERFORM,  # disabled or expired, in some directories
    }
)
"""How directories say that this person may not come in."""
_UNREADABLE = frozenset({Code.SUCCESS, Code.NO_SUCH_OBJECT, Code.INSUFFICIENT_ACCESS_RIGHTS})
"""How directories answer about an entry that may not be read; with SUCCESS there is just nothing."""
_TOO_MANY = frozenset({Code.SIZE_LIMIT_EXCEEDED, Code.ADMIN_LIMIT_EXCEEDED, Code.TIME_LIMIT_EXCEEDED})


class LdapDirectory:
    """One directory. Implements ``extauthz.identity.Directory``; belongs to one event loop."""

    def __init__(self, settings: LdapSettings) -> None:
        """Compile the templates and look at the files; nothing is dialled.

        Raises:
            UpstreamError: A template is wrong, or a file can't be used. The text is for whoever wrote the configuration.
        """
        self._settings = settings
        self._server = _server(settings)
        self._tls: tuple[tuple[int, ...], ssl.SSLContext] | None = None
        try:
            self._template = DnTemplate(settings.person) if isinstance(settings.person, str) else None
            self._people_filter = (
                FilterTemplate(settings.person.filter, ("username",))
                if isinstance(settings.person, PersonSearch)
                else None
            )
            self._groups_filter = (
                FilterTemplate(settings.groups.filter, ("dn", "username")) if settings.groups else None
            )
        except TemplateError as error:
            raise UpstreamError(str(error)) from error
        if settings.bind_dn is not None:
            self._password()
        if self._secure:
            self._context()
        self._readers = Pool(self._open_reader, settings.pool_size)
        self._doors = Pool(self._dial, settings.pool_size)

    async def authenticate(self, username: str, password: str) -> Person | None:
        """The person with this name and password; None if there is none.

        Raises:
            EntryError: The person's entry can't be used.
            UpstreamError: The directory could not be asked. The text holds no name and no password.
        """
        if not username or not password or "\0" in username + password:
            return None
        try:
            async with asyncio.timeout(self._settings.timeout):
                return await self._authenticate(username, password)
        except TimeoutError:
            raise UpstreamError(f"{self._server}: no answer within {self._settings.timeout:g} s") from None

    async def probe(self) -> None:
        """Return if the directory can be reached and takes ``bind_dn``.

        Raises:
            UpstreamError: It can't, or does not.
        """

        async def question(connection: Connection) -> None:
            # The root of the directory's own description, which all may read (RFC 4512 section 5.1). That it answers is enough.
            await self._search(connection, "", sansldap.SearchScope.BASE, _ANYTHING, ("1.1",), limit=1)

        try:
            async with asyncio.timeout(self._settings.timeout):
                await self._readers.use(question)
        except TimeoutError:
            raise UpstreamError(f"{self._server}: no answer within {self._settings.timeout:g} s") from None

    async def close(self) -> None:
        """Close the connections that nobody uses."""
        for connection in (*self._readers.drop_idle(), *self._doors.drop_idle()):
            await connection.closed()

    async def _authenticate(self, username: str, password: str) -> Person | None:
        found: Found | None = None
        if self._template is not None:
            dn = self._template.fill(username)
        else:
            found = await self._readers.use(lambda connection: self._find(connection, username))
            if found is None:
                return None
            dn = found.dn

        async def question(connection: Connection) -> Person | bool:
            code = await connection.bind(dn, password)
            if code in _REFUSED:
                return False
            if code is not Code.SUCCESS:
                raise UpstreamError(f"{self._server}: it answers a sign-in with {code.name}")
            return True if self._settings.bind_dn is not None else await self._describe(connection, dn, found)

        proven = await self._doors.use(question)
        if proven is True:
            return await self._readers.use(lambda connection: self._describe(connection, dn, found))
        return proven or None

    async def _find(self, connection: Connection, username: str) -> Found | None:
        """The one entry of the person with this name."""
        search = self._settings.person
        assert isinstance(search, PersonSearch) and self._people_filter is not None  # noqa: S101, PT018 - narrows
        scope = sansldap.SearchScope.SUBTREE if search.subtree else sansldap.SearchScope.ONE_LEVEL
        attributes = (self._settings.username_attribute,)
        filter_ = self._people_filter.fill({"username": username})
        code, entries = await self._search(connection, search.base, scope, filter_, attributes, limit=2)
        if len(entries) > 1:
            raise EntryError("more than one entry has this name")
        if code is not Code.SUCCESS:
            raise UpstreamError(f"{self._server}: it answers the search for people with {code.name}")
        return entries[0] if entries else None

    async def _describe(self, connection: Connection, dn: str, found: Found | None) -> Person:
        """The names of a person and of the person's groups, as the directory spells them."""
        if found is None:
            attributes = (self._settings.username_attribute,)
            scope = sansldap.SearchScope.BASE
            code, entries = await self._search(connection, dn, scope, _ANYTHING, attributes, limit=1)
            if code not in _UNREADABLE:
                raise UpstreamError(f"{self._server}: it answers the search for an entry with {code.name}")
            if not entries:
                who = "bindDn" if self._settings.bind_dn is not None else "the person"
                raise EntryError(f"the password is right, but {who} may not read the person's entry")
            found = entries[0]
        names = _texts(found, self._settings.username_attribute)
        if len(names) != 1:
            count = "no" if not names else "more than one"
            raise EntryError(f"the person's entry has {count} {self._settings.username_attribute} (usernameAttribute)")
        return Person(found.dn, names[0], await self._groups(connection, found.dn, names[0]))

    async def _groups(self, connection: Connection, dn: str, username: str) -> tuple[str, ...]:
        search = self._settings.groups
        if search is None or self._groups_filter is None:
            return ()
        filter_ = self._groups_filter.fill({"dn": dn, "username": username})
        scope = sansldap.SearchScope.SUBTREE
        code, entries = await self._search(
            connection, search.base, scope, filter_, (search.attribute,), limit=MAX_GROUPS
        )
        if code in _TOO_MANY:
            raise EntryError(f"the person is in more than {MAX_GROUPS} groups, or in more than the directory lists")
        if code is not Code.SUCCESS:
            raise UpstreamError(f"{self._server}: it answers the search for groups with {code.name}")
        return tuple(sorted({name for entry in entries for name in _texts(entry, search.attribute)}))

    async def _search(
        self,
        connection: Connection,
        base: str,
        scope: sansldap.SearchScope,
        filter_: sansldap.LDAPFilter,
        attributes: Sequence[str],
        *,
        limit: int,
    ) -> tuple[sansldap.LDAPResultCode, tuple[Found, ...]]:
        seconds = math.ceil(self._settings.timeout)
        answer = await connection.search(base, scope, filter_, attributes, limit=limit, seconds=seconds)
        return answer.code, answer.entries

    async def _open_reader(self) -> Connection:
        connection = await self._dial()
        if self._settings.bind_dn is None:
            return connection
        try:
            code = await connection.bind(self._settings.bind_dn, await asyncio.to_thread(self._password))
        except BaseException:
            connection.abort()
            raise
        if code is not Code.SUCCESS:
            connection.close()
            raise UpstreamError(f"{self._server}: it does not let bindDn in: {code.name}")
        return connection

    async def _dial(self) -> Connection:
        context = await asyncio.to_thread(self._context) if self._secure else None
        return await dial(self._server, context, self._settings.timeout)

    @property
    def _secure(self) -> bool:
        return self._server.tls or self._server.start_tls

    def _context(self) -> ssl.SSLContext:
        """The TLS settings, with the CA file as it is now. Blocks."""
        path = self._settings.ca_file
        try:
            status = Path(path).stat() if path is not None else None
            stamp = (status.st_ino, status.st_size, status.st_mtime_ns) if status else ()
            if self._tls is not None and self._tls[0] == stamp:
                return self._tls[1]
            context = ssl.create_default_context(cafile=path)
        except ssl.SSLError as error:
            raise UpstreamError(f"caFile {path}: no certificates in it") from error
        except OSError as error:
            raise UpstreamError(f"caFile {path}: {error.strerror}") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.hostname_checks_common_name = False
        self._tls = (stamp, context)
        return context

    def _password(self) -> str:
        """The password of ``bind_dn``, as it is now. Blocks."""
        path = self._settings.bind_password_file
        if path is None:
            raise UpstreamError("bindDn needs bindPasswordFile")
        try:
            with Path(path).open("rb") as file:
                password = file.read(_MAX_PASSWORD + 2).decode().removesuffix("\n").removesuffix("\r")
        except OSError as error:
            raise UpstreamError(f"bindPasswordFile {path}: {error.strerror}") from error
        except UnicodeDecodeError:
            password = ""
        if not password or len(password) > _MAX_PASSWORD or "\0" in password:
            raise UpstreamError(f"bindPasswordFile {path}: it does not hold one password")
        return password


def _server(settings: LdapSettings) -> Server:
    try:
        parts = urlsplit(settings.url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or parts.scheme not in _PORTS or parts.path.strip("/") or parts.query or parts.username is not None:
        raise UpstreamError("url is not ldaps://host or ldap://host")
    return Server(host, port or _PORTS[parts.scheme], tls=parts.scheme == "ldaps", start_tls=settings.start_tls)


def _texts(entry: Found, attribute: str) -> tuple[str, ...]:
    try:
        return entry.values(attribute)
    except UnicodeDecodeError:
        raise EntryError(f"a value of {attribute} is not text") from None
