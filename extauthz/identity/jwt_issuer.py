"""A provider of JSON Web Tokens at work: its keys, its verifier, its roles."""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace

from extauthz.identity.claimed import identity_of
from extauthz.identity.explanation import Step, role_steps, token_value
from extauthz.identity.fetching import Fetcher
from extauthz.identity.key_loading import loader_of
from extauthz.identity.key_ring import KeyRing, Lease
from extauthz.identity.own_keys import OwnKeys
from extauthz.identity.providers import JwtProvider, ProviderState, Wait
from extauthz.identity.roles import RoleReader
from extauthz.identity.standing import OwnToken, Standing, TokenMarks
from extauthz.identity.token_form import CompactToken
from extauthz.identity.verifier import JwtVerifier, UnknownKey
from extauthz.identity.voucher import Verdict
from extauthz.model import Deny, Identity, Reason, VerifiedClaims

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
        self._standing = provider.keys.standing if isinstance(provider.keys, OwnKeys) else None

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
            return Wait(self.name, arrival, "keys") if arrival else self._keys_unavailable()
        claims = self._verifier.verify(token, keys, now)
        if isinstance(claims, UnknownKey):
            arrival = None if waited else self._ring.renewal()
            return Wait(self.name, arrival, "keys") if arrival else claims.denial
        if isinstance(claims, Deny):
            return claims
        if self._standing is not None:
            refusal = self._refusal(self._standing, claims, token.key_id, now)
            if refusal is not None:
                return refusal
        return identity_of(self.name, self.issuer, self._roles, claims)

    def own(self, identity: Identity, key_id: str | None) -> OwnToken | None:
        """By what it can be asked whether the token that proved an identity still stands; None if nobody knows."""
        if self._standing is None:
            return None
        return OwnToken(self._standing, TokenMarks.read(identity.claims, key_id), _granted(identity.claims))

    def _refusal(self, standing: Standing, claims: VerifiedClaims, key_id: str | None, now: float) -> Deny | None:
        try:
            marks = TokenMarks.read(claims, key_id)
        except ValueError as error:
            return Deny(Reason.CLAIM_INVALID, str(error), provider=self.name)
        refusal = standing.refusal(marks, _granted(claims), now)
        return None if refusal is None else replace(refusal, provider=self.name)

    def steps(self, token: CompactToken, now: float) -> Iterator[Step]:
        """What ``identify``, having waited, asks of a token of this issuer, up to the first refusal."""
        keys = self._ring.keys()
        asked = "the provider's keys are here"
        if keys is None:
            yield Step("keys", asked, holds=False, fault=self._keys_unavailable().detail)
            return
        count = len(keys.keys)
        whose = "" if self._standing is None else " of this process's own token service"
        yield Step("keys", asked, holds=True, value=f"{count} {'key' if count == 1 else 'keys'}{whose}")
        sentences = self._verifier.asked
        for check, refusal in self._verifier.judge(token, keys, now):
            denial = refusal.denial if isinstance(refusal, UnknownKey) else refusal
            fault = "" if denial is None else denial.detail
            yield Step(check, sentences[check], denial is None, token_value(check, token), fault)
            if denial is not None:
                return
        if self._standing is not None:
            claims = VerifiedClaims(token.unverified_claims)
            refused = self._refusal(self._standing, claims, token.key_id, now)
            fault = "" if refused is None else refused.detail
            yield Step("standing", "nothing is revoked that means it", refused is None, "", fault)
            if refused is not None:
                return
        yield from role_steps(self._roles, token.unverified_claims)

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


def _granted(claims: VerifiedClaims) -> float:
    """When a token was issued, or what it follows from: in a session the next token is no new grant.

    Else a token that is renewed where a revocation is not known yet would be too young for it. Long ago if it does not say,
    so that whatever is revoked means it.
    """
    issued, begun = claims.get("iat"), claims.get("auth_time")
    if not isinstance(issued, int | float):
        return -math.inf
    # Without a session it is somebody else's: when a person logged in at the issuer of a token that was exchanged.
    if claims.get("sid") and isinstance(begun, int | float):
        return float(min(issued, begun))
    return float(issued)
