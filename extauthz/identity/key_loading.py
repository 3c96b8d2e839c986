"""Where key sets come from: one loader for each kind of source.

A loader brings one key set, or raises; when to load and what to do with failures is the business of
``extauthz.identity.key_ring``. Local sources are loaded at once, when the provider is built, so that a wrong path stops
the start; remote ones are awaited.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import assert_never
from urllib.parse import urlsplit

from extauthz.errors import UpstreamError
from extauthz.identity.fetching import Fetched, Fetcher, FetchSettings
from extauthz.identity.key_sets import KeySet, key_set_of_jwks, parse_key_set, secret_key_set
from extauthz.identity.own_keys import OwnKeys, own_key_set
from extauthz.identity.providers import Discovery, FileKeys, InlineKeys, JwtProvider, RemoteKeys, SecretFile
from extauthz.identity.stamped_file import StampedFile
from extauthz.identity.strict_json import JsonError, read_object

__all__ = ["FileLoader", "FixedLoader", "Loaded", "Loader", "OwnKeyLoader", "RemoteLoader", "loader_of"]

_MAX_FILE_SIZE = 1 << 20


@dataclass(frozen=True, slots=True)
class Loaded:
    """A key set and how long its server calls it fresh."""

    keys: KeySet
    max_age: float | None = None


class FixedLoader:
    """Keys that are part of the configuration: they never change while it is in force."""

    def __init__(self, keys: KeySet) -> None:
        """Keep the keys."""
        self.keys = keys


class FileLoader:
    """Keys in a file."""

    def __init__(self, path: str, read: Callable[[bytes], KeySet]) -> None:
        """Load the keys.

        Raises:
            KeySetError: The file can't be read, or holds no usable keys.
        """
        self._file = StampedFile(path, read, max_size=_MAX_FILE_SIZE)
        self.keys = self._file.load()

    async def changed(self) -> KeySet | None:
        """The keys if the file has changed since they were last asked for.

        Raises:
            KeySetError: The file can't be read, or holds no usable keys now.
        """
        return await asyncio.to_thread(self._reload)

    def _reload(self) -> KeySet | None:
        if not self._file.changed():
            return None
        self.keys = self._file.load()
        return self.keys


class RemoteLoader:
    """Keys behind a URL, which is given or discovered.

    The bearer token of ``FetchSettings.token_file`` goes to the origin that the operator wrote, and not to wherever a
    discovery document points.
    """

    def __init__(self, source: Discovery | RemoteKeys, provider: JwtProvider, fetcher: Fetcher) -> None:
        """Keep what the keys are fetched with."""
        self._source = source
        self._algorithms = provider.algorithms
        self._settings = provider.fetch
        self._fetcher = fetcher

    async def load(self) -> Loaded:
        """Fetch the keys.

        Raises:
            UpstreamError: A server did not answer as it should.
            KeySetError: What it answered is not usable.
        """
        if isinstance(self._source, RemoteKeys):
            fetched = await self._fetcher.get(self._source.uri, self._settings)
        else:
            fetched = await self._discover(self._source.issuer)
        return Loaded(parse_key_set(fetched.body, self._algorithms), fetched.max_age)

    async def _discover(self, issuer: str) -> Fetched:
        """Fetch the keys of an issuer by its metadata (OpenID Connect Discovery 1.0 section 4)."""
        url = issuer.removesuffix("/") + "/.well-known/openid-configuration"
        document = await self._fetcher.get(url, self._settings)
        try:
            metadata = read_object(document.body)
        except JsonError as error:
            raise UpstreamError(f"the discovery document of {issuer} is {error}") from error
        if metadata.get("issuer") != issuer:
            # Section 4.3 asks for equality; the usual slip is a slash at the end.
            raise UpstreamError(
                f"the discovery document of {issuer} names another issuer; they must be equal to the letter"
            )
        uri = metadata.get("jwks_uri")
        if not isinstance(uri, str):
            raise UpstreamError(f"the discovery document of {issuer} has no jwks_uri")
        return await self._fetcher.get(uri, self._settings_for(uri, url))

    def _settings_for(self, uri: str, own: str) -> FetchSettings:
        return self._settings if _origin(uri) == _origin(own) else replace(self._settings, token_file=None)


class OwnKeyLoader:
    """Keys that this process signs with. They are known as soon as they change."""

    def __init__(self, source: OwnKeys, algorithms: frozenset[str]) -> None:
        """Take the keys that there are."""
        self._keeper = source.keeper
        self._algorithms = algorithms
        self.on_change = source.keeper.on_change

    @property
    def keys(self) -> KeySet | None:
        """Those that are good now; None if there is none."""
        return own_key_set(self._keeper.verification_keys(), self._algorithms)

    async def look(self) -> None:
        """Look at them again, wherever they are kept: another replica may have made one.

        Raises:
            SigningError: They can't be looked at.
        """
        await self._keeper.refresh()


Loader = FixedLoader | FileLoader | RemoteLoader | OwnKeyLoader


def loader_of(provider: JwtProvider, fetcher: Fetcher) -> Loader:
    """The loader for a provider's keys; local ones are loaded by it.

    Raises:
        KeySetError: Local keys can't be used. The text says which file, and nothing of its content.
    """
    source, algorithms = provider.keys, provider.algorithms
    match source:
        case InlineKeys(jwks):
            return FixedLoader(key_set_of_jwks(jwks, algorithms))
        case FileKeys(path):
            return FileLoader(path, lambda content: parse_key_set(content, algorithms))
        case SecretFile(path, encoding):
            return FileLoader(path, lambda content: secret_key_set(content, encoding))
        case Discovery() | RemoteKeys():
            return RemoteLoader(source, provider, fetcher)
        case OwnKeys():
            return OwnKeyLoader(source, algorithms)
        case _:
            assert_never(source)


def _origin(url: str) -> tuple[str, str | None, int | None] | None:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    except ValueError:
        return None
