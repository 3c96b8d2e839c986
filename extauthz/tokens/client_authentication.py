"""Which client is asking, proven in the one way that it is registered for (RFC 6749 section 2.3, RFC 7523, RFC 8705).

A request may try one way: two at once are refused, and so is any way but the client's own. Whatever is wrong, the answer is
the same, and for a client that does not exist as much is computed as for one whose secret is wrong (O7). A certificate that
came with the connection is a try only if nothing else is, since a mesh shows one for every request.

Assertions are for this issuer by name, as one string: the address of the endpoint, which RFC 7523 allows too, can be that
of another server that a client was led to (O5).
"""

import base64
import binascii
import hashlib
import hmac
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.utils import CryptographyDeprecationWarning

from extauthz.tokens.clients import AuthenticationMethod, Client
from extauthz.tokens.errors import OAuthError
from extauthz.tokens.form import Form, form_decoded
from extauthz.tokens.http import HttpQuestion
from extauthz.tokens.ports import AssertionReader, TokenStore
from extauthz.tokens.registry import ClientRegistry, is_client_id

__all__ = ["ClientAuthenticator", "secret_digest"]

_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_NOBODYS_DIGEST: Final = bytes(32)
_NOBODYS_KEYS: Final[Mapping[str, Any]] = {
    "keys": [
        {
            "kty": "EC",
            "crv": "P-256",
            "x": "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY",
            "y": "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU",
        }
    ]
}
"""What an assertion of no client is verified with: a signature by it counts for nothing."""
_SKEW: Final = 10.0
"""Seconds that a client's clock may be ahead of ours, or behind."""
_REPLICAS: Final = 300.0
"""Seconds that the clocks of replicas may differ: one that is ahead forgets no assertion that another still takes."""
_LONGEST: Final = 600.0
"""Seconds that an assertion may live."""
_MAX_JTI: Final = 256


@dataclass(frozen=True, slots=True)
class _Try:
    """How a request tries to prove its client."""

    method: AuthenticationMethod
    client_id: str
    proof: str = field(default="", repr=False)


def secret_digest(secret: str) -> bytes:
    """What is kept of a client's secret. One pass of SHA-256 is enough for 160 random bits, and for nothing less."""
    return hashlib.sha256(secret.encode()).digest()


class ClientAuthenticator:
    """Knows how each client proves itself."""

    def __init__(
        self,
        registry: ClientRegistry,
        store: TokenStore,
        assertions: AssertionReader,
        *,
        issuer: str,
        now: Callable[[], float],
        beyond_rate: Callable[[str], int],
    ) -> None:
        """``issuer`` is what assertions must be for; ``now`` is in seconds since the epoch. ``beyond_rate`` gives the seconds
        until a client is within its rate again, and counts nothing.
        """
        self._registry = registry
        self._store = store
        self._assertions = assertions
        self._issuer = issuer
        self._now = now
        self._beyond_rate = beyond_rate

    async def authenticate(self, question: HttpQuestion, form: Form) -> Client | OAuthError:
        """The client, or why none is proven. Raises ``StoreError``."""
        tried = self._try(question, form)
        if isinstance(tried, OAuthError):
            return tried
        client = await self._registry.find(tried.client_id)
        registered = None if client is None or client.authentication != tried.method else client
        fault = await self._fault(registered, tried, question)
        if registered is not None and not fault:
            return registered
        if isinstance(fault, OAuthError):
            return fault
        # Shown only if it can be a name: what it is called otherwise, a request has chosen.
        name = tried.client_id if is_client_id(tried.client_id) else "with an impossible id"
        if client is None:
            return OAuthError.no_client(f"there is no client {name}, or it is disabled")
        return OAuthError.no_client(f"client {name}: {fault if registered else f'its method is not {tried.method}'}")

    def _try(self, question: HttpQuestion, form: Form) -> _Try | OAuthError:
        """The one way that the request tries."""
        authorization = question.headers.get("authorization", ())
        if len(authorization) > 1:
            return OAuthError("invalid_request", "there is more than one Authorization header")
        named = form.one("client_id")
        tries = [_basic(header) for header in authorization]
        if "client_secret" in form:
            tries.append(_Try("client_secret_post", named, form.one("client_secret")))
        if "client_assertion" in form or "client_assertion_type" in form:
            if form.one("client_assertion_type") != _ASSERTION_TYPE:
                return OAuthError("invalid_request", f"client_assertion_type must be {_ASSERTION_TYPE}")
            assertion = form.one("client_assertion")
            tries.append(_Try("private_key_jwt", self._assertions.subject(assertion), assertion))
        if not tries and named and question.certificate is not None:
            tries.append(_Try("tls_client_auth", named))
        if len(tries) > 1:
            return OAuthError("invalid_request", "the client authenticates in more than one way")
        only = tries[0] if tries else None
        if only is None:
            return OAuthError.no_client("no client authentication, or an Authorization header that is not sound Basic")
        if named and named != only.client_id:
            return OAuthError.no_client("client_id is not that of the authenticated client")
        return only

    async def _fault(self, client: Client | None, tried: _Try, question: HttpQuestion) -> str | OAuthError:
        match tried.method:
            case "client_secret_basic" | "client_secret_post":
                return _secret_fault(client, tried.proof)
            case "private_key_jwt":
                return await self._assertion_fault(client, tried.proof)
            case "tls_client_auth":
                return _certificate_fault(client, question.certificate or b"")

    async def _assertion_fault(self, client: Client | None, assertion: str) -> str | OAuthError:
        keys = None if client is None else client.public_keys
        claims = self._assertions.verified(assertion, keys or _NOBODYS_KEYS)
        if client is None or keys is None or claims is None:
            return "no key of the client has signed the assertion"
        now = self._now()
        if fault := _claims_fault(claims, client.id, self._issuer, now):
            return fault
        # What is used up is remembered for minutes: no more of them than the client may make requests.
        if wait := self._beyond_rate(client.id):
            return OAuthError.too_many(wait, f"client {client.id} is beyond its rate")
        # Last, so that only an assertion that is good in all else is used up.
        name = hashlib.sha256(claims["jti"].encode()).hexdigest()
        until = claims["exp"] + _SKEW + _REPLICAS
        if not await self._store.use_once(f"assertion:{client.id}:{name}", until, now=now):
            return "the assertion was used before"
        return ""


