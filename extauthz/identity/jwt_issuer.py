"""A provider of JSON Web Tokens at work: its keys, its verifier, its roles."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping

from extauthz.identity.fetching import Fetcher
from extauthz.identity.key_loading import loader_of
from extauthz.identity.key_ring import KeyRing, Lease
from extauthz.identity.providers import JwtProvider, ProviderState, Wait
from extauthz.identity.roles import RoleError, RoleReader, scopes_of
from extauthz.identity.token_form import CompactToken
from extauthz.identity.verifier import JwtVerifier, UnknownKey
from extauthz.identity.voucher import Verdict
from extauthz.model import Deny, Identity, Reason

__all__ = ["JwtIssuer"]


class JwtIssuer:
    """One issuer. Belongs to one event loop."""

    def __init__(
        self,
        provider: JwtProvider,
        included: Mapping[str, frozenset[str]],
        *,
        fetcher: Fetcher,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Compile the provider and load what is local.

        Raises:
            KeySetError: Local keys can't be used; the text begins with the provider's name.
        """
        self.name = provider.name
        self.issuer = provider.issuer
        self._verifier = JwtVerifier(provider)
        self._ring = KeyRing(provider.name, loader_of(provider, fetcher), now=now, sleep=sleep, chance=chance)
        self._roles = RoleReader(provider.roles, included)
        self._skew = provider.clock_skew

    @property
    def started(self) -> bool:
        """Whether the first fetch of the keys has ended, well or badly."""
        return self._ring.started

    @property
    def lease(self) -> Lease:
        """How long what is verified now may be believed without the keys."""
        return self._ring.lease

    def end_of(self, identity: Identity) -> float:
        """When the token that proved an identity no longer verifies, in seconds since the epoch."""
        return (identity.expires or 0.0) + self._skew

    def identify(self, token: CompactToken, now: float, *, waited: bool) -> Verdict:
        """The identity that a token of this issuer proves."""
        keys = self._ring.keys()
        if keys is None:
            arrival = None if waited else self._ring.first_arrival()
            return Wait(self.name, arrival) if arrival else self._keys_unavailable()
        claims = self._verifier.verify(token, keys, now)
        if isinstance(claims, UnknownKey):
            arrival = None if waited else self._ring.renewal()
            return Wait(self.name, arrival) if arrival else claims.denial
        if isinstance(claims, Deny):
            return claims
        try:
            roles, scopes = self._roles.roles(claims), scopes_of(claims)
        except RoleError as error:
            return Deny(Reason.CLAIM_INVALID, str(error), provider=self.name)
        return Identity(claims["sub"], self.issuer, self.name, roles, scopes, claims, float(claims["exp"]))

    def state(self) -> ProviderState:
        """How the keys are doing."""
        return self._ring.state()

    async def run(self) -> None:
        """Keep the keys current until cancelled."""
        await self._ring.run()

    def _keys_unavailable(self) -> Deny:
        detail = self._ring.state().error or "they have not arrived yet"
        retry_after = self._ring.retry_after()
        return Deny(Reason.KEYS_UNAVAILABLE, detail, provider=self.name, retry_after=retry_after)
