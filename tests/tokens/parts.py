"""A token service with real parts: a store in memory, an ES256 key, assertions that are verified, rates that are counted.

Only what other rooms build anew in each process is small here: a signer with one key, a reader of what it signed, a
verifier of subject tokens that knows some by heart, and logs that can be read.
"""

import asyncio
import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote_plus, urlencode

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key

from extauthz.app.token_meter import TokenMeter
from extauthz.errors import AuditError, SigningError, StoreError
from extauthz.identity import ClientAssertions
from extauthz.model import Deny, Identity, Reason, VerifiedClaims
from extauthz.stores import MemoryTokenStore
from extauthz.tokens.assembly import Surroundings, TokenSettings, assemble
from extauthz.tokens.client_authentication import secret_digest
from extauthz.tokens.clients import AuthenticationMethod, Client, ExchangeRules
from extauthz.tokens.door import Rates
from extauthz.tokens.families import RefreshTimes
from extauthz.tokens.http import HttpAnswer, HttpQuestion
from extauthz.tokens.metadata import ASSERTION_ALGORITHMS
from extauthz.tokens.ports import AuditEvent, TokenStore
from extauthz.tokens.records import Family

ISSUER = "https://auth.example.com"
NOW = 1_800_000_000.0
SECRET = "s" * 20 + "+/=&% ü"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.time = NOW

    def __call__(self) -> float:
        return self.time


@dataclass(frozen=True)
class Signed:
    token: str
    kid: str


class OneKey:
    """Signs with one key, and reads what it has signed."""

    max_age = 60
    max_token_lifetime = 86_400.0
    etag = '"one"'

    def __init__(self, clock: Clock) -> None:
        self.key = generate_private_key(SECP256R1())
        self._clock = clock
        self.down = False
        self.unread = False
        """No key was ever seen."""
        self.ignorant = False
        """What was revoked is not known."""
        self.signatures = 0
        self.revoked: set[tuple[str, str]] = set()

    async def sign(self, claims: Mapping[str, Any], *, typ: str = "at+jwt") -> Signed:
        if self.down:
            raise SigningError("the vault is sealed")
        self.signatures += 1
        return Signed(jwt.encode(dict(claims), self.key, "ES256", {"kid": "k1", "typ": typ}), "k1")

    def jwks(self) -> bytes:
        if self.unread:
            raise SigningError("the vault is sealed")
        return json.dumps({"keys": [public_jwk(self.key, "k1")]}).encode()

    def algorithms(self) -> list[str]:
        return [] if self.unread else ["ES256"]

    def read(self, token: str) -> VerifiedClaims | Deny:
        if self.ignorant:
            return Deny(Reason.STORE_UNAVAILABLE, "the revocations have not been read yet")
        claims = self.issued(token)
        if claims is None:
            return Deny(Reason.SIGNATURE_INVALID)
        if claims["exp"] <= self._clock():
            return Deny(Reason.TOKEN_EXPIRED)
        if {("token", claims["jti"]), ("family", claims.get("sid", ""))} & self.revoked:
            return Deny(Reason.TOKEN_REVOKED)
        return claims

    def issued(self, token: str) -> VerifiedClaims | None:
        options = {"verify_aud": False, "verify_exp": False, "verify_iat": False, "verify_nbf": False}
        try:
            return VerifiedClaims(jwt.decode(token, self.key.public_key(), ["ES256"], options=options))  # type: ignore[arg-type]
        except jwt.PyJWTError:
            return None


class Subjects:
    """Knows some tokens of providers by heart."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[Identity, float | None] | Deny] = {}
        self.asked: frozenset[str] = frozenset()

    async def verify(self, token: str, providers: frozenset[str]) -> tuple[Identity, float | None] | Deny:
        self.asked = providers
        return self.known.get(token, Deny(Reason.SIGNATURE_INVALID))


class Log:
    """An audit log in a list."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []
        self.full = False

    def record(self, event: AuditEvent) -> None:
        if self.full:
            raise AuditError("no space left on device")
        self.events.append(event)

    def last(self) -> AuditEvent:
        return self.events[-1]


