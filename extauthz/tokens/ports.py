"""What the token service needs of other rooms. ``extauthz.app`` hands it to it.

All of them may be slow or down; each says so with an error of ``extauthz.errors``, within a time of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from extauthz.model import Deny, Identity, VerifiedClaims
from extauthz.tokens.clients import Client
from extauthz.tokens.records import Family, Revocation, RevocationPage, Rotation

__all__ = ["AuditEvent", "AuditLog", "KeyBackend", "KeyVersion", "SubjectVerifier", "TokenReader", "TokenStore"]


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

    async def rotate(
        self,
        family_id: str,
        presented: bytes,
        successor: bytes,
        sealed: bytes,
        *,
        now: float,
        grace: float,
        idle_until: float,
    ) -> Rotation:
        """Let one refresh token follow another, atomically: of any number of callers at a time one has ROTATED.

        ``presented`` and ``successor`` are digests. If ``presented`` is the current one, ``successor`` takes its place and
        ``sealed``, ``idle_until`` are kept. If it is the previous one, replaced at most ``grace`` seconds ago: REPEATED.
        Any other: REUSED, and the family is revoked in the same step.
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


class TokenReader(Protocol):
    """Reads access tokens that this service issued, whoever they are meant for."""

    def read(self, token: str) -> VerifiedClaims | Deny:
        """The claims of a token that verifies and is not revoked, or why it does not."""
        ...


class SubjectVerifier(Protocol):
    """Says whom a token of a configured provider proves (RFC 8693 ``subject_token``)."""

    async def verify(self, token: str) -> tuple[Identity, float | None] | Deny:
        """The identity and when the token ends, in seconds since the epoch, or why it proves nobody."""
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
