"""Families of refresh tokens: they begin with a grant, each token is followed by the next, and a thief ends them.

A token is good once. Who presents one that was followed already is either a client that did not get its answer, within
moments, or one of two holders of which one is a thief; the first gets the very same successor again, and for the second
the whole family ends, access tokens included (O23 to O26).

What is read here decides only what is not worth signing for. Between that and the end the token may be used by others: the
store's one atomic step says who was first, and is the last thing before the answer. So a client that got no answer has
either its old token still, or one whose successor it can have for a while by asking again.
"""

import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from extauthz.tokens.authorization import Authorization, Terms
from extauthz.tokens.endings import end_of_session
from extauthz.tokens.errors import OAuthError
from extauthz.tokens.ports import TokenStore
from extauthz.tokens.records import Family, Outcome, Rotation, Succession
from extauthz.tokens.refresh_token import (
    KEY_SIZE,
    RefreshToken,
    digest_of,
    new_refresh_token,
    opened,
    read_refresh_token,
    sealed,
)

__all__ = ["Families", "Granted", "Presented", "RefreshTimes"]

_NOBODYS_KEY: Final = bytes(KEY_SIZE)
_TOLD_AGAIN: Final = 10.0
"""Seconds between two writes of what is known of a family that has ended."""


@dataclass(frozen=True, slots=True)
class RefreshTimes:
    """How long refresh tokens are good, in seconds."""

    lifetime: float
    """A family, from its beginning on."""
    idle: float
    """A family that nobody uses."""
    grace: float
    """A token that was followed a moment ago, for the client that did not get the answer."""


@dataclass(frozen=True, slots=True)
class Granted:
    """What was granted when a family began."""

    scopes: tuple[str, ...]
    audiences: tuple[str, ...]
    roles: tuple[str, ...]
    auth_time: float | None

    def text(self) -> str:
        """As the store keeps it."""
        return json.dumps(
            {"scope": self.scopes, "aud": self.audiences, "roles": self.roles, "auth_time": self.auth_time},
            separators=(",", ":"),
        )

    @classmethod
    def read(cls, text: str) -> "Granted":
        """What ``text`` wrote."""
        kept = json.loads(text)
        return cls(tuple(kept["scope"]), tuple(kept["aud"]), tuple(kept["roles"]), kept["auth_time"])


@dataclass(frozen=True, slots=True)
class Presented:
    """A refresh token of a family that lives: the current one, or the one before it within the grace."""

    token: RefreshToken = field(repr=False)
    family: Family
    granted: Granted


class Families:
    """Begins, continues and ends them. Every method raises ``StoreError``."""

    def __init__(
        self,
        store: TokenStore,
        times: RefreshTimes,
        *,
        now: Callable[[], float],
        random_bytes: Callable[[int], bytes],
        reused: Callable[[], None],
    ) -> None:
        """``now`` is in seconds since the epoch; ``reused`` hears of each family that a second use has ended."""
        self._store = store
        self._times = times
        self._now = now
        self._random_bytes = random_bytes
        self._reused = reused

    async def begin(self, authorization: Authorization, terms: Terms) -> str:
        """Begin the family that an authorization's ``session`` names; gives its first token."""
        now = self._now()
        key = self._random_bytes(KEY_SIZE)
        token = new_refresh_token(authorization.session, key, 0, self._random_bytes)
        expires = now + self._times.lifetime
        granted = Granted(terms.scopes, terms.audiences, authorization.roles, authorization.auth_time)
        await self._store.begin(
            Family(
                id=authorization.session,
                key=key,
                client_id=authorization.client.id,
                subject=authorization.subject,
                grant=granted.text(),
                created=now,
                expires=expires,
                idle_until=min(now + self._times.idle, expires),
                current=digest_of(token),
            )
        )
        return token

    async def present(self, text: str, client_id: str | None) -> Presented | OAuthError:
        """Look at a refresh token, for a client that has proved who it is; None: whoever has the token may use it."""
        token = read_refresh_token(text)
        if token is None:
            return _refused("it has not the form of a refresh token")
        family = await self._store.family(token.family)
        tagged = token.is_tagged_by(_NOBODYS_KEY if family is None else family.key)
        if family is None or not tagged:
            return _refused("no such refresh token was given out, or its family is forgotten")
        if client_id is not None and family.client_id != client_id:
            return _refused("the refresh token is of another client")
        now = self._now()
        if family.revoked:
            await self._tell_again(family, now)
            return _refused("its family has ended")
        if now >= min(family.expires, family.idle_until):
            return _refused("its family has expired")
        presented = Presented(token, family, Granted.read(family.grant))
        digest = digest_of(text)
        if hmac.compare_digest(digest, family.current):
            return presented
        if hmac.compare_digest(digest, family.previous) and now - family.rotated <= self._times.grace:
            return presented
        rotation = await self._rotate(presented, self._successor(presented))
        return await self._ended(rotation, presented)

    async def follow(self, presented: Presented) -> str | OAuthError:
        """The token that follows: a new one, or the one that was made for an answer which did not arrive."""
        successor = self._successor(presented)
        rotation = await self._rotate(presented, successor)
        if rotation.outcome is Outcome.ROTATED:
            return successor
        if rotation.outcome is Outcome.REPEATED and rotation.family is not None:
            made = opened(rotation.family.sealed, presented.token.text)
            return _refused("its successor can't be opened") if made is None else made
        return await self._ended(rotation, presented)

    async def known(self, text: str) -> Family | None:
        """The family of a refresh token that was given out once, whatever became of either since."""
        token = read_refresh_token(text)
        family = None if token is None else await self._store.family(token.family)
        return family if token is not None and family is not None and token.is_tagged_by(family.key) else None

    async def end(self, family_id: str) -> None:
        """End a family and its access tokens; both are durable when this returns."""
        await self._store.end_family(family_id)
        await self._store.revoke([end_of_session(family_id, self._now())])

    def _successor(self, presented: Presented) -> str:
        family = presented.family
        return new_refresh_token(family.id, family.key, family.generation + 1, self._random_bytes)

    async def _rotate(self, presented: Presented, successor: str) -> Rotation:
        now, family, text = self._now(), presented.family, presented.token.text
        succession = Succession(
            presented=digest_of(text),
            successor=digest_of(successor),
            sealed=sealed(successor, text, self._random_bytes),
            now=now,
            grace=self._times.grace,
            idle_until=min(now + self._times.idle, family.expires),
        )
        return await self._store.rotate(family.id, succession)

    async def _ended(self, rotation: Rotation, presented: Presented) -> OAuthError:
        """Why no token follows. If that is a second use, the store has ended the family; its access tokens end here."""
        if rotation.outcome is not Outcome.REUSED:
            return _refused("its family has ended meanwhile")
        await self._store.revoke([end_of_session(presented.family.id, self._now())])
        self._reused()
        family = presented.family
        detail = f"the refresh token was used before: family {family.id} of client {family.client_id} has been ended"
        return _refused(detail, "refresh-token-reused")

    async def _tell_again(self, family: Family, now: float) -> None:
        """Revoke the access tokens of a family once more: whoever ended it may have died before it came to that."""
        if await self._store.use_once(f"ended:{family.id}", now + _TOLD_AGAIN, now=now):
            await self._store.revoke([end_of_session(family.id, now)])


def _refused(detail: str, reason: str = "") -> OAuthError:
    return OAuthError(
        "invalid_grant", "the refresh token is not valid for this client, or not any more", detail, reason=reason
    )