class Counts:
    """Metrics in lists."""

    def __init__(self) -> None:
        self.asked_for: list[tuple[str, str]] = []
        self.told_of: list[tuple[str, str]] = []
        self.reuses = 0

    def asked(self, grant: str, outcome: str) -> None:
        self.asked_for.append((grant, outcome))

    def told(self, endpoint: str, outcome: str) -> None:
        self.told_of.append((endpoint, outcome))

    def reused(self) -> None:
        self.reuses += 1


class FaultyStore(MemoryTokenStore):
    """The store in memory, of which single methods can be down, before or after they have done what was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.down: set[str] = set()
        self.revoked: list[Any] = []

    async def client(self, client_id: str) -> Client | None:
        self._fail("client")
        return await super().client(client_id)

    async def family(self, family_id: str) -> Family | None:
        await asyncio.sleep(0)  # others have their turn, as with any store that is elsewhere
        return await super().family(family_id)

    async def begin(self, family: Any) -> None:
        self._fail("begin")
        await super().begin(family)

    async def rotate(self, family_id: str, succession: Any) -> Any:
        self._fail("rotate")
        await asyncio.sleep(0)
        rotation = await super().rotate(family_id, succession)
        self._fail("rotate after")
        return rotation

    async def revoke(self, revocations: Any) -> None:
        self._fail("revoke")
        await super().revoke(revocations)
        self.revoked += revocations

    def _fail(self, name: str) -> None:
        if name in self.down:
            raise StoreError("the store is down")


def settings(**changed: Any) -> TokenSettings:
    """Those of a service; no rate is ever used up unless a test says so."""
    usual = TokenSettings(
        ISSUER,
        lifetime=300,
        renew_for=86_400,
        refresh=RefreshTimes(30 * 86_400, 7 * 86_400, 30),
        rates=Rates(100_000, 100_000, 100_000),
    )
    return replace(usual, **changed)


@dataclass
class Desk:
    """A service, its parts, and requests to it."""

    clock: Clock = field(default_factory=Clock)
    store: FaultyStore = field(default_factory=FaultyStore)
    kept_in: TokenStore | None = None
    """Another store than that."""
    subjects: Subjects = field(default_factory=Subjects)
    log: Log = field(default_factory=Log)
    counts: Counts = field(default_factory=Counts)
    settings: TokenSettings = field(default_factory=settings)
    clients: dict[str, Client] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.signer = OneKey(self.clock)
        self.client_key = generate_private_key(SECP256R1())
        for client in clients(self.client_key):
            self.clients.setdefault(client.id, client)
        around = Surroundings(
            store=self.kept_in or self.store,
            signer=self.signer,
            reader=self.signer,
            subjects=self.subjects,
            assertions=ClientAssertions(frozenset(ASSERTION_ALGORITHMS)),
            audit=self.log,
            meter=TokenMeter(self.clock, 1_000_000),
            metrics=self.counts,
            now=self.clock,
            random_bytes=os.urandom,
        )
        self.service, self.registry = assemble(self.settings, self.clients, around)

    async def post(
        self,
        path: str,
        form: Mapping[str, Any] | bytes,
        *,
        client: str = "",
        address: str = "192.0.2.1",
        **changed: Any,
    ) -> HttpAnswer:
        """A form; ``client`` authenticates by Basic."""
        body = form if isinstance(form, bytes) else urlencode(form, doseq=True).encode()
        headers = {"content-type": ("application/x-www-form-urlencoded",)}
        if client:
            headers["authorization"] = (basic(client, SECRET),)
        values = {"method": "POST", "path": path, "query": "", "headers": headers, "body": body, "address": address}
        return await self.service.answer(HttpQuestion(**(values | changed)))

    async def token(self, form: Mapping[str, Any], *, client: str = "shop", **changed: Any) -> HttpAnswer:
        """A token request."""
        return await self.post("/oauth2/token", form, client=client, **changed)

    async def credentials(self, client: str = "shop", **form: Any) -> HttpAnswer:
        """The client's own token."""
        return await self.token({"grant_type": "client_credentials", **form}, client=client)

    async def refresh(self, token: str, *, client: str = "worker", **form: Any) -> HttpAnswer:
        """The refresh token grant."""
        return await self.token({"grant_type": "refresh_token", "refresh_token": token, **form}, client=client)

    async def renew(self, token: str, **changed: Any) -> HttpAnswer:
        """``POST /refresh``, as curl sends it."""
        body = json.dumps({"token": token}).encode()
        return await self.post("/refresh", body, **changed)

    async def get(self, path: str, method: str = "GET", **headers: str) -> HttpAnswer:
        """A document."""
        named = {name.replace("_", "-"): (value,) for name, value in headers.items()}
        return await self.service.answer(HttpQuestion(method, path, "", named, b"", "192.0.2.1"))

    def assertion(self, client: str = "signer", key: EllipticCurvePrivateKey | None = None, **changed: Any) -> str:
        """An assertion of a client (RFC 7523); claims that are None are left out."""
        now = self.clock()
        claims = {"iss": client, "sub": client, "aud": ISSUER, "jti": os.urandom(8).hex(), "iat": now, "exp": now + 60}
        claims |= changed
        return jwt.encode(
            {name: value for name, value in claims.items() if value is not None}, key or self.client_key, "ES256"
        )


