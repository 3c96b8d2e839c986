"""The client's certificate, where the proxy sends it along with its principal.

Envoy has verified the certificate and tells its one principal; with ``include_peer_certificate`` it sends the whole leaf
as URL-encoded PEM. That brings three things: claims about it that policies may ask for, its end, and the proof of what
kind of name the principal is: a DNS SAN that is written like a SPIFFE ID is told apart from a URI SAN.

Reading one costs 25 microseconds, and a client uses one for hours: ``extauthz.identity.mesh`` keeps what came of it.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote_to_bytes

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.utils import CryptographyDeprecationWarning

__all__ = ["Certificate", "CertificateError", "read_certificate"]

MAX_SIZE = 16_384
"""Characters of the URL-encoded PEM."""
MAX_NAMES = 64
"""Alternative names of one certificate; they become claims."""


_UNREADABLE = (
    ValueError,
    CryptographyDeprecationWarning,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What ``cryptography`` raises for bytes that are no certificate, and for certificates out of the ordinary."""


class CertificateError(ValueError):
    """What the proxy sent is not a certificate that can be read. The text holds nothing of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Certificate:
    """What a certificate says, as far as anybody may ask."""

    uris: tuple[str, ...]
    dns_names: tuple[str, ...]
    not_after: float
    """Seconds since the epoch."""
    claims: Mapping[str, Any] = field(repr=False)
    """``uris``, ``dnsNames``, ``serialNumber`` (hexadecimal), ``subject``, ``issuer`` (RFC 4514), ``notBefore``,
    ``notAfter`` (RFC 3339)."""

    def is_called(self, principal: str) -> bool:
        """Whether Envoy would call its holder so: by its first URI SAN, else its first DNS SAN.

        A certificate without either is called by its subject, whose spelling is the proxy's own: any is taken.
        """
        names = self.uris or self.dns_names
        return principal == names[0] if names else True


def read_certificate(text: str) -> Certificate:
    """Read URL-encoded PEM as Envoy sends it.

    Raises:
        CertificateError: It can't be read, or is larger than any that could be meant.
    """
    if len(text) > MAX_SIZE:
        raise CertificateError(f"the client's certificate is longer than {MAX_SIZE} characters")
    try:
        with warnings.catch_warnings():
            # What the library only warns of breaks RFC 5280: a serial number that is not positive, for example.
            warnings.simplefilter("error", CryptographyDeprecationWarning)
            certificate = x509.load_pem_x509_certificate(unquote_to_bytes(text))
        uris, dns_names = _alternative_names(certificate)
        end = certificate.not_valid_after_utc
        claims = {
            "uris": uris,
            "dnsNames": dns_names,
            "serialNumber": f"{certificate.serial_number:x}",
            "subject": certificate.subject.rfc4514_string(),
            "issuer": certificate.issuer.rfc4514_string(),
            "notBefore": _spelled(certificate.not_valid_before_utc),
            "notAfter": _spelled(end),
        }
    except _UNREADABLE as error:
        raise CertificateError("the client's certificate, as the proxy sent it, can't be read") from error
    if len(uris) + len(dns_names) > MAX_NAMES:
        raise CertificateError(f"the client's certificate has more than {MAX_NAMES} names")
    if any("\0" in name for name in (*uris, *dns_names)):
        raise CertificateError("a name in the client's certificate holds U+0000")
    return Certificate(uris, dns_names, end.timestamp(), MappingProxyType(claims))


def _alternative_names(certificate: x509.Certificate) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The URI and the DNS names, in order."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return (), ()
    return (
        tuple(names.get_values_for_type(x509.UniformResourceIdentifier)),
        tuple(names.get_values_for_type(x509.DNSName)),
    )


def _spelled(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
