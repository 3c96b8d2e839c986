"""From what the proxy sent to the canonical request, or to the reason why there is none.

Whatever two servers could read differently is refused here, before credentials or policies are looked at: policies never
see a request that the upstream could take for another one. The specification is Envoy's behaviour as recorded from a real
Envoy (docs/envoy.md): ``http.path`` holds the raw path and query, ``http.host`` is the client's text, repeated headers
are joined with a comma in map mode, ``x-forwarded-*`` and ``:scheme`` are the client's own words.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Final
from urllib.parse import parse_qsl

from extauthz.canonical import (
    HeaderTwins,
    PathRules,
    canonical_address,
    canonical_host,
    canonical_path,
    folded_names,
)
from extauthz.model import EMPTY, AttributeContext, Deny, HttpAttributes, IPAddress, Reason, Request

__all__ = ["RequestRules", "canonical_request", "speaks_grpc"]

_USUAL: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_METHOD: Final = re.compile(r"[A-Z][A-Z0-9_-]{0,31}\Z")
_PLAIN: Final = bytes((0x09, *range(0x20, 0x7F)))
"""Tab and the printable characters of ASCII."""
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_OVERRIDES: Final = frozenset({"x-http-method-override", "x-method-override", "x-http-method"})
_ENCODED_LETTER: Final = re.compile(r"%[4-7][0-9A-Fa-f]")
_NO_TWINS: Final = HeaderTwins(())
_MAX_QUERY_FIELDS: Final = 1000
_MAX_ID: Final = 128


@dataclass(frozen=True, slots=True)
class RequestRules:
    """What the operator accepts of requests, and how the client's address is told. Defaults are the strictest."""

    path: PathRules = field(default_factory=PathRules)
    method_override: bool = False
    """Accept ``X-HTTP-Method-Override`` and the like, which make some upstreams serve another method."""
    sni_must_equal_host: bool = False
    trusted_hops: int = 0
    """0: the client is ``source.address``; N: the Nth address from the right of ``x-forwarded-for``."""


def canonical_request(sent: AttributeContext, rules: RequestRules, twins: HeaderTwins = _NO_TWINS) -> Request | Deny:
    """The canonical form of a request, or a denial with status 400.

    ``twins`` knows the headers that policies write: a client's header that an upstream could take for one is refused.
    """
    if sent.fault:
        return Deny(Reason.REQUEST_MALFORMED, sent.fault)
    source_ip = canonical_address(sent.source.address)
    if sent.http is None:
        return Request(
            http=False,
            id="",
            time=sent.time,
            method="",
            path="",
            query="",
            host="",
            scheme="",
            protocol="",
            headers=EMPTY,
            source=sent.source,
            destination=sent.destination,
            source_ip=source_ip,
            client_ip=source_ip,
            sni=sent.sni,
            context=sent.context,
            grpc=False,
            preflight=False,
            websocket=False,
        )
    http = sent.http
    folded = folded_names(http.headers)
    if folded is None:
        return Deny(Reason.REQUEST_MALFORMED, "a header name has a character that does not belong there")
    twin = twins.find(http.headers, folded)
    if twin:
        return Deny(Reason.REQUEST_MALFORMED, f"a header's name could be taken for {twin}, which policies write")
    fault = _header_fault(http)
    if fault:
        return Deny(Reason.REQUEST_MALFORMED, fault)
    method = http.method
    if method not in _USUAL and not _METHOD.match(method):
        return Deny(Reason.REQUEST_MALFORMED, "the method is not an upper-case token")
    target = _target(http, rules.path)
    if isinstance(target, Deny):
        return target
    path, query = target
    host = _host(http, sent.sni if rules.sni_must_equal_host else None)
    if isinstance(host, Deny):
        return host
    overridden = _overridden(http, folded, query)
    if overridden and not rules.method_override:
        return Deny(Reason.REQUEST_MALFORMED, "the request asks to be served as another method")
    headers = {name: values for name, values in http.headers.items() if name[0] != ":"}
    preflight = method == "OPTIONS" and not overridden and _has(headers, "origin", "access-control-request-method")
    websocket = "upgrade" in headers and any("websocket" in value.lower() for value in headers["upgrade"])
    # In order: Python takes longer for the names of so many arguments than for all else here.
    return Request(
        True,
        (headers.get("x-request-id") or (http.id,))[0][:_MAX_ID],
        sent.time,
        method,
        path,
        query,
        host,
        http.scheme.lower(),
        http.protocol,
        headers,
        sent.source,
        sent.destination,
        source_ip,
        source_ip if rules.trusted_hops == 0 else _client(headers, rules.trusted_hops),
        sent.sni,
        sent.context,
        speaks_grpc(http),
        preflight,
        websocket,
    )


