"""SPIFFE IDs, the names of workloads, in their one spelling, and the patterns that stand for many of them.

The SPIFFE ID specification allows ``spiffe://<trust domain>/<path>`` and nothing that a URI may have besides: no user,
port, query, fragment, per cent sign, empty or dot segment, no upper case in the trust domain. So there is nothing to
normalise: a text is an ID as it stands, or it is none. An ID without a path names a trust domain and no workload, and is
none here.

Envoy tells one principal of a certificate: its first URI SAN, else its first DNS SAN, else its subject. These are
different namespaces that meet in one string. What begins like a SPIFFE ID and is none is never taken for a name of
another kind.
"""

import re
from dataclasses import dataclass

__all__ = [
    "SpiffeId",
    "SpiffePattern",
    "looks_like_spiffe",
    "read_spiffe_id",
    "read_spiffe_pattern",
    "trust_domain_name",
]

MAX_LENGTH = 2048
"""Bytes of an ID (SPIFFE-ID section 2.3); all of its characters are ASCII."""

_SCHEME = "spiffe://"
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}\Z")
_ID = re.compile(r"spiffe://([a-z0-9._-]{1,255})((?:/[A-Za-z0-9._-]+)+)\Z")
_PREFIX = re.compile(r"spiffe://[a-z0-9._-]{1,255}/(?:[A-Za-z0-9._-]+/)*\Z")
_SUFFIX = re.compile(r"(?:/[A-Za-z0-9._-]+)+\Z")
_DOTS = re.compile(r"/\.{1,2}(?:/|\Z)")
_KUBERNETES = re.compile(r"/ns/([^/]+)/sa/([^/]+)\Z")


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """The name of a workload."""

    text: str
    trust_domain: str
    path: str
    """Begins with a slash."""
    namespace: str = ""
    """Of an ID ``/ns/<namespace>/sa/<service account>``, as Istio and Kubernetes have it; else empty."""
    service_account: str = ""


@dataclass(frozen=True, slots=True)
class SpiffePattern:
    """All IDs with one of a text, a beginning and an end. ``*`` has the two last of them empty, and means every ID."""

    exact: str = ""
    prefix: str = ""
    suffix: str = ""

    def matches(self, text: str) -> bool:
        """Whether an ID, which must be one, is among them."""
        if self.exact:
            return text == self.exact
        return text.startswith(self.prefix) and text.endswith(self.suffix)


def read_spiffe_id(text: str) -> SpiffeId | None:
    """The ID that a text is, or None."""
    found = _ID.match(text)
    if found is None or len(text) > MAX_LENGTH or _DOTS.search(found[2]):
        return None
    workload = _KUBERNETES.match(found[2])
    namespace, account = (workload[1], workload[2]) if workload else ("", "")
    return SpiffeId(text, found[1], found[2], namespace, account)


def looks_like_spiffe(text: str) -> bool:
    """Whether somebody could take a text for a SPIFFE ID, although it may be none."""
    return text.lstrip()[:7].lower() == "spiffe:"


def trust_domain_name(text: str) -> bool:
    """Whether this is the name of a trust domain."""
    return _TRUST_DOMAIN.match(text) is not None


def read_spiffe_pattern(text: str) -> SpiffePattern | None:
    """Read an ID, ``spiffe://td/ns/shop/*``, ``*/sa/checkout`` or ``*``; None if the text is nothing of these.

    The ``*`` stands for whole segments: beside a slash, or alone. ``.../sa/web*`` would cover ``web-of-somebody-else``.
    """
    if text == "*":
        return SpiffePattern()
    if "*" not in text:
        return SpiffePattern(exact=text) if read_spiffe_id(text) else None
    if _DOTS.search(text.removeprefix(_SCHEME)):
        return None
    if text.endswith("*") and _PREFIX.match(text[:-1]):
        return SpiffePattern(prefix=text[:-1])
    if text.startswith("*") and _SUFFIX.match(text[1:]):
        return SpiffePattern(suffix=text[1:])
    return None
