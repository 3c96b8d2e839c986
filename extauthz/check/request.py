"""From what the proxy sent to the canonical request, or to the reason why there is none.

Whatever two servers could read differently is refused here, before credentials or policies are looked at: policies never
see a request that the upstream could take for another one. The specification is Envoy's behaviour as recorded from a real
Envoy (docs/envoy.md): ``http.path`` holds the raw path and query, ``http.host`` is the client's text, repeated headers
are joined with a comma in map mode, ``x-forwarded-*`` and ``:scheme`` are the client's own words.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from urllib.parse import parse_qsl

from extauthz.canonical import PathRules, canonical_host, canonical_path
from extauthz.model import EMPTY, AttributeContext, Deny, HttpAttributes, IPAddress, Reason, Request

__all__ = ["RequestRules", "canonical_request", "speaks_grpc"]

_METHOD = re.compile(r"[A-Z][A-Z0-9_-]{0,31}\Z")
_NAMES = re.compile(r"(?::?[!#$%&'*+.^_`|~0-9a-z-]+\n)*\Z")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_OVERRIDES = ("x-http-method-override", "x-method-override", "x-http-method")
_MAX_QUERY_FIELDS = 1000
_MAX_ID = 128


@dataclass(frozen=True, slots=True)
class RequestRules:
    """What the operator accepts of requests, and how the client's address is told. Defaults are the strictest."""

    path: PathRules = field(default_factory=PathRules)
    method_override: bool = False
    """Accept ``X-HTTP-Method-Override`` and the like, which make some upstreams serve another method."""
    sni_must_equal_host: bool = False
    trusted_hops: int = 0
    """0: the client is ``source.address``; N: the Nth address from the right of ``x-forwarded-for``."""


def canonical_request(sent: AttributeContext, rules: RequestRules) -> Request | Deny:
    """The canonical form of a request, or a denial with status 400."""
    if sent.fault:
        return Deny(Reason.REQUEST_MALFORMED, sent.fault)
    source_ip = _address(sent.source.address)
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
    fault = _header_fault(http)
    if fault:
        return Deny(Reason.REQUEST_MALFORMED, fault)
    if not _METHOD.match(http.method):
        return Deny(Reason.REQUEST_MALFORMED, "the method is not an upper-case token")
    target = _target(http, rules.path)
    if isinstance(target, Deny):
        return target
    path, query = target
    host = _host(http, sent.sni if rules.sni_must_equal_host else "")
    if isinstance(host, Deny):
        return host
    if not rules.method_override and _overridden(http, query):
        return Deny(Reason.REQUEST_MALFORMED, "the request asks to be served as another method")
    headers = {name: values for name, values in http.headers.items() if not name.startswith(":")}
    return Request(
        http=True,
        id=(headers.get("x-request-id") or (http.id,))[0][:_MAX_ID],
        time=sent.time,
        method=http.method,
        path=path,
        query=query,
        host=host,
        scheme=http.scheme.lower(),
        protocol=http.protocol,
        headers=headers,
        source=sent.source,
        destination=sent.destination,
        source_ip=source_ip,
        client_ip=_client(source_ip, headers, rules.trusted_hops),
        sni=sent.sni,
        context=sent.context,
        grpc=speaks_grpc(http),
        preflight=http.method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers,
        websocket=any("websocket" in value.lower() for value in headers.get("upgrade", ())),
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
    if _CONTROL.search(query):
        return Deny(Reason.REQUEST_MALFORMED, "the query has a control character")
    return path.text, query


def _host(http: HttpAttributes, server_name: str) -> str | Deny:
    """The canonical host, which a Host header and a server name, if given, must equal."""
    host = canonical_host(http.host)
    if host.fault:
        return Deny(Reason.HOST_INVALID, f"the host can't be used: {host.fault}")
    if any(canonical_host(value) != host for value in http.headers.get("host", ())):
        return Deny(Reason.HOST_INVALID, "the Host header and :authority differ")
    if server_name and canonical_host(server_name) != host:
        return Deny(Reason.HOST_INVALID, "the TLS server name and the host differ")
    return host.text


def _header_fault(http: HttpAttributes) -> str:
    """What is wrong with the headers as a whole; empty if nothing is."""
    headers = http.headers
    if not _NAMES.match("\n".join((*headers, ""))):
        return "a header name has a character that does not belong there"
    for values in headers.values():
        for value in values:
            if _CONTROL.search(value):
                return "a header value has a control character"
    for name, part in ((":method", http.method), (":path", http.path), (":authority", http.host)):
        if any(value != part for value in headers.get(name, ())):
            return f"{name} in the headers differs from the request"
    return ""


def _overridden(http: HttpAttributes, query: str) -> bool:
    """Whether a header or query field asks the upstream to serve another method than the one that is judged."""
    asked = [value for name in _OVERRIDES for value in http.headers.get(name, ())]
    if "method" in query.lower() or "%" in query:
        try:
            fields = parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_QUERY_FIELDS)
        except ValueError:
            return True
        asked += [value for name, value in fields if name.lower() == "_method"]
    return any(value.strip().upper() != http.method for value in asked)


def _client(source: IPAddress | None, headers: Mapping[str, tuple[str, ...]], hops: int) -> IPAddress | None:
    """The client's address; None if the hops that are trusted did not write one."""
    if hops == 0:
        return source
    chain = ",".join(headers.get("x-forwarded-for", ())).split(",")
    return _address(chain[-hops].strip()) if len(chain) >= hops else None


@lru_cache(maxsize=4096)
def _address(text: str) -> IPAddress | None:
    """An address as one value, however it is spelled: an IPv4-mapped IPv6 address is the IPv4 address."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.scope_id:
            return None
        return address.ipv4_mapped or address
    return address
