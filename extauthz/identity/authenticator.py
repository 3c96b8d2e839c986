"""Who is asking: from a canonical request to one proven identity, one refusal, or nobody.

Which provider judges a token is decided from what the request carries, not by trying all: the place where the token was
narrows the providers, its ``iss`` picks one. ``iss`` is not verified at that point; it only says whose keys must have
signed the token, and whoever lies there fails at the signature. A token of an unknown issuer causes no fetch and no
work.

``authenticate`` is synchronous. Only when a provider has no keys yet, or lacks the one that a token names, is a ``Wait``
returned; the caller awaits it within its own deadline and asks again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from extauthz.errors import KeySetError
from extauthz.identity.credentials import Credential, CredentialReader
from extauthz.identity.key_loading import loader_of
from extauthz.identity.key_ring import KeyRing
from extauthz.identity.providers import Fetcher, JwtProvider, ProviderState, Wait
from extauthz.identity.roles import RoleError, RoleReader, included_roles, scopes_of
from extauthz.identity.token_form import CompactToken, read_token
from extauthz.identity.verifier import JwtVerifier, UnknownKey
from extauthz.model import Deny, Identity, Reason, Request

__all__ = ["Authenticator"]


@dataclass(frozen=True, slots=True)
class _Issuer:
    """A provider of JSON Web Tokens at work."""

    name: str
    issuer: str
    verifier: JwtVerifier
    ring: KeyRing
    roles: RoleReader

    def identify(self, token: CompactToken, now: float, *, waited: bool) -> Identity | Deny | Wait:
        """The identity that a token of this issuer proves."""
        keys = self.ring.keys()
        if keys is None:
            arrival = None if waited else self.ring.first_arrival()
            return Wait(self.name, arrival) if arrival else self._keys_unavailable()
        claims = self.verifier.verify(token, keys, now)
        if isinstance(claims, UnknownKey):
            arrival = None if waited else self.ring.renewal()
            return Wait(self.name, arrival) if arrival else self._key_unknown()
        if isinstance(claims, Deny):
            return claims
        try:
            roles, scopes = self.roles.roles(claims), scopes_of(claims)
        except RoleError as error:
            return Deny(Reason.CLAIM_INVALID, str(error), provider=self.name)
        return Identity(claims["sub"], self.issuer, self.name, roles, scopes, claims, float(claims["exp"]))

    def _key_unknown(self) -> Deny:
        return Deny(Reason.KEY_UNKNOWN, "the provider's key set has no key for the token", provider=self.name)

    def _keys_unavailable(self) -> Deny:
        detail = self.ring.state().error or "they have not arrived yet"
        retry_after = self.ring.retry_after()
        return Deny(Reason.KEYS_UNAVAILABLE, detail, provider=self.name, retry_after=retry_after)


class Authenticator:
    """Knows all providers. Belongs to one event loop."""

    def __init__(
        self,
        providers: Sequence[JwtProvider],
        includes: Mapping[str, Sequence[str]],
        *,
        fetcher: Fetcher,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Compile the providers and load what is local.

        ``includes`` says which roles a role contains; ``now`` gives seconds since the epoch; ``sleep`` pauses between
        fetches.

        Raises:
            KeySetError: Local keys can't be used; the text begins with the provider's name.
            ValueError: Two providers share a name or an issuer, or roles include each other in a circle.
        """
        included = included_roles(includes)
        self._now = now
        self._reader = CredentialReader({provider.name: provider.places for provider in providers})
        self._issuers: dict[str, _Issuer] = {}
        for provider in providers:
            if provider.issuer in self._issuers or any(known.name == provider.name for known in self._issuers.values()):
                message = f"provider {provider.name!r}: its name or its issuer is that of another provider"
                raise ValueError(message)
            try:
                loader = loader_of(provider, fetcher)
            except KeySetError as error:
                raise KeySetError(f"provider {provider.name!r}: {error}") from error
            self._issuers[provider.issuer] = _Issuer(
                provider.name,
                provider.issuer,
                JwtVerifier(provider),
                KeyRing(provider.name, loader, now=now, sleep=sleep),
                RoleReader(provider.roles, included),
            )

    def authenticate(self, request: Request, *, waited: bool = False) -> Identity | Deny | Wait | None:
        """The caller of a request.

        None: no credentials at all. ``Deny``: credentials that prove nothing. ``Wait``: keys are missing that one fetch
        could bring; never with ``waited``.
        """
        credential = self._reader.find(request)
        if not isinstance(credential, Credential):
            return credential
        token = read_token(credential.token)
        if isinstance(token, Deny):
            return token
        if not isinstance(token.issuer, str):
            return Deny(Reason.CLAIM_INVALID, "iss is missing or not a string")
        issuer = self._issuers.get(token.issuer)
        if issuer is None:
            return Deny(Reason.ISSUER_UNKNOWN, self._nearest(token.issuer))
        if issuer.name not in credential.providers:
            return Deny(Reason.ISSUER_UNKNOWN, "the token's provider takes no tokens from where this one was")
        return issuer.identify(token, self._now(), waited=waited)

    async def run(self) -> None:
        """Keep all keys current until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for issuer in self._issuers.values():
                tasks.create_task(issuer.ring.run(), name=f"keys of {issuer.name}")
            # Keys that never change, or no provider at all, are no reason to end.
            await asyncio.Event().wait()

    def started(self) -> bool:
        """Whether the first fetch of each provider has ended, well or badly."""
        return all(issuer.ring.started for issuer in self._issuers.values())

    def states(self) -> tuple[ProviderState, ...]:
        """How each provider's keys are doing, in the order of the configuration."""
        return tuple(issuer.ring.state() for issuer in self._issuers.values())

    def _nearest(self, issuer: str) -> str:
        """Why an issuer is unknown. The unverified text is compared, never repeated."""
        plain = issuer.rstrip("/").lower()
        for known in self._issuers.values():
            if known.issuer.rstrip("/").lower() == plain:
                return f"iss differs from the issuer of provider {known.name!r} only in case or a final slash"
        return "iss is not the issuer of any provider"
