"""The certificates of a TLS listener: read from files, replaced when the files change, never half.

Certificate, key and client authorities are one value. It is replaced only when all three were read and fit together,
so a file that is still being written, or a certificate whose key has not arrived yet, changes nothing. Connections
that are open stay as they are; each new handshake takes the value in force.

OpenSSL and gRPC want the same material in different forms: gRPC takes PEM text, OpenSSL loads files. A context that
was loaded from the files is also the proof that they are usable, so both forms are made together.
"""

import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from extauthz.errors import ServingError
from extauthz.serving.listener import TlsFiles

__all__ = ["Certificates", "Material", "live_context", "may_connect"]

_READS = 3
"""How often files are read that change while they are read."""


@dataclass(frozen=True, slots=True)
class Material:
    """What a listener shows and whom it trusts, at one moment."""

    chain: bytes
    key: bytes = field(repr=False)
    client_ca: bytes | None
    context: ssl.SSLContext = field(repr=False, compare=False)
    expires: float = field(compare=False)
    """When the listener's certificate does, in seconds since the epoch."""


class Certificates:
    """The certificates of one listener and the files that they come from."""

    def __init__(self, name: str, files: TlsFiles) -> None:
        """Read the files; ``name`` is the setting's path. Raises ServingError if they are unusable."""
        self.files = files
        self._name = name
        self._material = self._read()

    @property
    def material(self) -> Material:
        """The material in force; another object after each change."""
        return self._material

    @property
    def paths(self) -> tuple[str, ...]:
        """The files to watch."""
        files = self.files
        return tuple(path for path in (files.cert_file, files.key_file, files.client_ca_file) if path is not None)

    def reload(self) -> bool:
        """Read the files again; says whether anything changed. Blocks on files.

        Raises ServingError if they are unusable; what was in force stays.
        """
        found = self._read()
        changed = found != self._material
        if changed:
            self._material = found
        return changed

    def _read(self) -> Material:
        from cryptography import x509  # much memory, for who has no certificate

        for _ in range(_READS):
            before = self._texts()
            problem = None
            try:
                context = self._context()
            except (OSError, ValueError) as error:
                # An SSLError's text names the fault and a place in OpenSSL, never anything of the key.
                problem = f"{self._name}.tls: {self.files.cert_file} and {self.files.key_file} can't be used: {error}"
            if self._texts() == before:
                if problem:
                    raise ServingError(problem)
                expires = x509.load_pem_x509_certificate(before[0]).not_valid_after_utc
                return Material(*before, context, expires.timestamp())
        raise ServingError(f"{self._name}.tls: the files keep changing while they are read")

    def _texts(self) -> tuple[bytes, bytes, bytes | None]:
        ca = self.files.client_ca_file
        return (
            self._text("certFile", self.files.cert_file),
            self._text("keyFile", self.files.key_file),
            None if ca is None else self._text("clientCaFile", ca),
        )

    def _text(self, key: str, path: str) -> bytes:
        try:
            return Path(path).read_bytes()
        except OSError as error:
            raise ServingError(f"{self._name}.tls.{key}: {path} can't be read: {error.strerror}") from None

    def _context(self) -> ssl.SSLContext:
        """A context for OpenSSL; it proves that key and certificate belong together."""
        files = self.files
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(files.cert_file, files.key_file, password=_no_password)
        if files.client_ca_file is not None:
            context.load_verify_locations(files.client_ca_file)
            context.verify_mode = ssl.CERT_OPTIONAL if files.client_optional else ssl.CERT_REQUIRED
            # A resumed session would be believed without another look at the certificate that began it.
            context.num_tickets = 0
            context.options |= ssl.OP_NO_TICKET
        if files.client_principals:
            context.sslobject_class = _checked_object(files.client_principals)
        return context


def _no_password() -> str:
    raise ValueError("the private key is encrypted; give one that is not")


def may_connect(allowed: Iterable[str], uris: Iterable[str], names: Iterable[str]) -> bool:
    """Whether a client may connect: one of its URI or DNS names is allowed.

    Names are compared whole. A URI is compared byte by byte and only with URI names, a DNS name without regard to case
    (RFC 4343) and only with DNS names: a DNS name that looks like a SPIFFE ID is none.
    """
    shown_uris = set(uris)
    shown_names = {name.lower() for name in names}
    return any(one in shown_uris if "://" in one else one.lower() in shown_names for one in allowed)


def _checked_object(allowed: tuple[str, ...]) -> type[ssl.SSLObject]:
    """A TLS connection that ends its own handshake if the client's certificate carries none of the allowed names. Whether
    there has to be a certificate was decided before.
    """

    class CheckedObject(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            certificate = self.getpeercert()
            if not certificate:
                return
            # typeshed can't say that each entry is a pair.
            shown: Any = certificate.get("subjectAltName", ())
            uris = (value for kind, value in shown if kind == "URI")
            names = (value for kind, value in shown if kind == "DNS")
            if not may_connect(allowed, uris, names):
                message = "none of the client's names is in clientPrincipals"
                raise ssl.SSLCertVerificationError(message)

    return CheckedObject


class _LiveContext(ssl.SSLContext):
    """A context that makes each connection with the certificates that are in force when it begins.

    asyncio keeps the context that a server was opened with, and asks it for nothing but ``wrap_bio``.
    """

    certificates: Certificates

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """Begin a connection."""
        return self.certificates.material.context.wrap_bio(*args, **kwargs)


def live_context(certificates: Certificates) -> ssl.SSLContext:
    """A context for asyncio servers that follows the certificates."""
    context = _LiveContext(ssl.PROTOCOL_TLS_SERVER)
    context.certificates = certificates
    return context