def speaks_grpc(http: HttpAttributes | None) -> bool:
    """Whether the caller speaks gRPC, by the rule that Envoy turns denials into trailers with."""
    if http is None:
        return False
    kind = http.headers.get("content-type", ("",))[0]
    return kind == "application/grpc" or kind.startswith("application/grpc+")


def _target(http: HttpAttributes, rules: PathRules) -> tuple[str, str] | Deny:
    """The canonical path and the raw query. CONNECT names no path (RFC 9110 section 9.3.6)."""
    raw_path, _, query = http.path.partition("?")
    if http.method == "CONNECT" and not http.path:
        return "", ""
    if not raw_path.startswith("/"):
        return Deny(Reason.REQUEST_MALFORMED, "the path does not begin with a slash")
    path = canonical_path(raw_path, rules)
    if path.fault:
        return Deny(Reason.PATH_AMBIGUOUS, f"the path can't be used: {path.fault}")
    if "#" in query:
        return Deny(Reason.PATH_AMBIGUOUS, "the query has a fragment")
    if query and _has_control(query):
        return Deny(Reason.REQUEST_MALFORMED, "the query has a control character")
    return path.text, query


def _host(http: HttpAttributes, server_name: str | None) -> str | Deny:
    """The canonical host, which a Host header, if there is one, and a server name, unless None, must equal."""
    host = canonical_host(http.host)
    if host.fault:
        return Deny(Reason.HOST_INVALID, f"the host can't be used: {host.fault}")
    if "host" in http.headers and any(canonical_host(value) != host for value in http.headers["host"]):
        return Deny(Reason.HOST_INVALID, "the Host header and :authority differ")
    if server_name is not None and canonical_host(server_name) != host:
        return Deny(Reason.HOST_INVALID, "the TLS server name and the host differ")
    return host.text


def _header_fault(http: HttpAttributes) -> str:
    """What is wrong with the values of headers; empty if nothing is."""
    headers = http.headers
    if _has_control(http.scheme + "".join(chain.from_iterable(headers.values()))):
        return "a header value has a control character"
    for name, part in ((":method", http.method), (":path", http.path), (":authority", http.host)):
        for value in headers.get(name, ()):
            if value != part:
                return f"{name} in the headers differs from the request"
    return ""


def _has_control(text: str) -> bool:
    """Whether a text has a control character other than a tab."""
    if text.isascii():  # a table's look-up for each byte takes a third of any other way to ask
        return text.encode().translate(None, _PLAIN) != b""
    return _CONTROL.search(text) is not None


def _overridden(http: HttpAttributes, folded: Collection[str], query: str) -> bool:
    """Whether a header or query field asks the upstream to serve another method than the one that is judged."""
    asked: list[str] = []
    if not _OVERRIDES.isdisjoint(folded):
        spelled = zip(folded, http.headers.values(), strict=True)
        asked += [value for name, values in spelled if name in _OVERRIDES for value in values]
    # A field may be called ``_method`` where that is written so, or with a letter percent-encoded.
    if query and ("method" in query.lower() or ("%" in query and _ENCODED_LETTER.search(query))):
        try:
            # Some upstreams split at semicolons too, and PHP makes an underscore of a dot or a bracket.
            fields = parse_qsl(query.replace(";", "&"), keep_blank_values=True, max_num_fields=_MAX_QUERY_FIELDS)
        except ValueError:
            return True
        asked += [value for name, value in fields if name[:1] in ("_", ".", "[") and name[1:].lower() == "method"]
    return bool(asked) and any(value.strip().upper() != http.method for value in asked)


def _client(headers: Mapping[str, tuple[str, ...]], hops: int) -> IPAddress | None:
    """The client's address; None if the hops that are trusted did not write one."""
    written = ",".join(headers.get("x-forwarded-for", ())).rsplit(",", hops)
    return canonical_address(written[-hops].strip()) if len(written) >= hops else None


def _has(headers: Mapping[str, tuple[str, ...]], *names: str) -> bool:
    """Whether all of these headers are there and not empty."""
    return all(any(headers.get(name, ())) for name in names)
