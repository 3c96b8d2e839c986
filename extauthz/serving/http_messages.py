"""Requests and answers of the http listener: from ASGI into plain values, and back."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from ipaddress import IPv6Address, ip_address

from starlette.types import Message, Receive, Scope

from extauthz.serving.http_connection import HttpConnection
from extauthz.tokens.http import HttpAnswer, HttpQuestion

__all__ = [
    "ClientGone",
    "discard_body",
    "fault_of",
    "header_size",
    "messages_of",
    "question_of",
    "read_body",
    "read_headers",
]

_DISCARDED_BYTES = 1024 * 1024
_DISCARD_SECONDS = 1.0
"""What is read of a body that is too large: a client that still sends would not see the answer."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?")
_OURS = frozenset({"connection", "content-length", "transfer-encoding"})
_DEFAULTS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
_BODILESS = frozenset({204, 304})


class ClientGone(Exception):  # noqa: N818 - no fault of anybody
    """The client has left."""


def header_size(scope: Scope) -> int:
    """In bytes. What arrives in one piece was not measured when it was read."""
    sizes = (len(name) + len(value) + 4 for name, value in scope["headers"])
    return len(scope["raw_path"]) + len(scope["query_string"]) + sum(sizes)


def read_headers(scope: Scope) -> Mapping[str, tuple[str, ...]]:
    """The headers of a request, in lower case, each with its values in order of arrival."""
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    return {name: tuple(values) for name, values in found.items()}


async def read_body(receive: Receive, headers: Mapping[str, tuple[str, ...]], most: int) -> bytes | None:
    """The body; None if it is larger than may be. Raises ClientGone."""
    # What is no number, or several that differ, was refused as malformed before.
    if int(headers.get("content-length", ("0",))[0]) > most:
        return None
    body, more = await _part(receive)
    while more:
        part, more = await _part(receive)
        body += part
        if len(body) > most:
            return None
    return body if len(body) <= most else None


async def discard_body(receive: Receive) -> None:
    """Read on for a moment. Raises ClientGone."""
    left, more = _DISCARDED_BYTES, True
    with suppress(TimeoutError):
        async with asyncio.timeout(_DISCARD_SECONDS):
            while more and left > 0:
                part, more = await _part(receive)
                left -= len(part)


async def _part(receive: Receive) -> tuple[bytes, bool]:
    """Some of the body, and whether there is more. Raises ClientGone."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message.get("body", b""), message.get("more_body", False)


def question_of(scope: Scope, headers: Mapping[str, tuple[str, ...]], body: bytes, now: float) -> HttpQuestion:
    """What is asked. A certificate that has expired at ``now``, in seconds since the epoch, counts as none."""
    method: str = scope["method"]
    connection: HttpConnection = scope["state"]["connection"]
    shown = connection.certificate
    return HttpQuestion(
        method="GET" if method == "HEAD" else method,
        path=scope["raw_path"].decode("latin-1"),
        query=scope["query_string"].decode("latin-1"),
        headers=headers,
        body=body,
        address=_address(scope["client"]),
        certificate=None if shown is None or now >= shown.expires else shown.der,
    )


def _address(client: tuple[str, int] | None) -> str:
    """The other end in its one spelling; empty for a unix socket."""
    if client is None:
        return ""
    address = ip_address(client[0].partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def fault_of(answer: HttpAnswer) -> str:
    """Why an answer can't be sent; empty if it can. It quotes nothing."""
    if not 200 <= answer.status <= 599:  # noqa: PLR2004 - what is final in HTTP
        return "the status is not that of a final answer"
    for name, value in answer.headers:
        if not _NAME.fullmatch(name) or not (_VALUE.fullmatch(value) or not value):
            return "a header has a name or value that HTTP does not know"
    return ""


def messages_of(answer: HttpAnswer, *, last: bool) -> Iterator[Message]:
    """An answer as ASGI has it."""
    given = {name.lower() for name, _ in answer.headers}
    headers = [(name.lower(), value) for name, value in answer.headers if name.lower() not in _OURS]
    headers += [(name, value) for name, value in _DEFAULTS.items() if name not in given]
    body = b"" if answer.status in _BODILESS else answer.body
    if answer.status not in _BODILESS:
        headers.append(("content-length", str(len(body))))
    if last:
        headers.append(("connection", "close"))
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    yield {"type": "http.response.start", "status": answer.status, "headers": encoded}
    yield {"type": "http.response.body", "body": body}
