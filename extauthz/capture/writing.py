"""From a decided Check to its capture.

The form is the ``AttributeContext`` that the journey began with, member by member, what is empty left out:

``version`` 1; ``source`` and ``destination`` with ``address``, ``port``, ``principal``; ``time`` in seconds since the
epoch; ``http`` with ``id``, ``method``, ``path``, ``host``, ``scheme``, ``protocol`` and ``headers``, each name with the
list of its values; ``sni``; ``context``; ``fault``; then ``caller`` and ``peer``, which are an identity or ``{refused,
detail, provider}``; and ``redacted``, where something was hidden.

Not in it: certificates, and pseudo headers that say what the request says anyway. A capture that would be too large is
not made: its size must not be for the client to choose.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from extauthz.capture.hiding import HIDDEN, CredentialPlaces, Hiding, embedded_parameters
from extauthz.model import AttributeContext, Deny, HttpAttributes, Identity, Peer

__all__ = ["LIMIT", "VERSION", "CaptureWriter"]

VERSION = 1
LIMIT = 16 * 1024
"""Bytes of a capture in JSON. Envoy takes 60 KiB of headers by default; few requests have a tenth of that."""

_PSEUDO = {":method": "method", ":path": "path", ":authority": "host", ":scheme": "scheme"}
_MAX_DEPTH = 16

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class CaptureWriter:
    """Makes captures. One per process."""

    def __init__(
        self,
        places: CredentialPlaces,
        *,
        mask: Callable[[str], str],
        sensitive: Callable[[str], bool],
        limit: int = LIMIT,
    ) -> None:
        """Keep what is a credential: where providers look for some, and what looks like one.

        ``mask`` hides what looks like a credential in a text, ``sensitive`` knows names that credentials have, ``limit``
        is in bytes of JSON.
        """
        self._places = places
        self._mask = mask
        self._sensitive = sensitive
        self._limit = limit
        self._embedded = embedded_parameters(places)

    def text(self, sent: AttributeContext, caller: Identity | Deny | None, peer: Identity | Deny | None) -> str | None:
        """The capture as JSON in ASCII; None if it would be too large."""
        if _weight(sent) > self._limit:
            return None
        text = _encode(self.value(sent, caller, peer))
        return text if len(text) <= self._limit else None

    def value(
        self, sent: AttributeContext, caller: Identity | Deny | None, peer: Identity | Deny | None
    ) -> dict[str, Any]:
        """The capture, whatever its size."""
        hiding = Hiding(self._places, mask=self._mask, sensitive=self._sensitive, embedded=self._embedded)
        if sent.http is not None:
            hiding.learn(sent.http.headers, sent.http.path.partition("?")[2])
        written: dict[str, Any] = {
            "version": VERSION,
            "source": _peer(sent.source, hiding),
            "destination": _peer(sent.destination, hiding),
            "time": sent.time,
            "http": None if sent.http is None else _http(sent.http, hiding),
            "sni": hiding.text("sni", sent.sni),
            "context": {name: hiding.member("context", name, value) for name, value in sent.context.items()},
            "fault": sent.fault,
            "caller": _caller(caller, hiding),
            "peer": _caller(peer, hiding),
        }
        written["redacted"] = sorted(hiding.names)
        return {name: value for name, value in written.items() if value not in (None, "", {}, [])}


def _weight(sent: AttributeContext) -> int:
    """About how much text a Check has: what is too much is not even looked through."""
    weight = sum(len(name) + len(value) for name, value in sent.context.items())
    if sent.http is not None:
        weight += len(sent.http.path) + len(sent.http.host)
        for name, values in sent.http.headers.items():
            if name not in _PSEUDO:
                weight += len(name) + sum(map(len, values))
    return weight


def _peer(peer: Peer, hiding: Hiding) -> dict[str, Any]:
    written: dict[str, Any] = {}
    if peer.address:
        written["address"] = peer.address
    if peer.port:
        written["port"] = peer.port
    if peer.principal:
        written["principal"] = hiding.text("principal", peer.principal)
    return written


def _http(http: HttpAttributes, hiding: Hiding) -> dict[str, Any]:
    path, question, query = http.path.partition("?")
    shown = hiding.path(path) + question + hiding.query(query)
    headers = hiding.headers({name: values for name, values in http.headers.items() if name[:1] != ":"})
    for name, values in http.headers.items():
        part = _PSEUDO.get(name)
        if name[:1] == ":" and not (part and values == (getattr(http, part),)):
            # It contradicts the request, which is refused for that: what it says is of no use.
            hiding.mark("headers", name)
            headers[name] = [HIDDEN] * len(values)
    if "host" in headers:
        headers["host"] = [hiding.host(value) for value in http.headers["host"]]
    return {
        "id": hiding.text("id", http.id),
        "method": hiding.text("method", http.method),
        "path": shown,
        "host": hiding.host(http.host),
        "scheme": hiding.text("scheme", http.scheme),
        "protocol": hiding.text("protocol", http.protocol),
        "headers": headers,
    }


def _caller(caller: Identity | Deny | None, hiding: Hiding) -> dict[str, Any] | None:
    if caller is None:
        return None
    if isinstance(caller, Deny):
        refused: dict[str, Any] = {"refused": caller.reason.word}
        if caller.detail:
            refused["detail"] = hiding.text("detail", caller.detail)
        if caller.provider:
            refused["provider"] = caller.provider
        return refused
    return {
        "subject": hiding.text("subject", caller.subject),
        "issuer": hiding.text("issuer", caller.issuer),
        "provider": caller.provider,
        "roles": [hiding.text("roles", role) for role in sorted(caller.roles)],
        "scopes": [hiding.text("scopes", scope) for scope in caller.scopes],
        "claims": {name: _claim(name, name, value, hiding) for name, value in caller.claims.items()},
        "expires": caller.expires,
    }


def _claim(top: str, name: str, value: Any, hiding: Hiding, depth: int = 0) -> Any:
    """A claim's value; ``top`` is the claim that it is part of. What JSON has no form for is hidden."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return hiding.member("claims", name, value, top)
    if isinstance(value, int | float) and not hiding.hides(name):
        return value
    if depth < _MAX_DEPTH and not hiding.hides(name):
        if isinstance(value, Mapping):
            return {str(key): _claim(top, str(key), item, hiding, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [_claim(top, name, item, hiding, depth + 1) for item in value]
    hiding.mark("claims", top)
    return HIDDEN
