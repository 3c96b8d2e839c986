"""One guarded way out: documents fetched over HTTP for the keys and metadata of providers, and forms that ask about tokens.

Whatever the other side does costs a bounded time and a bounded size, and no answer of it leads anywhere that the operator
did not name:

- HTTPS with verification, unless plain HTTP was allowed for the provider;
- the name is resolved once and the connection goes to an address that was judged (``extauthz.fetch.addresses``), while
  TLS and ``Host`` keep the name;
- redirects are followed within the same host and port only (or from HTTP up to HTTPS there), three at most; a form, which
  may hold credentials, follows none;
- 1 MiB, 5 seconds in all, no compression, no cookies, no proxies or credentials from the environment.

Each has a connection of its own. Fetches are minutes apart, so a pool would hold nothing but stale connections, and could
hand a connection that was checked for one name to another name at the same address. For forms, which come once a token and
minute, that costs a handshake each time; what it buys is that nothing is ever sent on a connection that may have died.
"""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode

import httpx2

from extauthz.errors import UpstreamError
from extauthz.fetch.addresses import allowed_addresses, resolve
from extauthz.fetch.exchange import exchange, fault_of, read_body
from extauthz.fetch.targets import PORTS, Reach, Target, checked_target

__all__ = ["Answer", "FormAnswer", "HttpFetcher", "Reach"]

_T = TypeVar("_T")

DEADLINE = 5.0
MAX_REDIRECTS = 3

