"""Mesh identities: callers known by the certificate of their connection, without any token.

The proxy has verified the certificate and tells its principal. That is there on every mTLS request, whether anybody meant
it as a credential or not, so it counts only for policies that name the provider. Who asks is a SPIFFE ID of one of the
provider's trust domains, or one of the other principals that its configuration spells out; roles come from patterns over
SPIFFE IDs, and never from the certificate.

**Behind a gateway** the principal is the gateway's. A gateway that is a trusted peer speaks for its callers and never for
itself: who calls is in ``x-forwarded-client-cert``. That header is read from the right, since the newest element stands
last: whoever the element before was written by is known, so as long as that is a trusted peer, the next one to the left
can be believed. The first name that is no trusted peer is the caller; what stands further left, anybody may have written.
This fits a sidecar that appends an element about the gateway itself (Istio's) and a proxy that passes the header on. A
trusted peer that tells nothing of its caller gives no identity, because its own would then be everybody's.

**No identity** is one of three things. None: the request shows no principal. ``issuer-unknown``: a principal that is
somebody else's. Any other denial: nobody can say who it is, as the header is malformed, the name is a bad SPIFFE ID, or
the certificate is another one than the principal's; what a policy denies to some callers it must deny to this one.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from extauthz.canonical import looks_like_spiffe, read_spiffe_id, read_spiffe_pattern, trust_domain_name
from extauthz.identity.certificate import Certificate, CertificateError, read_certificate
from extauthz.identity.providers import ProviderState
from extauthz.identity.roles import NO_ROLES, ClaimPath, RoleError, RoleReader, RoleRules
from extauthz.identity.xfcc import HEADER, XfccError, read_xfcc
from extauthz.model import Deny, Identity, Reason, Request, VerifiedClaims

__all__ = ["Mesh", "MeshProvider"]

CLOCK_SKEW = 60.0
"""Seconds that a certificate may be over, for clocks that differ."""

_MAX_KNOWN = 1024
"""Callers, each with its certificate if the proxy sends it, that are kept for each provider."""
_PATTERNS = "patterns"


@dataclass(frozen=True, slots=True)
class MeshProvider:
    """A mesh whose proxies vouch for callers.

    Raises:
        ValueError: The parts can't be safe together.
    """

    name: str
    trust_domains: frozenset[str]
    """Names of trust domains, such as ``cluster.local``: callers with SPIFFE IDs in them are taken."""
    other_principals: frozenset[str] = frozenset()
    """Callers with certificates of other kinds: their principals, compared as a whole."""
    trusted_peers: frozenset[str] = frozenset()
    """Principals of gateways that tell their callers in ``x-forwarded-client-cert``."""
    without_principal: bool = False
    """That header counts as well where the request has no principal at all, as at a waypoint."""
    roles: RoleRules = NO_ROLES
    """``mapping`` has patterns of SPIFFE IDs and other principals as keys; no key, no role."""

    def __post_init__(self) -> None:
        """Refuse what could take somebody for somebody else."""
        checks = (
            (self.name, "the name is empty"),
            (self.trust_domains or self.other_principals, "it takes no callers"),
            (all(map(trust_domain_name, self.trust_domains)), "a trust domain's name is none"),
            (not any(map(looks_like_spiffe, self.other_principals)), "a SPIFFE ID is no other principal"),
            ("" not in self.other_principals | self.trusted_peers, "a principal is empty"),
            (not self.roles.claims, "roles can't come from claims"),
            (
                all(key in self.other_principals or read_spiffe_pattern(key) for key in self.roles.mapping),
                "a key of the roles' map is neither a SPIFFE ID, nor a pattern of some, nor another principal",
            ),
        )
        for fine, fault in checks:
            if not fine:
                message = f"provider {self.name!r}: {fault}"
                raise ValueError(message)


class Mesh:
    """All mesh providers at work."""

    def __init__(
        self,
        providers: Iterable[MeshProvider],
        included: Mapping[str, frozenset[str]],
        *,
        now: Callable[[], float],
    ) -> None:
        """Compile the providers.

        Raises:
            ValueError: Two of them would vouch for one caller.
        """
        known = tuple(providers)
        speakers = frozenset[str]().union(*(provider.trusted_peers for provider in known))
        self._members = tuple(_Member(provider, included, speakers, now) for provider in known)
        taken: set[str] = set()
        if len({provider.name for provider in known}) < len(known):
            message = "a mesh provider: its name is that of another provider"
            raise ValueError(message)
        for provider in known:
            # Marked, since a trust domain may be spelled like somebody's DNS name.
            names = provider.trust_domains | {f"={principal}" for principal in provider.other_principals}
            if not taken.isdisjoint(names):
                message = f"provider {provider.name!r}: another one takes the same callers"
                raise ValueError(message)
            taken |= names

    def peer(self, request: Request, names: frozenset[str]) -> Identity | Deny | None:
        """Whom the connection of a request proves, if one of these providers vouches for it.

        At most one can: their callers are disjoint, and a trusted peer of any speaks for others everywhere.
        """
        refusal: Deny | None = None
        for member in self._members:
            if member.name not in names:
                continue
            found = member.identify(request)
            if isinstance(found, Identity):
                return found
            if found is not None and (refusal is None or refusal.reason is Reason.ISSUER_UNKNOWN):
                refusal = found
        return refusal

    def states(self) -> tuple[ProviderState, ...]:
        """Nothing is fetched, so nothing can be wrong."""
        return tuple(ProviderState(member.name, usable=True, age_seconds=None, error="") for member in self._members)


class _Member:
    """One mesh provider at work."""

    def __init__(
        self,
        provider: MeshProvider,
        included: Mapping[str, frozenset[str]],
        speakers: frozenset[str],
        now: Callable[[], float],
    ) -> None:
        self.name = provider.name
        self._provider = provider
        self._speakers = speakers
        self._now = now
        patterns = ((key, read_spiffe_pattern(key)) for key in provider.roles.mapping)
        self._patterns = tuple((key, pattern) for key, pattern in patterns if pattern is not None)
        # The keys that match are the foreign names: the map, mayGrant and includes then apply as to any provider.
        self._roles = RoleReader(replace(provider.roles, claims=(ClaimPath((_PATTERNS,)),)), included)
        self._known = lru_cache(maxsize=_MAX_KNOWN)(self._judge)
        self._shown = lru_cache(maxsize=_MAX_KNOWN)(self._read)

    def identify(self, request: Request) -> Identity | Deny | None:
        """Who calls."""
        caller = self._caller(request)
        if not isinstance(caller, str):
            return caller
        source = request.source
        if not source.certificate:
            return self._known(caller, None)
        # What the proxy sends is its peer's certificate: of the caller, or of the gateway that speaks for it.
        direct = caller == source.principal
        found = self._known(caller, None) if direct else None
        if isinstance(found, Deny):
            return found
        shown = self._shown(source.principal, source.certificate)
        if isinstance(shown, Deny):
            return shown
        if self._now() >= shown.not_after + CLOCK_SKEW:
            return self._deny(Reason.TOKEN_EXPIRED, "the connection's certificate has expired since it began")
        return self._known(caller, shown if direct else None)

    def _caller(self, request: Request) -> str | Deny | None:
        """The principal of the caller, the gateways on the way left out."""
        provider = self._provider
        caller = request.source.principal
        if caller not in provider.trusted_peers and (caller or not provider.without_principal):
            return None if caller in self._speakers else caller or None
        values = request.headers.get(HEADER)
        if values is None:
            return None
        try:
            elements = read_xfcc(",".join(values))
        except XfccError as error:
            return self._deny(Reason.CREDENTIALS_INVALID, str(error))
        if not caller and len(elements) > 1:
            # A waypoint replaces the header: a second element was written by somebody else.
            return self._deny(Reason.CREDENTIALS_INVALID, f"without a principal, {HEADER} must have one element")
        for element in reversed(elements):
            caller = element.principal
            if not caller or (not element.uri and looks_like_spiffe(caller)):
                return self._deny(Reason.CREDENTIALS_INVALID, f"an element of {HEADER} names nobody who could be meant")
            if caller not in provider.trusted_peers:
                return None if caller in self._speakers else caller
        return None

    def _judge(self, principal: str, certificate: Certificate | None) -> Identity | Deny:
        """Whom a principal proves; its certificate, if there is one, adds claims and an end."""
        provider = self._provider
        spiffe = read_spiffe_id(principal)
        if spiffe is not None:
            if spiffe.trust_domain not in provider.trust_domains:
                return self._deny(Reason.ISSUER_UNKNOWN, "the caller's trust domain is none of the provider's")
            issuer = f"spiffe://{spiffe.trust_domain}"
            names = [key for key, pattern in self._patterns if pattern.matches(principal)]
            claims: dict[str, Any] = {"trustDomain": spiffe.trust_domain}
            if spiffe.namespace:
                claims |= {"namespace": spiffe.namespace, "serviceAccount": spiffe.service_account}
        elif looks_like_spiffe(principal):
            return self._deny(Reason.CREDENTIALS_INVALID, "the principal begins like a SPIFFE ID and is none")
        elif principal in provider.other_principals:
            issuer, claims = self.name, {}
            names = [principal] if principal in provider.roles.mapping else []
        else:
            return self._deny(Reason.ISSUER_UNKNOWN, "the caller's principal is none that the provider takes")
        expires = None
        if certificate is not None:
            claims["certificate"] = certificate.claims
            expires = certificate.not_after
        try:
            roles = self._roles.roles({_PATTERNS: names})
        except RoleError as error:
            return self._deny(Reason.CLAIM_INVALID, str(error))
        verified = VerifiedClaims(MappingProxyType(claims))
        return Identity(principal, issuer, self.name, roles, (), verified, expires)

    def _read(self, principal: str, certificate: str) -> Certificate | Deny:
        """The certificate of a principal as the proxy sent it, if it can be that."""
        try:
            shown = read_certificate(certificate)
        except CertificateError as error:
            return self._deny(Reason.CREDENTIALS_INVALID, str(error))
        # An X.509-SVID has exactly one URI SAN (X509-SVID section 2).
        if not (shown.uris == (principal,) if looks_like_spiffe(principal) else shown.is_called(principal)):
            return self._deny(Reason.CREDENTIALS_INVALID, "the certificate is not one that the principal can have")
        return shown

    def _deny(self, reason: Reason, detail: str) -> Deny:
        return Deny(reason, detail, provider=self.name)
