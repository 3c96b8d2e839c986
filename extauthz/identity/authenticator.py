"""Who is asking: from a canonical request to one proven identity, one refusal, or nobody.

Which provider judges a credential is decided from what the request carries, not by trying all: the place where it was
narrows the providers, and its form picks one. Something with two dots is a JWT, and its ``iss`` names the issuer; ``iss``
is not verified at that point, it only says whose keys must have signed the token, and whoever lies there fails at the
signature. A token of an unknown issuer causes no fetch and no work, and is shown to nobody.

``authenticate`` is synchronous. Only when something is missing that waiting can bring is a ``Wait`` returned; the caller
awaits it within its own deadline and asks again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from extauthz.errors import KeySetError
from extauthz.identity.credentials import Credential, CredentialReader
from extauthz.identity.jwt_issuer import JwtIssuer
from extauthz.identity.providers import Fetcher, JwtProvider, ProviderState
from extauthz.identity.roles import included_roles
from extauthz.identity.token_form import read_token
from extauthz.identity.voucher import Verdict, Voucher
from extauthz.model import Deny, Reason, Request

__all__ = ["Authenticator"]


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
        self._vouchers: dict[str, JwtIssuer | Voucher] = {}
        self._issuers: dict[str, JwtIssuer] = {}
        for provider in providers:
            if provider.name in self._vouchers or provider.issuer in self._issuers:
                message = f"provider {provider.name!r}: its name or its issuer is that of another provider"
                raise ValueError(message)
            try:
                issuer = JwtIssuer(provider, included, fetcher=fetcher, now=now, sleep=sleep)
            except KeySetError as error:
                raise KeySetError(f"provider {provider.name!r}: {error}") from None
            self._vouchers[provider.name] = self._issuers[provider.issuer] = issuer

    def authenticate(self, request: Request, *, waited: bool = False) -> Verdict | None:
        """The caller of a request.

        None: no credentials at all. ``Deny``: credentials that prove nothing. ``Wait``: something is missing that one
        fetch could bring; never with ``waited``.
        """
        credential = self._reader.find(request)
        if not isinstance(credential, Credential):
            return credential
        return self._judge_jwt(credential, waited=waited)

    def _judge_jwt(self, credential: Credential, *, waited: bool) -> Verdict:
        """Whom a JSON Web Token proves."""
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
        """Keep all providers ready until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for voucher in self._vouchers.values():
                tasks.create_task(voucher.run(), name=f"provider {voucher.name}")
            # Providers that never change, or none at all, are no reason to end.
            await asyncio.Event().wait()

    def started(self) -> bool:
        """Whether the first fetch of each provider has ended, well or badly."""
        return all(voucher.started for voucher in self._vouchers.values())

    def states(self) -> tuple[ProviderState, ...]:
        """How each provider is doing, in the order of the configuration."""
        return tuple(voucher.state() for voucher in self._vouchers.values())

    def _nearest(self, issuer: str) -> str:
        """Why an issuer is unknown. The unverified text is compared, never repeated."""
        plain = issuer.rstrip("/").lower()
        for known in self._issuers.values():
            if known.issuer.rstrip("/").lower() == plain:
                return f"iss differs from the issuer of provider {known.name!r} only in case or a final slash"
        return "iss is not the issuer of any provider"
