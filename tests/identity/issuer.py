"""An issuer of tokens, a clock and a fetcher for the tests of identity.

Tokens are put together by hand, so that a test can break any byte of one; signing is done with ``cryptography`` itself
and not with the library that verifies.
"""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from extauthz.errors import UpstreamError
from extauthz.identity import Authenticator, FetchSettings, InlineKeys, JwtProvider, KeySource, Provider, Wait
from extauthz.identity.fetching import Posted
from extauthz.model import Deny, Identity, Peer, Request

NOW = 1_800_000_000.0
ISSUER = "https://login.example.com/"
JWKS_URI = "https://login.example.com/jwks"

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | bytes

RSA_KEY = rsa.generate_private_key(65537, 2048)
OTHER_RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
EC384_KEY = ec.generate_private_key(ec.SECP384R1())
EC521_KEY = ec.generate_private_key(ec.SECP521R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()
SECRET = bytes(range(40))

_HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int, size: int = 0) -> str:
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


def jwk(key: PrivateKey, kid: str | None = None, **members: Any) -> dict[str, Any]:
    """The public JWK of a private key."""
    result: dict[str, Any]
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.public_key().public_numbers()
        result = {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        size = (key.curve.key_size + 7) // 8
        point = key.public_key().public_numbers()
        result = {"kty": "EC", "crv": f"P-{key.curve.key_size}", "x": number(point.x, size), "y": number(point.y, size)}
    elif isinstance(key, ed25519.Ed25519PrivateKey):
        raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        result = {"kty": "OKP", "crv": "Ed25519", "x": b64(raw)}
    else:
        result = {"kty": "oct", "k": b64(key)}
    return {**({} if kid is None else {"kid": kid}), **result, **members}


def jwks(*keys: Mapping[str, Any]) -> dict[str, Any]:
    return {"keys": [dict(key) for key in keys]}


def sign(algorithm: str, key: PrivateKey, message: bytes) -> bytes:
    """A JWS signature."""
    if isinstance(key, bytes):
        return hmac.digest(key, message, hashlib.sha256)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    digest = _HASHES[algorithm[2:]]
    if isinstance(key, ec.EllipticCurvePrivateKey):
        size = (key.curve.key_size + 7) // 8
        r, s = decode_dss_signature(key.sign(message, ec.ECDSA(digest)))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")
    if algorithm.startswith("PS"):
        return key.sign(message, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
    return key.sign(message, padding.PKCS1v15(), digest)


def default_claims() -> dict[str, Any]:
    return {"iss": ISSUER, "sub": "alice", "aud": "orders", "exp": NOW + 300, "iat": NOW - 100, "roles": ["user"]}


_GONE = object()


def without(*names: str) -> dict[str, Any]:
    """Claims or header members that ``mint`` leaves out."""
    return dict.fromkeys(names, _GONE)


def mint(
    claims: Mapping[str, Any] | None = None,
    *,
    key: PrivateKey = RSA_KEY,
    header: Mapping[str, Any] | None = None,
    signed_as: str | None = None,
    payload: bytes | None = None,
    raw_header: bytes | None = None,
) -> str:
    """A token: good unless something is changed. ``payload`` and ``raw_header`` replace what would be encoded."""
    head = {"alg": "RS256", "typ": "JWT", "kid": "k1", **(header or {})}
    head = {name: value for name, value in head.items() if value is not _GONE}
    body = {name: value for name, value in {**default_claims(), **(claims or {})}.items() if value is not _GONE}
    head_part = b64(json.dumps(head).encode() if raw_header is None else raw_header)
    body_part = b64(json.dumps(body).encode() if payload is None else payload)
    message = f"{head_part}.{body_part}".encode()
    return f"{head_part}.{body_part}.{b64(sign(signed_as or str(head.get('alg')), key, message))}"


def provider(**parts: Any) -> JwtProvider:
    """The provider that takes what ``mint`` makes."""
    keys: KeySource = InlineKeys(jwks(jwk(RSA_KEY, "k1")))
    return JwtProvider(
        **{"name": "corporate", "issuer": ISSUER, "audiences": frozenset({"orders"}), "keys": keys, **parts}
    )


def request(headers: Mapping[str, str | Sequence[str]] | None = None, **parts: Any) -> Request:
    """A canonical request."""
    values = {name: (value,) if isinstance(value, str) else tuple(value) for name, value in (headers or {}).items()}
    plain: dict[str, Any] = {
        "http": True,
        "id": "7",
        "time": NOW,
        "method": "GET",
        "path": "/orders",
        "query": "",
        "host": "orders.example.com",
        "scheme": "https",
        "protocol": "HTTP/1.1",
        "headers": values,
        "source": Peer(),
        "destination": Peer(),
        "source_ip": None,
        "client_ip": None,
        "sni": "",
        "context": {},
        "grpc": False,
        "preflight": False,
        "websocket": False,
    }
    return Request(**(plain | parts))


def bearer(token: str) -> Request:
    return request({"authorization": f"Bearer {token}"})


class Clock:
    """Time that passes only when a test says so."""

    def __init__(self) -> None:
        self.time = NOW
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.time + seconds, future))
        await future

    async def advance(self, seconds: float) -> None:
        """Let time pass; who sleeps wakes on time, in order."""
        end = self.time + seconds
        await settle()
        while True:
            due = sorted((item for item in self._sleepers if item[0] <= end), key=lambda item: item[0])
            if not due:
                break
            self._sleepers.remove(due[0])
            self.time = max(self.time, due[0][0])
            if not due[0][1].done():
                due[0][1].set_result(None)
            await settle()
        self.time = end


async def settle() -> None:
    """Let all that can run without waiting run."""
    for _ in range(20):
        await asyncio.sleep(0)


@dataclass(frozen=True)
class Document:
    body: bytes
    max_age: float | None = None


@dataclass
class FakeFetcher:
    """Answers from a table; an exception in it is raised. With ``gate`` closed, answers wait."""

    answers: dict[str, Document | Exception] = field(default_factory=dict)
    calls: list[tuple[str, FetchSettings]] = field(default_factory=list)
    gate: asyncio.Event | None = None

    def publish(self, *keys: Mapping[str, Any], max_age: float | None = None) -> None:
        self.answers[JWKS_URI] = Document(json.dumps(jwks(*keys)).encode(), max_age)

    async def get(self, url: str, settings: FetchSettings) -> Document:
        self.calls.append((url, settings))
        if self.gate is not None:
            await self.gate.wait()
        answer = self.answers.get(url, UpstreamError("login.example.com: answered 404"))
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def post(
        self, url: str, form: Mapping[str, str], headers: Mapping[str, str], settings: FetchSettings
    ) -> Posted:
        raise AssertionError(f"nobody is asked about a token, and {url} was")


Outcome = Identity | Deny | Wait | None


def authenticator(*providers: Provider, now: Callable[[], float] = lambda: NOW, **parts: Any) -> Authenticator:
    includes = parts.pop("includes", {})
    parts.setdefault("chance", lambda: 0.0)
    return Authenticator(
        providers or (provider(),), includes, fetcher=parts.pop("fetcher", FakeFetcher()), now=now, **parts
    )


def judge(token: str, **parts: Any) -> Outcome:
    """What a provider with these parts makes of a token in the ``Authorization`` header."""
    return authenticator(provider(**parts)).authenticate(bearer(token))


def word(outcome: Outcome) -> str:
    """``identity``, ``none``, ``wait`` or the reason of a denial."""
    if isinstance(outcome, Deny):
        return outcome.reason.word
    return "none" if outcome is None else type(outcome).__name__.lower()
