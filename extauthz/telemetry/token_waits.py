"""What token requests wait for: the store and the signing keys, each asked through something that looks at the clock.

Of all calls the time and the outcome are counted. Of those that took so long that the request must have waited there is a
span as well, if the request has one; a store in memory and a key in a folder answer at once, and have none.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Summary

from extauthz.errors import SigningError, StoreError
from extauthz.telemetry.open_request import OPEN
from extauthz.tokens.clients import Client
from extauthz.tokens.ports import Signed, Signer, TokenStore
from extauthz.tokens.records import Family, Revocation, RevocationPage, Rotation, Succession

__all__ = ["KeptStore", "TimedSigner", "TimedStore", "TokenWaits"]

_T = TypeVar("_T")
_WAITED: Final = 0.0005
"""Seconds; what takes less is work and no wait."""
_OPERATIONS: Final = (
    "client",
    "clients",
    "put_client",
    "remove_client",
    "begin",
    "family",
    "rotate",
    "end_family",
    "end_families",
    "revoke",
    "revocations",
    "use_once",
    "purge",
)


class KeptStore(TokenStore, Protocol):
    """A token store that can be looked at and closed."""

    async def look(self) -> str:
        """What people should know of it although it works; empty: nothing. Raises StoreError."""
        ...

    async def close(self) -> None:
        """Let go of connections and files."""
        ...


class TokenWaits:
    """Counts for one process; all series are there from the beginning."""

    def __init__(self, registry: CollectorRegistry, clock: Callable[[], float]) -> None:
        """Make them in a registry. ``clock`` is monotonic, and that of whoever begins requests."""
        self._clock = clock
        took = Summary(
            "extauthz_token_store_duration_seconds",
            "Calls of the token store, by what was asked of it, and the time that they took.",
            ("operation",),
            registry=registry,
        )
        failed = Counter(
            "extauthz_token_store_failed",
            "Calls of the token store without an answer: it is down, full or too slow.",
            ("operation",),
            registry=registry,
        )
        self._calls = {name: (took.labels(name), failed.labels(name)) for name in _OPERATIONS}
        self._usable = Gauge(
            "extauthz_token_store_usable",
            "1 if the token store could be used at the last look, else 0.",
            registry=registry,
        )
        self._warned = Gauge(
            "extauthz_token_store_warned",
            "1 if there is something to mend at the token store although it works (/readyz?verbose says what), else 0.",
            registry=registry,
        )
        self._signed = Summary(
            "extauthz_signature_duration_seconds", "Signatures, and the time that they took.", registry=registry
        )
        self._unsigned = Counter(
            "extauthz_signatures_failed", "Tokens that could not be signed; each was answered 503.", registry=registry
        )

    def looked(self, *, usable: bool, warned: bool) -> None:
        """Somebody has looked at the store."""
        self._usable.set(usable)
        self._warned.set(warned)

    async def kept(self, operation: str, call: Awaitable[_T]) -> _T:
        """A call of the store."""
        took, failed = self._calls[operation]
        began = self._clock()
        try:
            return await call
        except StoreError:
            failed.inc()
            raise
        finally:
            took.observe(self._waited("store", began))

    async def signed(self, call: Awaitable[_T]) -> _T:
        """A signature."""
        began = self._clock()
        try:
            done = await call
        except SigningError:
            self._unsigned.inc()
            self._waited("signature", began)
            raise
        self._signed.observe(self._waited("signature", began))
        return done

    async def waited(self, what: str, call: Awaitable[_T]) -> _T:
        """Something else, which is not counted."""
        began = self._clock()
        try:
            return await call
        finally:
            self._waited(what, began)

    def _waited(self, what: str, began: float) -> float:
        ended = self._clock()
        request = OPEN.get()
        if request is not None and ended - began >= _WAITED:
            request.waited(what, began, ended)
        return ended - began


class TimedSigner:
    """Implements ``extauthz.tokens.ports.Signer`` by another one."""

    def __init__(self, waits: TokenWaits, signer: Signer) -> None:
        """Ask ``signer``."""
        self._waits = waits
        self._signer = signer
        self.jwks = signer.jwks

    async def sign(self, claims: Mapping[str, Any], *, typ: str = "at+jwt") -> Signed:
        """Sign claims."""
        return await self._waits.signed(self._signer.sign(claims, typ=typ))

    @property
    def etag(self) -> str:
        """That of the key set."""
        return self._signer.etag

    @property
    def max_age(self) -> float:
        """For how many seconds a copy of the key set may be used."""
        return self._signer.max_age

    @property
    def max_token_lifetime(self) -> float:
        """The longest that a token may live, in seconds."""
        return self._signer.max_token_lifetime

    def algorithms(self) -> Collection[str]:
        """What tokens that are good now are signed with."""
        return self._signer.algorithms()


class TimedStore:
    """Implements ``extauthz.tokens.ports.TokenStore`` by another one."""

    def __init__(self, waits: TokenWaits, store: KeptStore) -> None:
        """Ask ``store``."""
        self._waits = waits.kept
        self._look = waits.looked
        self._store = store
        self.close = store.close

    async def look(self) -> str:
        """What people should know of it although it works. Raises StoreError."""
        try:
            told = await self._store.look()
        except StoreError:
            self._look(usable=False, warned=False)
            raise
        self._look(usable=True, warned=bool(told))
        return told

    async def client(self, client_id: str) -> Client | None:
        """A registered client."""
        return await self._waits("client", self._store.client(client_id))

    async def clients(self) -> Sequence[Client]:
        """All of them."""
        return await self._waits("clients", self._store.clients())

    async def put_client(self, client: Client, *, replace: bool) -> bool:
        """Register a client."""
        return await self._waits("put_client", self._store.put_client(client, replace=replace))

    async def remove_client(self, client_id: str) -> bool:
        """Forget a client."""
        return await self._waits("remove_client", self._store.remove_client(client_id))

    async def begin(self, family: Family) -> None:
        """Keep a new family."""
        await self._waits("begin", self._store.begin(family))

    async def family(self, family_id: str) -> Family | None:
        """A family as it is."""
        return await self._waits("family", self._store.family(family_id))

    async def rotate(self, family_id: str, succession: Succession) -> Rotation:
        """Let one refresh token follow another."""
        return await self._waits("rotate", self._store.rotate(family_id, succession))

    async def end_family(self, family_id: str) -> Family | None:
        """Revoke a family."""
        return await self._waits("end_family", self._store.end_family(family_id))

    async def end_families(self, *, client_id: str | None = None, subject: str | None = None) -> int:
        """Revoke families."""
        return await self._waits("end_families", self._store.end_families(client_id=client_id, subject=subject))

    async def revoke(self, revocations: Sequence[Revocation]) -> None:
        """Keep revocations."""
        await self._waits("revoke", self._store.revoke(revocations))

    async def revocations(self, after: str = "", epoch: str = "") -> RevocationPage:
        """What was revoked after a cursor."""
        return await self._waits("revocations", self._store.revocations(after, epoch))

    async def use_once(self, name: str, until: float, *, now: float) -> bool:
        """Claim a name until a time."""
        return await self._waits("use_once", self._store.use_once(name, until, now=now))

    async def purge(self, now: float) -> int:
        """Forget what has ended."""
        return await self._waits("purge", self._store.purge(now))
