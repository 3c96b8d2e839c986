"""How we prove who we are to an endpoint: by a secret in a header or a form, or by an assertion that we sign.

The secret or key is in a file and is looked at before each use, so that it can be replaced at any time; what was read last
stays in force while the file can't be used, and the fault is told. Nothing here puts a secret, a key or an assertion into
a text: errors name the file and the fault.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import quote_plus

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from extauthz.errors import KeySetError
from extauthz.identity.introspection import ClientKey, ClientSecret
from extauthz.model import EMPTY

__all__ = ["ClientAuthentication", "Proof", "client_authentication"]

_T = TypeVar("_T")

_MAX_FILE_SIZE = 65_536
_MAX_SECRET_SIZE = 4_096
_MIN_RSA_BITS = 2048
_CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
_ASSERTION_LIFETIME = 60
"""Seconds; one request needs it."""
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass(frozen=True, slots=True)
class Proof:
    """What a request has to carry."""

    headers: Mapping[str, str] = field(default_factory=lambda: EMPTY, repr=False)
    form: Mapping[str, str] = field(default_factory=lambda: EMPTY, repr=False)


class ClientAuthentication(Protocol):
    """One way to prove who we are."""

    @property
    def error(self) -> str:
        """Why what the file holds now can't be used; empty if it can."""
        ...

    def prove(self, now: float) -> Proof:
        """The proof for one request; ``now`` is in seconds since the epoch. Reads a file: not for the event loop."""
        ...


def client_authentication(client: ClientSecret | ClientKey, new_id: Callable[[], str]) -> ClientAuthentication:
    """Read the file and make the proof ready; ``new_id`` gives each assertion an identifier that nobody can guess.

    Raises:
        KeySetError: The file can't be used. The text says which file, and nothing of its content.
    """
    if isinstance(client, ClientSecret):
        return _BySecret(client)
    return _ByAssertion(client, new_id)


_PrivateKey = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey


class _BySecret:
    """The same proof for every request, made anew when the secret changes."""

    def __init__(self, client: ClientSecret) -> None:
        self._client = client
        self._file: _WatchedFile[Proof] = _WatchedFile(client.secret_file, self._proof)

    @property
    def error(self) -> str:
        """Why what the file holds now can't be used; empty if it can."""
        return self._file.error

    def prove(self, _now: float) -> Proof:
        return self._file.current()

    def _proof(self, content: bytes) -> Proof:
        secret = _secret(content)
        if self._client.method == "post":
            return Proof(form={"client_id": self._client.client_id, "client_secret": secret})
        # RFC 6749 section 2.3.1: both are form-encoded before they are joined.
        pair = f"{quote_plus(self._client.client_id)}:{quote_plus(secret)}"
        return Proof(headers={"authorization": "Basic " + base64.b64encode(pair.encode()).decode()})


class _ByAssertion:
    """A new assertion for every request: its ``jti`` may be used once (RFC 7523 section 3)."""

    def __init__(self, client: ClientKey, new_id: Callable[[], str]) -> None:
        self._client = client
        self._new_id = new_id
        self._header = {} if client.key_id is None else {"kid": client.key_id}
        self._file: _WatchedFile[_PrivateKey] = _WatchedFile(client.key_file, self._key)

    @property
    def error(self) -> str:
        """Why what the file holds now can't be used; empty if it can."""
        return self._file.error

    def prove(self, now: float) -> Proof:
        client, issued = self._client, int(now)
        claims: dict[str, Any] = {
            "iss": client.client_id,
            "sub": client.client_id,
            "aud": client.audience,
            "jti": self._new_id(),
            "iat": issued,
            "exp": issued + _ASSERTION_LIFETIME,
        }
        assertion = jwt.encode(claims, self._file.current(), algorithm=client.algorithm, headers=self._header)
        return Proof(
            form={
                "client_id": client.client_id,
                "client_assertion_type": _ASSERTION_TYPE,
                "client_assertion": assertion,
            }
        )

    def _key(self, content: bytes) -> _PrivateKey:
        return _private_key(content, self._client.algorithm)


class _WatchedFile(Generic[_T]):
    """What a file holds, read again when the path leads to another content: a replaced file, a swapped symbolic link.

    Several threads may look at once; at worst they read the same content twice.
    """

    def __init__(self, path: str, read: Callable[[bytes], _T]) -> None:
        """Read the file.

        Raises:
            KeySetError: It can't be used.
        """
        self._path = path
        self._read = read
        self._stamp, self._held = self._load()
        self.error = ""

    def current(self) -> _T:
        """What the file holds now, or what it held last while it can't be used."""
        try:
            if self._current_stamp() != self._stamp:
                self._stamp, self._held = self._load()
            self.error = ""
        except KeySetError as error:
            self.error = str(error)
        return self._held

    def _load(self) -> tuple[tuple[int, ...], _T]:
        # The stamp comes first: a file that changes in between is read again at the next look.
        stamp = self._current_stamp()
        try:
            with Path(self._path).open("rb") as file:
                content = file.read(_MAX_FILE_SIZE + 1)
        except OSError as error:
            raise KeySetError(f"{self._path}: {error.strerror}") from None
        if len(content) > _MAX_FILE_SIZE:
            raise KeySetError(f"{self._path}: larger than {_MAX_FILE_SIZE} bytes")
        try:
            return stamp, self._read(content)
        except KeySetError as error:
            raise KeySetError(f"{self._path}: {error}") from None

    def _current_stamp(self) -> tuple[int, ...]:
        try:
            status = Path(self._path).stat()
        except OSError as error:
            raise KeySetError(f"{self._path}: {error.strerror}") from None
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _secret(content: bytes) -> str:
    """The secret in a file, without the newline that editors and ``echo`` leave behind it."""
    try:
        secret = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise KeySetError("not UTF-8 text") from None
    if not secret or len(secret) > _MAX_SECRET_SIZE or not secret.isprintable():
        raise KeySetError(f"not one line of at most {_MAX_SECRET_SIZE} characters")
    return secret


def _private_key(content: bytes, algorithm: str) -> _PrivateKey:
    """The key in a PEM file, if it is one for the algorithm."""
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeySetError("not a private key in PEM without a password") from None
    if algorithm.startswith(("RS", "PS")):
        if isinstance(key, RSAPrivateKey) and key.key_size >= _MIN_RSA_BITS:
            return key
        raise KeySetError(f"{algorithm} needs an RSA key of at least {_MIN_RSA_BITS} bits")
    if algorithm in _CURVES:
        if isinstance(key, EllipticCurvePrivateKey) and key.curve.name == _CURVES[algorithm]:
            return key
        raise KeySetError(f"{algorithm} needs an EC key on the curve {_CURVES[algorithm]}")
    if isinstance(key, Ed25519PrivateKey):
        return key
    raise KeySetError(f"{algorithm} needs an Ed25519 key")