def _basic(header: str) -> _Try | None:
    """Basic authentication (RFC 7617), whose halves are form-encoded (RFC 6749 section 2.3.1)."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(encoded.strip(" "), validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    name, colon, secret = text.partition(":")
    client_id, decoded = form_decoded(name), form_decoded(secret)
    if not colon or not client_id or decoded is None:
        return None
    return _Try("client_secret_basic", client_id, decoded)


def _secret_fault(client: Client | None, secret: str) -> str:
    presented = hashlib.sha256(secret.encode("utf-8", "replace")).digest()
    digests = (_NOBODYS_DIGEST,) if client is None else client.secret_digests
    # All are compared, so that time tells nothing of which one it is.
    equal = [hmac.compare_digest(presented, digest) for digest in digests]
    return "" if client is not None and any(equal) else "the secret is not the client's"


def _claims_fault(claims: Mapping[str, Any], client_id: str, issuer: str, now: float) -> str:
    if claims.get("iss") != client_id or claims.get("sub") != client_id:
        return "iss and sub of the assertion are not the client"
    if claims.get("aud") != issuer:
        return "aud of the assertion is not the issuer of this service, as one string"
    times = {name: claims[name] for name in ("exp", "nbf", "iat") if name in claims}
    if any(isinstance(time, bool) or not isinstance(time, int | float) for time in times.values()):
        return "a time of the assertion is no number"
    if "exp" not in times or times["exp"] + _SKEW <= now:
        return "the assertion has no exp, or has expired"
    if times["exp"] > now + _LONGEST + _SKEW:
        return f"the assertion lives longer than {_LONGEST:.0f} s"
    if max(times.get("nbf", 0), times.get("iat", 0)) > now + _SKEW:
        return "the assertion is not valid yet"
    jti = claims.get("jti")
    if not isinstance(jti, str) or not 0 < len(jti) <= _MAX_JTI:
        return "the assertion has no jti"
    return ""


def _certificate_fault(client: Client | None, certificate: bytes) -> str:
    wanted = "" if client is None else client.certificate_subject
    names = _alternative_names(certificate, uris="://" in wanted)
    return "" if wanted and wanted in names else "the certificate does not have the client's name"


def _alternative_names(certificate: bytes, *, uris: bool) -> frozenset[str]:
    """The URI names of a certificate, or its DNS names; none if it can't be read. A DNS name that is written like a URI is
    none, whatever an authority that looks at one kind only has signed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            read = x509.load_der_x509_certificate(certificate)
            names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (
        ValueError,
        CryptographyDeprecationWarning,
        UnsupportedAlgorithm,
        x509.DuplicateExtension,
        x509.ExtensionNotFound,
        x509.InvalidVersion,
        x509.UnsupportedGeneralNameType,
    ):
        return frozenset()
    return frozenset(names.get_values_for_type(x509.UniformResourceIdentifier if uris else x509.DNSName))
