"""Tokens that were verified a moment ago: from a token's digest to the identity that it proved.

The first sight of a token costs a signature, the second one a look into a dictionary, before anything is parsed. What is
remembered is who the caller is, never what the caller may do: policies judge each request anew.

An identity is given again only while verifying the token anew would give the same:

- within the window from its verification to the token's end as the verifier counts it (``exp`` plus the clock skew), at
  most ``max_age``. ``nbf``, ``iat`` and the longest lifetime held at the window's beginning, so they hold in all of it; a
  clock that is set back to before the window misses;
- while the ``Lease`` of the provider's keys lasts: a key that disappears, or a set that grew too old, ends it for all
  tokens at once, with one assignment. A key that is added ends nothing;
- a token of this process's own token service, while it is not revoked: it is asked at each use whether it still stands, by
  what is kept of it for that purpose;
- from a place that the token's provider reads.

What else decides (issuer, audiences, roles) can't change while the process runs. Two requests that show a new token at
once do not verify it twice: verification is synchronous, so the second finds what the first left.

Refusals are not remembered (what was revoked answers for itself). Most cost less than a look-up saves, whoever wants to burn CPU changes a byte each time, and
a refusal would have to be forgotten when a key is *added*. Bounds are a number of entries and a number of bytes; over
them, and past its window, an entry leaves in order of arrival, but one that was used since gets a second round (CLOCK),
so that a flood of tokens seen once does not drive out those in use. Claims are kept as the bytes that were signed, a
third of what parsed ones take and nothing for the garbage collector to walk; the few in use are kept parsed.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, dataclass, replace
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

from extauthz.identity.key_ring import Lease
from extauthz.identity.standing import OwnToken
from extauthz.identity.strict_json import read_object
from extauthz.model import Deny, Identity, Reason, VerifiedClaims

__all__ = ["DEFAULT_LIMITS", "CacheCounts", "CacheLimits", "StoredClaims", "TokenCache", "digest_of"]

_ENTRY_SIZE: Final = 640
"""Bytes of an entry without its texts, measured on CPython 3.11: digest, slots of both tables, entry, identity, numbers."""
_OWN_SIZE: Final = 400
"""Bytes of what an own token can be revoked by."""
_WORD_SIZE: Final = 64
"""Bytes of a short string beside its characters, with its slot in a set."""
_PARSED: Final = 512
"""How many tokens have their claims kept parsed as well, if a policy reads them."""
_SHARED: Final = 1024
"""How many different sets of roles and tuples of scopes are kept once instead of once a token."""
_SMALL: Final = 16
"""Words that such a set or tuple may have."""
_ROUNDS: Final = 8
"""Second rounds given for one new entry: it bounds what the entry costs when all others were used since."""


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """How much is remembered, and how long.

    Raises:
        ValueError: A limit is negative.
    """

    max_entries: int = 100_000
    """0: nothing is remembered."""
    max_bytes: int = 160 << 20
    """An estimate of the memory that all entries take."""
    max_age: float = 300.0
    """Seconds after which a token is verified anew."""

    def __post_init__(self) -> None:
        """Refuse negative limits."""
        if min(self.max_entries, self.max_bytes, self.max_age) < 0:
            message = "the limits of the token cache must not be negative"
            raise ValueError(message)


DEFAULT_LIMITS = CacheLimits()


@dataclass(frozen=True, slots=True)
class CacheCounts:
    """What happened so far, for metrics."""

    hits: int
    misses: int
    """Tokens that were not remembered."""
    stale: int
    """Tokens that were remembered, but no longer valid: too old, expired, revoked, or verified by a key that has gone."""
    evicted: int
    """Entries that left before their end, for lack of room."""
    entries: int
    bytes: int
    """The estimate that ``CacheLimits.max_bytes`` bounds."""

    def __add__(self, other: "CacheCounts") -> "CacheCounts":
        """What happened in two caches."""
        return CacheCounts(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))


def digest_of(token: str) -> bytes:
    """What a token is remembered by: 32 bytes that say nothing about it."""
    return sha256(token.encode("utf-8", "surrogatepass")).digest()


class StoredClaims(Mapping[str, Any]):
    """Verified claims as the bytes that were signed, read when somebody looks."""

    __slots__ = ("_payload", "_read")

    def __init__(self, payload: bytes, read: Callable[[bytes], Mapping[str, Any]]) -> None:
        """Keep the payload of a verified token and what reads it."""
        self._payload = payload
        self._read = read

    def __getitem__(self, name: str) -> Any:
        """One claim."""
        return self._read(self._payload)[name]

    def __iter__(self) -> Iterator[str]:
        """The names of the claims."""
        return iter(self._read(self._payload))

    def __len__(self) -> int:
        """How many claims there are."""
        return len(self._read(self._payload))


@dataclass(slots=True)
class _Entry:
    """An identity and how long it holds. ``used``: it was given out since it last came to the front of the queue."""

    identity: Identity
    since: float
    until: float
    lease: Lease
    size: int
    own: OwnToken | None
    used: bool = False

    def holds(self, now: float) -> bool:
        return self.since <= now < self.until and now < self.lease.until


class TokenCache:
    """Identities by token. Belongs to one event loop."""

    def __init__(self, limits: CacheLimits) -> None:
        """Begin empty."""
        self._limits = limits
        self._entries: dict[bytes, _Entry] = {}
        # The digests of all entries, each once. A plain dict finds its first key slowly once many were removed there.
        self._queue: deque[bytes] = deque()
        self._bytes = 0
        self._hits = self._misses = self._stale = self._evicted = 0
        self._read = lru_cache(_PARSED)(read_object)
        self._share: Callable[[Any], Any] = lru_cache(_SHARED)(lambda words: words)

    def find(self, digest: bytes, providers: frozenset[str], now: float) -> Identity | Deny | None:
        """What the token with this digest proved, if that still holds and it came from where ``providers`` read. Of one that
        would still verify and does not stand any more: why.
        """
        entry = self._entries.get(digest)
        if entry is None or entry.identity.provider not in providers:
            self._misses += 1
            return None
        if not entry.holds(now):
            self._stale += 1
            return None
        if entry.own is not None:
            refusal = entry.own.refusal(now)
            if refusal is not None:
                return self._refused(entry, refusal)
        self._hits += 1
        entry.used = True
        return entry.identity

    def keep(
        self,
        digest: bytes,
        identity: Identity,
        payload: bytes,
        *,
        now: float,
        end: float,
        lease: Lease,
        own: OwnToken | None = None,
    ) -> None:
        """Remember what a token proved just ``now``; ``end`` is when it would no longer verify, in epoch seconds."""
        size = _size(identity, payload) + (0 if own is None else _OWN_SIZE)
        if not self._limits.max_entries or size > self._limits.max_bytes:
            return
        remembered = replace(
            identity,
            roles=self._shared(identity.roles),
            scopes=self._shared(identity.scopes),
            claims=VerifiedClaims(StoredClaims(payload, self._read)),
        )
        entry = _Entry(remembered, now, min(end, now + self._limits.max_age), lease, size, own)
        before = self._entries.get(digest)
        self._entries[digest] = entry
        self._bytes += size
        if before is None:
            self._queue.append(digest)
        else:
            self._bytes -= before.size
        self._make_room(now)

    def _refused(self, entry: _Entry, refusal: Deny) -> Deny:
        """Refuse a token. One that is revoked is given never again: it leaves when its turn comes."""
        self._stale += 1
        if refusal.reason is Reason.TOKEN_REVOKED:
            entry.until = -math.inf
        return replace(refusal, provider=entry.identity.provider)

    def counts(self) -> CacheCounts:
        """What happened so far."""
        return CacheCounts(
            self._hits, self._misses, self._stale, self._evicted, entries=len(self._entries), bytes=self._bytes
        )

    def _make_room(self, now: float) -> None:
        """Let entries go: as many as are over the bounds, and up to two at the front that hold no longer."""
        for _ in range(2):
            if not self._entries[self._queue[0]].holds(now):
                self._drop(self._queue.popleft())
                if not self._queue:
                    return
        rounds = _ROUNDS
        while len(self._entries) > self._limits.max_entries or self._bytes > self._limits.max_bytes:
            digest = self._queue.popleft()
            entry = self._entries[digest]
            if entry.used and rounds and entry.holds(now):
                rounds -= 1
                entry.used = False
                self._queue.append(digest)
            else:
                self._drop(digest)
                self._evicted += 1

    def _drop(self, digest: bytes) -> None:
        self._bytes -= self._entries.pop(digest).size

    def _shared(self, words: Any) -> Any:
        return self._share(words) if len(words) <= _SMALL else words


def _size(identity: Identity, payload: bytes) -> int:
    """About how many bytes an entry takes; shared words are counted as if they were not."""
    words = [*identity.roles, *identity.scopes]
    return _ENTRY_SIZE + len(payload) + len(identity.subject) + sum(map(len, words)) + _WORD_SIZE * len(words)