_CONNECT_TIMEOUT = 2.0
"""Seconds for one address, so that a dead one leaves time for the next."""
_MAX_TOKEN_SIZE = 16_384
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For plain HTTP, where none is used: without one, httpx2 makes one for each connection, in a millisecond. It trusts nobody."""
_FORM = "application/x-www-form-urlencoded"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Answer:
    """What a fetch brought."""

    body: bytes
    max_age: float | None
    """Seconds that the server calls the answer fresh for (RFC 9111 section 5.2.2.1), less its age; None if it did not say."""


@dataclass(frozen=True, slots=True)
class FormAnswer:
    """What a form was answered with."""

    status: int
    media_type: str
    """In lower case, without parameters."""
    body: bytes
    retry_after: float | None = None
    """Seconds after which the server wants to be asked again (RFC 9110 section 10.2.3); None if it did not say so."""


class HttpFetcher:
    """Fetches documents. Holds no connection; what it keeps are TLS contexts by CA file."""

    def __init__(self, *, deadline: float = DEADLINE) -> None:
        """Set the seconds that one fetch may take in all."""
        self._deadline = deadline
        self._contexts: dict[str | None, tuple[tuple[int, ...], ssl.SSLContext]] = {}
        self._lookups: dict[tuple[str, int], asyncio.Task[list[IPv4Address | IPv6Address]]] = {}

    async def get(self, url: str, settings: Reach) -> Answer:
        """The document at a URL.

        Raises:
            UpstreamError: It could not be had. The text names the host and the fault, never a path, query or token.
        """
        target = checked_target(url, settings)
        try:
            async with asyncio.timeout(self._deadline):
                return await self._follow(target, settings)
        except TimeoutError:
            raise UpstreamError(f"{target.name}: no answer within {self._deadline:g} s") from None

    async def post(self, url: str, form: Mapping[str, str], headers: Mapping[str, str], settings: Reach) -> FormAnswer:
        """What a server answers to a form, whatever the status. The form and the headers may hold credentials: they go
        to the origin of the URL alone, no redirect is followed, and ``token_file`` is not sent.

        Raises:
            UpstreamError: There was no answer. The text names the host and the fault, and nothing that was sent.
        """
        return await self._post(url, urlencode(form).encode(), _FORM, headers, settings)

    async def post_json(self, url: str, value: Mapping[str, str], settings: Reach) -> FormAnswer:
        """What a server answers to a JSON object, on the same conditions.

        Raises:
            UpstreamError: There was no answer. The text names the host and the fault, and nothing that was sent.
        """
        return await self._post(url, json.dumps(value).encode(), "application/json", {}, settings)

    async def _post(
        self, url: str, body: bytes, media_type: str, headers: Mapping[str, str], settings: Reach
    ) -> FormAnswer:
        target = checked_target(url, settings)
        sent = {"accept": "application/json", "content-type": media_type, **headers}

        async def read(response: httpx2.Response) -> FormAnswer:
            answered = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            pause = response.headers.get("retry-after", "")
            body = await read_body(response, target.name)
            return FormAnswer(response.status_code, answered, body, float(pause) if _is_count(pause) else None)

        try:
            async with asyncio.timeout(self._deadline):
                return await self._send(target, settings, sent, read, form=body)
        except TimeoutError:
            raise UpstreamError(f"{target.name}: no answer within {self._deadline:g} s") from None

    async def _follow(self, target: Target, settings: Reach) -> Answer:
        """Get a URL and what it redirects to."""
        for _ in range(MAX_REDIRECTS + 1):
            found = await self._request(target, settings)
            if isinstance(found, Answer):
                return found
            target = found
        raise UpstreamError(f"{target.name}: more than {MAX_REDIRECTS} redirects")

    async def _request(self, target: Target, settings: Reach) -> Answer | Target:
        """Get one URL: the document, or where it redirects to."""
        headers = {
            # Kubernetes' API server answers 406 for its key set unless the second one is named (RFC 7517 section 8.5.2).
            "accept": "application/json, application/jwk-set+json",
        }
        if settings.token_file is not None:
            headers["authorization"] = await self._authorization(target, settings.token_file)

        async def read(response: httpx2.Response) -> Answer | Target:
            return await _read(response, target, settings)

        return await self._send(target, settings, headers, read)

    async def _send(
        self,
        target: Target,
        settings: Reach,
        headers: Mapping[str, str],
        read: Callable[[httpx2.Response], Awaitable[_T]],
        *,
        form: bytes | None = None,
    ) -> _T:
        """One request, to the first address that takes a connection, and what was read of its response."""
        sent = {
            "host": target.name,
            "accept-encoding": "identity",
            "user-agent": "extauthz",
            "connection": "close",
            **headers,
        }
        verify = await asyncio.to_thread(self._context, settings.ca_file) if target.scheme == "https" else _NO_TLS
        method, fault = "GET" if form is None else "POST", ""
        for address in await self._dialled(target, settings):
            host = f"[{address}]" if isinstance(address, IPv6Address) else str(address)
            timeout = httpx2.Timeout(self._deadline, connect=_CONNECT_TIMEOUT).as_dict()
            extensions = {"sni_hostname": target.host, "timeout": timeout}
            url = target.url.copy_with(host=host)
            request = httpx2.Request(method, url, headers=sent, content=form, extensions=extensions)
            try:
                async with exchange(request, verify) as response:
                    return await read(response)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                fault = str(error) or "no connection"
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                raise UpstreamError(f"{target.name}: {fault_of(error)}") from error
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

    async def _authorization(self, target: Target, token_file: str) -> str:
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

    async def _dialled(self, target: Target, settings: Reach) -> list[IPv4Address | IPv6Address]:
        """The addresses to try for a host."""
        try:
            addresses = await self._resolved(target.host, target.port)
        except (OSError, UnicodeError) as error:
            raise UpstreamError(f"{target.name}: the name can't be resolved") from error
        allowed = allowed_addresses(addresses, allow_private=settings.allow_private_addresses)
        if not allowed:
            hint = "" if settings.allow_private_addresses else " (allowPrivateAddresses would allow private ones)"
            raise UpstreamError(f"{target.name}: its address may not be dialled{hint}")
        return allowed

    async def _resolved(self, host: str, port: int) -> list[IPv4Address | IPv6Address]:
        """The addresses of a host. Who asks for them at a time asks once: a name server that does not answer holds a
        thread for longer than anybody waits, and may not have all threads of the process.
        """
        lookup = self._lookups.get((host, port))
        if lookup is None:
            lookup = self._lookups[host, port] = asyncio.create_task(resolve(host, port), name="name look-up")
            lookup.add_done_callback(partial(self._looked_up, host, port))
        # wait() and not await: cancelling one who asks must not cancel what others wait for.
        await asyncio.wait((lookup,))
        return lookup.result()

    def _looked_up(self, host: str, port: int, lookup: asyncio.Task[list[IPv4Address | IPv6Address]]) -> None:
        del self._lookups[host, port]
        if not lookup.cancelled():
            # Seen, even if everybody who asked has gone.
            lookup.exception()


async def _read(response: httpx2.Response, target: Target, settings: Reach) -> Answer | Target:
    """The body of a response, or where it redirects to."""
    if response.status_code in _REDIRECTS:
        return _redirected(response, target, settings)
    if response.status_code != httpx2.codes.OK:
        raise UpstreamError(f"{target.name}: answered {response.status_code}")
    return Answer(await read_body(response, target.name), _max_age(response.headers))


def _redirected(response: httpx2.Response, target: Target, settings: Reach) -> Target:
    """Where a response redirects to, if that is on the same host and no step down to plain HTTP."""
    try:
        url = target.url.join(response.headers.get("location", ""))
    except httpx2.InvalidURL as error:
        raise UpstreamError(f"{target.name}: redirects to no URL") from error
    found = checked_target(str(url), settings)
    same = (found.host, found.scheme, found.port) == (target.host, target.scheme, target.port)
    upgrade = (found.host, found.scheme, found.port) == (target.host, "https", 443) and target.port == PORTS["http"]
    if not same and not upgrade:
        raise UpstreamError(f"{target.name}: redirects to another origin, which is not followed")
    return found


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


def _read_token(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(_MAX_TOKEN_SIZE + 2)
