"""From a capture back to what a request's journey begins with.

A capture comes from a file that anybody may have edited, so every member is looked at before it is believed. What is
believed then is who called: a capture is as good as the log that it stands in, and nothing that serves requests reads one.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from extauthz.capture.writing import VERSION
from extauthz.model import (
    AttributeContext,
    Deny,
    HttpAttributes,
    Identity,
    Peer,
    Reason,
    VerifiedClaims,
)

__all__ = ["CaptureError", "Captured", "read_capture"]

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_MAX_PORT = 0xFFFF_FFFF
_REASONS = {reason.word: reason for reason in Reason if reason is not Reason.ALLOWED}


class CaptureError(ValueError):
    """The value is no capture. The text names the member that is wrong, never its content."""


@dataclass(frozen=True, slots=True)
class Captured:
    """A recorded Check."""

    sent: AttributeContext
    caller: Identity | Deny | None
    """What its credentials proved, or why they proved nothing; None: there were none, or nobody looked."""
    peer: Identity | Deny | None
    """What its connection proved to the mesh providers that were asked for."""
    redacted: frozenset[str]
    """Where something was hidden: ``headers.cookie``, ``query.key``, ``claims.pin``, ``context.secret``, ``path``."""


def read_capture(value: Any) -> Captured:
    """The Check that a capture stands for.

    Raises:
        CaptureError: It is of another form or version.
    """
    written = _mapping(value, "capture")
    version = written.get("version")
    if version != VERSION:
        raise CaptureError(f"capture.version is not {VERSION}")
    http = written.get("http")
    sent = AttributeContext(
        source=_peer(written, "source"),
        destination=_peer(written, "destination"),
        time=_number(written, "time"),
        http=None if http is None else _http(_mapping(http, "http")),
        sni=_text(written, "sni"),
        context=_texts_by_name(written, "context"),
        fault=_text(written, "fault"),
    )
    caller, peer = _caller(written.get("caller"), "caller"), _caller(written.get("peer"), "peer")
    return Captured(sent, caller, peer, frozenset(_texts(written, "redacted")))


def _http(written: Mapping[str, Any]) -> HttpAttributes:
    headers = {}
    for name, values in _mapping(written.get("headers", _NOTHING), "http.headers").items():
        if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
            raise CaptureError("capture.http.headers is not texts by name")
        headers[name] = tuple(values)
    method, path, host = _text(written, "method"), _text(written, "path"), _text(written, "host")
    return HttpAttributes(
        _text(written, "id"), method, path, host, _text(written, "scheme"), _text(written, "protocol"), headers
    )


def _peer(written: Mapping[str, Any], name: str) -> Peer:
    peer = written.get(name)
    if peer is None:
        return Peer()
    peer = _mapping(peer, name)
    port = peer.get("port", 0)
    if type(port) is not int or not 0 <= port <= _MAX_PORT:
        raise CaptureError(f"capture.{name}.port is no port")
    return Peer(_text(peer, "address"), port, _text(peer, "principal"))


def _caller(value: Any, name: str) -> Identity | Deny | None:
    if value is None:
        return None
    written = _mapping(value, name)
    if "refused" in written:
        reason = _REASONS.get(_text(written, "refused"))
        if reason is None:
            raise CaptureError(f"capture.{name}.refused is no reason for a denial")
        return Deny(reason, _text(written, "detail"), provider=_text(written, "provider"))
    expires = written.get("expires")
    return Identity(
        _text(written, "subject"),
        _text(written, "issuer"),
        _text(written, "provider"),
        frozenset(_texts(written, "roles")),
        tuple(_texts(written, "scopes")),
        VerifiedClaims(MappingProxyType(_mapping(written.get("claims", _NOTHING), f"{name}.claims"))),
        None if expires is None else _number(written, "expires"),
    )


def _mapping(value: Any, name: str) -> Any:
    if not isinstance(value, Mapping):
        raise CaptureError(f"capture.{name} is no object" if name != "capture" else "the capture is no object")
    return value


def _text(written: Mapping[str, Any], name: str) -> str:
    value = written.get(name, "")
    if not isinstance(value, str):
        raise CaptureError(f"capture member {name!r} is no text")
    return value


def _texts(written: Mapping[str, Any], name: str) -> list[str]:
    value = written.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise CaptureError(f"capture member {name!r} is no list of texts")
    return value


def _texts_by_name(written: Mapping[str, Any], name: str) -> Mapping[str, str]:
    value = written.get(name, _NOTHING)
    if not isinstance(value, Mapping) or not all(isinstance(item, str) for item in value.values()):
        raise CaptureError(f"capture member {name!r} is not texts by name")
    return value


def _number(written: Mapping[str, Any], name: str) -> float:
    value = written.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise CaptureError(f"capture member {name!r} is no number")
    return value