def clients(key: EllipticCurvePrivateKey) -> list[Client]:
    """One of each kind."""
    digests = (secret_digest("another"), secret_digest(SECRET))
    basic_kind: AuthenticationMethod = "client_secret_basic"
    own = frozenset({"client_credentials"})
    both = own | {"refresh_token"}
    return [
        Client(
            "shop", basic_kind, own, ("orders", "https://stock"), ("user",), ("read", "write"), secret_digests=digests
        ),
        Client("form", "client_secret_post", own, ("orders",), secret_digests=digests),
        Client("signer", "private_key_jwt", own, ("orders",), public_keys={"keys": [public_jwk(key, "c1")]}),
        Client("cert", "tls_client_auth", own, ("orders",), certificate_subject="spiffe://x/ns/a/sa/b"),
        Client(
            "worker",
            basic_kind,
            both,
            ("orders", "stock"),
            ("user",),
            ("read", "write"),
            refresh=True,
            secret_digests=digests,
        ),
        Client(
            "loop",
            basic_kind,
            both,
            ("orders",),
            ("user",),
            ("read",),
            refresh=True,
            renew=True,
            secret_digests=digests,
        ),
        Client("plain-loop", basic_kind, own, ("orders",), ("user",), renew=True, secret_digests=digests),
        Client("watcher", basic_kind, own, ("orders",), may_introspect=True, secret_digests=digests),
        Client("orders", basic_kind, own, ("elsewhere",), secret_digests=digests),
        Client(
            "gateway",
            "client_secret_basic",
            frozenset({EXCHANGE}),
            ("orders", "stock"),
            scopes=("read", "write", "admin"),
            exchange=ExchangeRules(frozenset({"corporate", "k8s"}), frozenset({"user"})),
            secret_digests=digests,
        ),
        Client("gone", basic_kind, own, ("orders",), secret_digests=digests, disabled=True),
    ]


def public_jwk(key: EllipticCurvePrivateKey, kid: str) -> dict[str, Any]:
    """The public half."""
    jwk = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**jwk, "kid": kid, "alg": "ES256", "use": "sig"}


def basic(client: str, secret: str) -> str:
    """An Authorization header whose halves are form-encoded."""
    return "Basic " + base64.b64encode(f"{quote_plus(client)}:{quote_plus(secret)}".encode()).decode()


def body(answer: HttpAnswer) -> dict[str, Any]:
    """The JSON of an answer."""
    told: dict[str, Any] = json.loads(answer.body)
    return told


def claims_of(token: str) -> dict[str, Any]:
    """What a token says, unverified."""
    return jwt.decode(token, options={"verify_signature": False})


def error(answer: HttpAnswer) -> tuple[int, str]:
    """Status and code of an error."""
    return answer.status, body(answer)["error"]
