"""Origin: whether the page that made a browser send a credential may use it.

A browser adds cookies to every request to a host, whichever page asked for it (CSRF), and lets every page open a websocket
to any host, with its cookies (cross-site websocket hijacking). What tells such a request from a good one is ``Origin``, which
pages can't forge. Browsers send it with each websocket handshake, each request of another method than GET and HEAD, and
each cross-origin fetch; they leave it out when somebody follows a link. So a credential that came in a cookie counts

- with an ``Origin`` that is in the provider's ``allowedOrigins``, or without such a list is that of the request's own host;
- without ``Origin`` for GET, HEAD and OPTIONS alone, and for no websocket.

A token in a websocket subprotocol was put there by a script that has it, so it is no ambient credential: it is held against
``allowedOrigins`` only if there are any. ``Origin: null`` (a sandboxed frame, a local file) is nobody's.

The scheme of the own host: https, or whatever the request itself was made with. The port is not compared, as cookies don't
know ports either and Envoy's canonical host has none.
"""

import re

from extauthz.model import Request

__all__ = ["cookie_fault", "subprotocol_fault"]

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_PORT = re.compile(r":[0-9]{1,5}\Z")


def cookie_fault(request: Request, allowed: frozenset[str] | None) -> str:
    """Why a cookie of this request counts for nothing; empty if it counts."""
    values = request.headers.get("origin")
    if values is None:
        if request.method in _SAFE and not request.websocket:
            return ""
        return "the request could change something and has no Origin, so any page may have sent it"
    if allowed is not None:
        return _fault(values, allowed)
    own = frozenset(f"{scheme}://{request.host}" for scheme in ("https", request.scheme))
    return _fault(tuple(_PORT.sub("", value) for value in values), own)


def subprotocol_fault(request: Request, allowed: frozenset[str] | None) -> str:
    """Why a token among the subprotocols of this request counts for nothing; empty if it counts."""
    return "" if allowed is None else _fault(request.headers.get("origin", ()), allowed)


def _fault(values: tuple[str, ...], allowed: frozenset[str]) -> str:
    if len(values) == 1 and values[0].lower() in allowed:
        return ""
    return "its Origin is missing, or not one that may use the credential"
