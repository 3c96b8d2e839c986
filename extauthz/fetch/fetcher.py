"""One guarded way out: documents fetched over HTTP for the keys and metadata of providers.

Whatever the other side does costs a bounded time and a bounded size, and no answer of it leads anywhere that the operator
did not name:

- HTTPS with verification, unless plain HTTP was allowed for the provider;
- the name is resolved once and the connection goes to an address that was judged (``extauthz.fetch.addresses``), while
  TLS and ``Host`` keep the name;
- redirects are followed within the same host and port only (or from HTTP up to HTTPS there), three at most;
- 1 MiB, 5 seconds in all, no compression, no cookies, no proxies or credentials from the environment.

Each fetch has a connection of its own. Fetches are minutes apart, so a pool would hold nothing but stale connections, and
could hand a connection that was checked for one name to another name at the same address.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, Protocol

import httpx2

from extauthz.errors import UpstreamError
from extauthz.fetch.addresses import allowed_addresses, resolve

__all__ = ["Answer", "HttpFetcher", "Reach"]

MAX_BODY = 1 << 20
DEADLINE = 5.0
MAX_REDIRECTS = 3

_CONNECT_TIMEOUT = 2.0
"""Seconds for one address, so that a dead one leaves time for the next."""
_MAX_TOKEN_SIZE = 16_384
_PORTS = {"https": 443, "http": 80}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Reach(Protocol):
    """How a URL may be reached. ``extauthz.identity.FetchSettings`` is one."""

    @property
    def ca_file(self) -> str | None:
        """PEM certificates instead of the system's trust store."""
        ...

    @property
    def token_file(self) -> str | None:
        """A file with a bearer token for the first URL's origin."""
        ...

    @property
    def allow_private_addresses(self) -> bool:
        """Private and loopback addresses may be dialled."""
        ...

    @property
    def allow_http(self) -> bool:
        """Plain HTTP may be spoken."""
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What a fetch brought."""

    body: bytes
    max_age: float | None
    """Seconds that the server calls the answer fresh for (RFC 9111 section 5.2.2.1), less its age; None if it did not say."""


@dataclass(frozen=True, slots=True)
class _Target:
    """A URL that was checked, and what names it in errors: never its path or query, which may hold secrets."""

    url: httpx2.URL
    scheme: str
    host: str
    port: int

    @property
    def name(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


class HttpFetcher:
    """Fetches documents. Holds no connection; what it keeps are TLS contexts by CA file."""

    def __init__(self, *, deadline: float = DEADLINE) -> None:
        """Set the seconds that one fetch may take in all."""
        self._deadline = deadline
        self._contexts: dict[str | None, tuple[tuple[int, ...], ssl.SSLContext]] = {}

    async def get(self, url: str, settings: Reach) -> Answer:
        """The document at a URL.

        Raises:
            UpstreamError: It could not be had. The text names the host and the fault, never a path, query or token.
        """
        target = _checked(url, settings)
        try:
            async with asyncio.timeout(self._deadline):
                return await self._follow(target, settings)
        except TimeoutError:
            raise UpstreamError(f"{target.name}: no answer within {self._deadline:g} s") from None

    async def _follow(self, target: _Target, settings: Reach) -> Answer:
        """Get a URL and what it redirects to."""
        for _ in range(MAX_REDIRECTS + 1):
            found = await self._request(target, settings)
            if isinstance(found, Answer):
                return found
            target = found
        raise UpstreamError(f"{target.name}: more than {MAX_REDIRECTS} redirects")

    async def _request(self, target: _Target, settings: Reach) -> "Answer | _Target":
        """Get one URL: the document, or where it redirects to."""
        headers = {
            "host": target.name,
            "accept": "application/json",
            "accept-encoding": "identity",
            "user-agent": "extauthz",
            "connection": "close",
        }
        if settings.token_file is not None:
            headers["authorization"] = await self._authorization(target, settings.token_file)
        verify = await asyncio.to_thread(self._context, settings.ca_file) if target.scheme == "https" else False
        fault = ""
        for address in await _dialled(target, settings):
            host = f"[{address}]" if isinstance(address, IPv6Address) else str(address)
            timeout = httpx2.Timeout(self._deadline, connect=_CONNECT_TIMEOUT).as_dict()
            extensions = {"sni_hostname": target.host, "timeout": timeout}
            request = httpx2.Request("GET", target.url.copy_with(host=host), headers=headers, extensions=extensions)
            try:
                async with _exchange(request, verify) as response:
                    return await _read(response, target, settings)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                fault = str(error) or "no connection"
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                raise UpstreamError(f"{target.name}: {_fault(error)}") from error
        raise UpstreamError(f"{target.name}: can't connect: {fault}")

    def _context(self, ca_file: str | None) -> ssl.SSLContext:
        """The TLS context for a CA file as it is now."""
        try:
            status = Path(ca_file).stat() if ca_file is not None else None
            stamp = (status.st_ino, status.st_size, status.st_mtime_ns) if status else ()
            known = self._contexts.get(ca_file)
            if known is not None and known[0] == stamp:
                return known[1]
            context = (
                httpx2.create_ssl_context(trust_env=False)
                if ca_file is None
                else ssl.create_default_context(cafile=ca_file)
            )
        except (OSError, ssl.SSLError) as error:
            name = "the system's trust store" if ca_file is None else f"caFile {ca_file}"
            raise UpstreamError(f"{name}: {error.strerror or 'no certificates in it'}") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._contexts[ca_file] = (stamp, context)
        return context

    async def _authorization(self, target: _Target, token_file: str) -> str:
        """The credentials for a request; read anew, because Kubernetes rotates them."""
        if target.scheme != "https":
            raise UpstreamError(f"{target.name}: tokenFile is never sent over plain HTTP")
        try:
            token = (await asyncio.to_thread(_read_token, token_file)).decode("ascii").strip()
        except OSError as error:
            raise UpstreamError(f"tokenFile {token_file}: {error.strerror}") from error
        except UnicodeDecodeError:
            token = ""
        if not token or len(token) > _MAX_TOKEN_SIZE or not token.isprintable() or " " in token:
            raise UpstreamError(f"tokenFile {token_file}: it does not hold one token")
        return f"Bearer {token}"


@contextlib.asynccontextmanager
async def _exchange(request: httpx2.Request, verify: ssl.SSLContext | bool) -> AsyncIterator[httpx2.Response]:  # noqa: FBT001
    """One request and its response, on a connection that is closed at the end.

    A connection whose TLS handshake is cancelled belongs to nobody in httpx2 2.16 and would stay open for as long as the
    other side likes, so each is noted as it is made.
    """
    streams: list[Any] = []

    async def note(event: str, info: Mapping[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            streams.append(info["return_value"])

    request.extensions["trace"] = note
    try:
        async with httpx2.AsyncHTTPTransport(verify=verify, trust_env=False) as transport:
            response = await transport.handle_async_request(request)
            try:
                yield response
            finally:
                await response.aclose()
    finally:
        for stream in streams:
            await stream.aclose()


async def _dialled(target: _Target, settings: Reach) -> list[IPv4Address | IPv6Address]:
    """The addresses to try for a host."""
    try:
        addresses = await resolve(target.host, target.port)
    except (OSError, UnicodeError) as error:
        raise UpstreamError(f"{target.name}: the name can't be resolved") from error
    allowed = allowed_addresses(addresses, allow_private=settings.allow_private_addresses)
    if not allowed:
        hint = "" if settings.allow_private_addresses else " (allowPrivateAddresses would allow private ones)"
        raise UpstreamError(f"{target.name}: its address may not be dialled{hint}")
    return allowed


async def _read(response: httpx2.Response, target: _Target, settings: Reach) -> "Answer | _Target":
    """The body of a response, or where it redirects to."""
    if response.status_code in _REDIRECTS:
        return _redirected(response, target, settings)
    if response.status_code != httpx2.codes.OK:
        raise UpstreamError(f"{target.name}: answered {response.status_code}")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise UpstreamError(f"{target.name}: answered in a compressed form that was not asked for")
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MAX_BODY:
            raise UpstreamError(f"{target.name}: answered more than {MAX_BODY} bytes")
    return Answer(bytes(body), _max_age(response.headers))


def _redirected(response: httpx2.Response, target: _Target, settings: Reach) -> _Target:
    """Where a response redirects to, if that is on the same host and no step down to plain HTTP."""
    try:
        url = target.url.join(response.headers.get("location", ""))
    except httpx2.InvalidURL as error:
        raise UpstreamError(f"{target.name}: redirects to no URL") from error
    found = _checked(str(url), settings)
    same = (found.host, found.scheme, found.port) == (target.host, target.scheme, target.port)
    upgrade = (found.host, found.scheme, found.port) == (target.host, "https", 443) and target.port == _PORTS["http"]
    if not same and not upgrade:
        raise UpstreamError(f"{target.name}: redirects to another origin, which is not followed")
    return found


def _checked(url: str, settings: Reach) -> _Target:
    """A URL that may be fetched."""
    try:
        parsed = httpx2.URL(url)
        host, port = parsed.raw_host.decode("ascii"), parsed.port
    except (httpx2.InvalidURL, UnicodeError, TypeError) as error:
        raise UpstreamError("not a URL that can be fetched") from error
    if parsed.scheme not in _PORTS or not host or (port is not None and not 0 < port < 1 << 16):
        raise UpstreamError("not an http or https URL with a host")
    target = _Target(parsed.copy_with(fragment=None), parsed.scheme, host.strip("[]"), port or _PORTS[parsed.scheme])
    if parsed.userinfo:
        raise UpstreamError(f"{target.name}: a URL must not hold credentials")
    if parsed.scheme == "http" and not settings.allow_http:
        raise UpstreamError(f"{target.name}: plain HTTP is not allowed (allowHttp would allow it)")
    return target


def _max_age(headers: httpx2.Headers) -> float | None:
    """How long an answer is fresh for; None if it does not say, or not in one way."""
    directives = [part.strip().lower() for part in headers.get("cache-control", "").split(",")]
    if "no-store" in directives or "no-cache" in directives:
        return 0.0
    ages = [part.removeprefix("max-age=").strip('"') for part in directives if part.startswith("max-age=")]
    age = headers.get("age", "0")
    if len(ages) != 1 or not _is_count(ages[0]):
        return None
    return float(max(int(ages[0]) - (int(age) if _is_count(age) else 0), 0))


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 10  # noqa: PLR2004 - 300 years


def _fault(error: Exception) -> str:
    """What went wrong, in words that hold nothing of the request."""
    if isinstance(error, httpx2.TimeoutException):
        return "no answer in time"
    if isinstance(error, httpx2.ProtocolError):
        return "not an HTTP answer"
    return "the connection broke"


def _read_token(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(_MAX_TOKEN_SIZE + 2)
