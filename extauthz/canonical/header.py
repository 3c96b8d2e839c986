"""Header names: which are well-formed, and which must never leave this server.

Envoy accepts from an authorization server what breaks the request (``content-length``, ``transfer-encoding``) or turns it
into another one (``:path``, ``host``), and default configurations do not stop it. So the names are refused where they are
written (configuration, policies) and once more where the answer is made.
"""

import re

__all__ = ["emittable", "header_name"]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]{1,128}\Z")
_NEVER = frozenset(
    {
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "te",
        "trailer",
        "upgrade",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "expect",
        "forwarded",
        "x-request-id",
        "traceparent",
        "tracestate",
        "b3",
    }
)
_NEVER_PREFIXES = ("x-envoy-", "x-forwarded-", "x-b3-")


def header_name(name: str) -> bool:
    """Whether this is a header name in the form that gRPC and HTTP/2 ask for: a lower-case token (RFC 9113 8.2)."""
    return _TOKEN.match(name) is not None


def emittable(name: str) -> bool:
    """Whether a policy may ever set or remove a header of this name.

    Not pseudo headers, not what frames or routes a message, not what Envoy and its tracers vouch for.
    """
    return _TOKEN.match(name) is not None and name not in _NEVER and not name.startswith(_NEVER_PREFIXES)
