"""What the token service needs of other rooms. ``extauthz.app`` hands it to it.

All of them may be slow or down; each says so with an error of ``extauthz.errors``, within a time of its own.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from extauthz.model import Deny, Identity, VerifiedClaims
from extauthz.tokens.clients import Client
from extauthz.tokens.records import Family, Revocation, RevocationPage, Rotation, Succession

__all__ = [
    "AssertionReader",
    "AuditEvent",
    "AuditLog",
    "KeyBackend",
    "KeyVersion",
    "Meter",
    "Signed",
    "Signer",
    "SubjectVerifier",
    "TokenMetrics",
    "TokenReader",
    "TokenStore",
]


class TokenStore(Protocol):
    """Keeps clients, families and revocations for all replicas. What a call has returned survives a crash.

    Every method raises ``StoreError`` if the store can't be reached or written to; then nothing is known to have happened.
    """

    async def client(self, client_id: str) -> Client | None:
        """A registered client."""
        ...

    async def clients(self) -> Sequence[Client]:
        """All of them, sorted by id."""
        ...

    async def put_client(self, client: Client, *, replace: bool) -> bool:
        """Register a client. False, and nothing is changed, if ``replace`` is not whether there is one of that id."""
        ...

    async def remove_client(self, client_id: str) -> bool:
        """Forget a client; False if there is none."""
        ...

    async def begin(self, family: Family) -> None:
        """Keep a new family."""
        ...

    async def family(self, family_id: str) -> Family | None:
        """A family as it is; None if there is none, or it is forgotten."""
        ...

    async def rotate(self, family_id: str, succession: Succession) -> Rotation:
        """Let one refresh token follow another, atomically: of any number of callers at a time one has ROTATED.

        If ``presented`` is the current one, ``successor`` takes its place and ``sealed``, ``idle_until`` are kept. If it is
        the previous one, replaced at most ``grace`` seconds ago: REPEATED. Any other: REUSED, and the family is revoked in
        the same step.
        """
        ...

    async def end_family(self, family_id: str) -> Family | None:
        """Revoke a family; None if there is none."""
        ...

    async def end_families(self, *, client_id: str | None = None, subject: str | None = None) -> int:
        """Revoke all families of a client, of a subject, or of both together; gives how many. One of them is given."""
        ...

    async def revoke(self, revocations: Sequence[Revocation]) -> None:
        """Keep revocations, all or none. They are durable when this returns."""
        ...

    async def revocations(self, after: str = "", epoch: str = "") -> RevocationPage:
        """What was revoked after a cursor of this epoch; with another epoch or none, all that is still to be remembered.

        A page is whole: nothing that is acknowledged later gets a place before its cursor.
        """
        ...

    async def use_once(self, name: str, until: float, *, now: float) -> bool:
        """Claim a name until a time, atomically: True for one caller, False for all others until then."""
        ...

    async def purge(self, now: float) -> int:
        """Forget what has ended; gives how much that was."""
        ...


@dataclass(frozen=True, slots=True)
class KeyVersion:
    """One signing key, of which only the public half is seen."""

    kid: str
    """Never given to another key."""
    algorithm: str
    """ES256, EdDSA, RS256, PS256; HS256 for a secret that extauthz alone verifies with."""
    created: float
    """Seconds since the epoch. What is current, next and previous follows from it (``extauthz.tokens.schedule``)."""
    public: Mapping[str, Any] | None
    """The public JWK (RFC 7517) with ``kid``, ``alg`` and ``use``; None for HS256."""
    secret: bytes | None = field(default=None, repr=False)
    """The secret of HS256; None for all others."""
    slot: str = ""
    """"previous", "current" or "next" where whoever writes the keys says so; empty: it follows from ``created``."""


class KeyBackend(Protocol):
    """Has the signing keys and signs with them: files, Kubernetes Secrets, Vault Transit, Vault KV.

    Every method raises ``SigningError`` if it can't be done now; the text holds no secret.
    """

    name: str
    """For logs, metrics and readiness: "files", "transit", ..."""
    rotates: bool
    """Whether ``add`` and ``remove`` work; False where somebody else writes the keys."""

    async def versions(self) -> Sequence[KeyVersion]:
        """All keys that there are, oldest first."""
        ...

    async def sign(self, kid: str, signing_input: bytes) -> bytes:
        """The JWS signature (RFC 7515 section 5.1, RFC 7518 section 3) by a key."""
        ...

    async def add(self, algorithm: str, *, newest: str | None, created: float) -> KeyVersion:
        """Make a key if ``newest`` still names the newest one (None: there is none).

        Raises ``AlreadyRotatedError`` otherwise: somebody else was faster, and has done what was wanted.
        """
        ...

    async def remove(self, kid: str) -> None:
        """Destroy a key, and all that are older, for good."""
        ...

    async def close(self) -> None:
        """Let go of connections and files."""
        ...


class Signed(Protocol):
    """A signed token and by what it was signed."""

    @property
    def token(self) -> str:
        """The compact JWS."""
        ...

    @property
    def kid(self) -> str:
        """The key that signed it."""
        ...


class Signer(Protocol):
    """Signs with the key whose turn it is, and tells what others verify with. ``extauthz.tokens.signing`` has it."""

    async def sign(self, claims: Mapping[str, Any], *, typ: str = "at+jwt") -> Signed:
        """Sign claims. Raises ``SigningError`` if no key can be used now."""
        ...

    def jwks(self) -> bytes:
        """The JWK Set (RFC 7517): the public keys in use, those still needed, and those to come.

        Raises ``SigningError`` while no key is known at all.
        """
        ...

    @property
    def etag(self) -> str:
        """Changes whenever ``jwks`` does; quoted, as HTTP has it."""
        ...

    @property
    def max_age(self) -> float:
        """For how many seconds a copy of ``jwks`` may be used: less than what a new key waits for its first use."""
        ...

    @property
    def max_token_lifetime(self) -> float:
        """The longest that a token may live, in seconds: for so long its key is published."""
        ...

    def algorithms(self) -> Collection[str]:
        """What tokens that are good now are signed with."""
        ...


class AssertionReader(Protocol):
    """Reads the assertions by which clients prove who they are (RFC 7523), as far as signature and form go."""

    def subject(self, assertion: str) -> str:
        """Whose assertion it says to be; nobody has verified that. Empty if it is not well-formed."""
        ...

    def verified(self, assertion: str, keys: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Its claims, if one of a client's public keys (a JWK Set) has signed it; times and names are not looked at."""
        ...


