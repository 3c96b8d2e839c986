"""``mesh``: proxies that vouch for their peers by the certificates of connections, and how that must fit together.

The principal of a certificate is there on every request of a mesh, so an entry here opens nothing by itself: policies have
to name it. Names of workloads are compared as they stand. What could never match is an error, as it would look like a
grant and be none.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

from extauthz.canonical import looks_like_spiffe, read_spiffe_id, read_spiffe_pattern, trust_domain_name
from extauthz.config.faults import Fault
from extauthz.config.fields import AnyList, Section, Text
from extauthz.documents import FieldError

if TYPE_CHECKING:
    from extauthz.config.providers import Provider

__all__ = ["Mesh", "Xfcc", "mesh_faults"]

Path = tuple[str | int, ...]


def _trust_domain(name: str) -> str:
    if not trust_domain_name(name):
        message = f"{name!r} is not a trust domain"
        raise FieldError(message, "the part of a SPIFFE ID after spiffe://, such as cluster.local, in lower case")
    return name


def _principal(name: str) -> str:
    if "*" in name:
        message = f"{name!r} has a '*': principals are compared as a whole here"
        raise FieldError(message, "write each of them")
    if looks_like_spiffe(name) and read_spiffe_id(name) is None:
        message = f"{name!r} begins like a SPIFFE ID and is none"
        raise FieldError(message, "as in spiffe://cluster.local/ns/shop/sa/checkout")
    return name


def _other_principal(name: str) -> str:
    if looks_like_spiffe(name):
        message = f"{name!r} is a SPIFFE ID"
        raise FieldError(message, "trustDomains says which of them are taken")
    return _principal(name)


class Xfcc(Section):
    """When `x-forwarded-client-cert` tells the caller."""

    trusted_peers: AnyList[Annotated[Text, AfterValidator(_principal)]] = ()
    """Principals of the gateways that tell who their caller is. They speak for others and never for themselves. Each must
    set or append the header (SANITIZE_SET, APPEND_FORWARD), never just forward it."""
    without_principal: bool = False
    """true: the header counts as well where a request has no principal at all, which is how a waypoint asks. Whoever can
    get such a request with this header through to a proxy is anybody: only where every proxy that asks replaces it."""


class Mesh(Section):
    """A mesh whose proxies verify the certificates of their peers. At least one of `trustDomains` and `otherPrincipals`
    must say whom it takes.
    """

    trust_domains: AnyList[Annotated[Text, AfterValidator(_trust_domain)]] = ()
    """Callers with a SPIFFE ID of one of these are taken; the whole ID is their subject."""
    other_principals: AnyList[Annotated[Text, AfterValidator(_other_principal)]] = ()
    """Callers with certificates of other kinds: each principal as Envoy tells it (the first URI or else DNS name, else the
    subject), compared as a whole."""
    xfcc: Xfcc | None = None
    """Absent: the header means nothing, and the caller is the connection's other end."""


def mesh_faults(path: Path, provider: "Provider", mesh: Mesh) -> Iterator[Fault]:
    """What does not fit together in a provider of this kind."""
    if not mesh.trust_domains and not mesh.other_principals:
        yield Fault((*path, "mesh"), "takes no callers", "name your trust domain, as in trustDomains: [cluster.local]")
    if mesh.xfcc and not mesh.xfcc.trusted_peers and not mesh.xfcc.without_principal:
        yield Fault((*path, "mesh", "xfcc"), "says of nobody that the header counts", "give trustedPeers, or remove it")
    yield from _foreign_words(path, provider)
    speakers = mesh.xfcc.trusted_peers if mesh.xfcc else ()
    for index, name in enumerate(mesh.other_principals):
        if name in speakers:
            yield Fault((*path, "mesh", "otherPrincipals", index), f"{name!r} is a trusted peer, and never a caller")
    for key in provider.roles.map:
        fault = _key_fault(key, mesh, speakers)
        if fault:
            hint = "write a SPIFFE ID, spiffe://cluster.local/ns/shop/*, */sa/checkout, * or one of otherPrincipals"
            yield Fault((*path, "roles", "map", key), fault, hint)


def _foreign_words(path: Path, provider: "Provider") -> Iterator[Fault]:
    """Settings of other kinds of providers."""
    if "places" in provider.model_fields_set:
        yield Fault((*path, "from"), "the certificate of a connection is in no header", "remove it")
    if "fetch" in provider.model_fields_set:
        yield Fault((*path, "fetch"), "the proxy verifies certificates: nothing is fetched", "remove it")
    if "claims" in provider.roles.model_fields_set:
        yield Fault((*path, "roles", "claims"), "a certificate holds no roles", "map principals to roles: roles.map")
    if "unmapped" in provider.roles.model_fields_set:
        yield Fault((*path, "roles", "unmapped"), "a principal without a key gives no role anyway", "remove it")


def _key_fault(key: str, mesh: Mesh, speakers: tuple[str, ...]) -> str:
    """Why a key of ``roles.map`` would never match; empty if it may."""
    if key in speakers:
        return f"{key!r} is a trusted peer, and never a caller"
    if key in mesh.other_principals:
        return ""
    if read_spiffe_pattern(key) is None:
        return f"{key!r} names no callers: '*' stands for whole segments, at the end, at the begin or alone"
    domain = key.removeprefix("spiffe://").partition("/")[0]
    if key.startswith("spiffe://") and domain not in mesh.trust_domains:
        return f"{key!r} would never match: {domain!r} is none of the trustDomains"
    return "" if mesh.trust_domains else f"{key!r} would never match: there are no trustDomains"