class Meter(Protocol):
    """Counts in windows of a minute. Answers at once."""

    def take(self, kind: str, name: str, per_minute: int) -> int:
        """Count one of a kind under a name: 0, or if that were more than the rate, the seconds until it would not be."""
        ...

    def wait(self, kind: str, name: str, per_minute: int) -> int:
        """What ``take`` would say now, counting nothing."""
        ...


class TokenMetrics(Protocol):
    """Counts what was done. The words are from fixed tables."""

    def asked(self, grant: str, outcome: str) -> None:
        """Somebody asked for a token: ``issued``, or the code of the error."""
        ...

    def told(self, endpoint: str, outcome: str) -> None:
        """``revoke`` or ``introspect`` was answered: ``done``, ``active``, ``inactive``, or the code of the error."""
        ...

    def reused(self) -> None:
        """A refresh token was used twice, and its family ended."""
        ...


class TokenReader(Protocol):
    """Reads access tokens that this service issued, whoever they are meant for."""

    def read(self, token: str) -> VerifiedClaims | Deny:
        """The claims of a token that verifies and is not revoked, or why it does not."""
        ...

    def issued(self, token: str) -> VerifiedClaims | None:
        """The claims of a token that was issued here, although it has expired or is revoked; None if that can't be said, or
        not any more.
        """
        ...


class SubjectVerifier(Protocol):
    """Says whom a token of a configured provider proves (RFC 8693 ``subject_token``)."""

    async def verify(self, token: str, providers: frozenset[str]) -> tuple[Identity, float | None] | Deny:
        """The identity and when the token ends, in seconds since the epoch, or why it proves nobody to these providers.

        No other provider is asked about it, or shown it.
        """
        ...


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Something that was done with tokens or keys, or refused."""

    action: str
    """issue, refresh, renew, exchange, revoke, introspect, rotate, revoke-key, client, ..."""
    outcome: str
    """done or refused."""
    client_id: str = ""
    subject: str = ""
    reason: str = ""
    """The OAuth error or the reason word, if it was refused."""
    detail: str = ""
    """For people; holds no secret."""
    key_id: str = ""
    token: str = field(default="", repr=False)
    """The token itself: the log keeps a keyed digest of it and nothing else."""
    jti: str = ""
    family: str = ""
    address: str = ""
    """Whose request it was."""


class AuditLog(Protocol):
    """Keeps what was done."""

    def record(self, event: AuditEvent) -> None:
        """Write one line. Raises ``AuditError`` if it can't and nothing may be done without a record."""
        ...
