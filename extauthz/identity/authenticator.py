"""Who is asking: from a canonical request to one proven identity, one refusal, or nobody.

Which provider judges a credential is decided from what the request carries, not by trying all: the place where it was
narrows the providers, and its form picks one. Something with two dots is a JWT, and its ``iss`` names the issuer; ``iss``
is not verified at that point, it only says whose keys must have signed the token, and whoever lies there fails at the
signature. A token of an unknown issuer causes no fetch and no work, and is shown to nobody. A token without form goes to
the one introspection endpoint that reads the place where it was; one with the prefix of an API key never does. A name and
a password are in a place of their own, and go to the one directory that reads it.

``authenticate`` is synchronous. Only when something is missing that waiting can bring is a ``Wait`` returned; the caller
awaits it within its own deadline and asks again.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from extauthz.errors import KeySetError
from extauthz.identity.api_keys import ApiKeyProvider, ApiKeys
from extauthz.identity.basic import BasicProvider, PasswordDesk
from extauthz.identity.credential import Credential
from extauthz.identity.credentials import CredentialReader
from extauthz.identity.explanation import IdentitySeen, Step, place_steps, token_step
from extauthz.identity.fetching import Fetcher
from extauthz.identity.introspection import IntrospectionProvider
from extauthz.identity.introspector import Introspector
from extauthz.identity.jwt_issuer import JwtIssuer
from extauthz.identity.mesh import Mesh, MeshProvider
from extauthz.identity.providers import JwtProvider, ProviderState, Wait
from extauthz.identity.roles import included_roles
from extauthz.identity.token_cache import DEFAULT_LIMITS, CacheCounts, CacheLimits, TokenCache, digest_of
from extauthz.identity.token_form import MAX_TOKEN_SIZE, CompactToken, read_token
from extauthz.identity.voucher import Verdict, Voucher
from extauthz.model import Deny, Identity, Reason, Request

__all__ = ["Authenticator", "Provider"]

Provider = JwtProvider | IntrospectionProvider | ApiKeyProvider | BasicProvider | MeshProvider
"""Any kind of provider, as the operator configured it."""

_JWT_DOTS = 2
_MAX_READERS = 256
"""Sets of providers for which the places are compiled apart; policies that name more of them read all places."""


class Authenticator:
    """Knows all providers. Belongs to one event loop."""

    def __init__(
        self,
        providers: Sequence[Provider],
        includes: Mapping[str, Sequence[str]],
        *,
        fetcher: Fetcher,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
        token_cache: CacheLimits = DEFAULT_LIMITS,
    ) -> None:
        """Compile the providers and load what is local.

        ``includes`` says which roles a role contains; ``now`` gives seconds since the epoch; ``sleep`` pauses between
        fetches, which ``chance``, a number in [0, 1), keeps replicas from making in step.

        Raises:
            KeySetError: Local keys can't be used; the text begins with the provider's name.
            ConfigError: API keys can't be used.
            ValueError: Two providers share a name or an issuer, or roles include each other in a circle.
        """
        included = included_roles(includes)
        self._now = now
        self._tokens = TokenCache(token_cache)
        self._mesh = Mesh((mesh for mesh in providers if isinstance(mesh, MeshProvider)), included, now=now)
        mesh_names = {state.name for state in self._mesh.states()}
        readable = [provider for provider in providers if not isinstance(provider, MeshProvider)]
        self._places = {provider.name: provider.places for provider in readable}
        self._reader = CredentialReader(self._places)
        self._readers: dict[frozenset[str], CredentialReader] = {}
        self._desks: dict[frozenset[str], PasswordDesk] = {}
        self._api_keys: list[ApiKeys] = []
        self._introspectors: dict[str, Introspector] = {}
        self._vouchers: dict[str, JwtIssuer | Voucher] = {}
        self._issuers: dict[str, JwtIssuer | Introspector] = {}
        for provider in readable:
            if provider.name in self._vouchers or provider.name in mesh_names:
                message = f"provider {provider.name!r}: its name is that of another provider"
                raise ValueError(message)
            if isinstance(provider, BasicProvider):
                desk = PasswordDesk(provider, included, now=now, sleep=sleep)
                self._vouchers[provider.name] = self._desks[frozenset({provider.name})] = desk
                continue
            if isinstance(provider, ApiKeyProvider):
                api_keys = ApiKeys(provider, included, now=now, sleep=sleep)
                self._vouchers[provider.name] = api_keys
                self._api_keys.append(api_keys)
                continue
            if provider.issuer is not None and provider.issuer in self._issuers:
                message = f"provider {provider.name!r}: its issuer is that of another provider"
                raise ValueError(message)
            if isinstance(provider, IntrospectionProvider):
                self._add_introspector(provider, included, fetcher)
                continue
            try:
                issuer = JwtIssuer(provider, included, fetcher=fetcher, now=now, sleep=sleep, chance=chance)
            except KeySetError as error:
                raise KeySetError(f"provider {provider.name!r}: {error}") from None
            self._vouchers[provider.name] = self._issuers[provider.issuer] = issuer
        self._token_names = frozenset(
            provider.name for provider in readable if isinstance(provider, JwtProvider | IntrospectionProvider)
        )
        self._only_jwt = not (self._desks or self._api_keys or self._introspectors)
        """Whatever credential there is has to be a JSON Web Token."""

    def authenticate(
        self, request: Request, *, providers: frozenset[str] | None = None, waited: bool = False
    ) -> Verdict | None:
        """The caller of a request. Only the places of ``providers`` are looked at; None: those of all.

        None: no credentials at all. ``Deny``: credentials that prove nothing. ``Wait``: something is missing that one
        fetch could bring; never with ``waited``.
        """
        reader = self._reader if providers is None else self._readers.get(providers) or self._compile(providers)
        credential = reader.find(request)
        if not isinstance(credential, Credential):
            return credential
        verdict = (
            self._judge_jwt(credential, waited=waited) if self._only_jwt else self._identify(credential, waited=waited)
        )
        if credential.parameter and isinstance(verdict, Identity):
            return replace(verdict, query_parameter=credential.parameter)
        return verdict

    def _identify(self, credential: Credential, *, waited: bool) -> Verdict:
        """Ask the one provider that a credential is for."""
        voucher = self._voucher_of(credential)
        if voucher is None:
            return self._judge_jwt(credential, waited=waited)
        if isinstance(voucher, Deny):
            return voucher
        return voucher.identify(credential.token, self._now(), waited=waited)

    async def verify(self, token: str, providers: frozenset[str], *, within: float) -> Identity | Deny:
        """Whom a bare token of one of some providers proves, wherever it comes from; ``within`` is how many seconds keys or an
        endpoint may take. Only tokens are judged: an API key, a password and a mesh identity prove nobody here.
        """
        credential = Credential(token, providers & self._token_names)
        verdict = self._identify(credential, waited=False)
        if isinstance(verdict, Wait):
            try:
                async with asyncio.timeout(within):
                    await verdict.ready()
            except TimeoutError:
                return Deny(
                    Reason.DEADLINE_EXCEEDED, "what is needed did not arrive in time", provider=verdict.provider
                )
            verdict = self._identify(credential, waited=True)
        if isinstance(verdict, Wait):
            return Deny(Reason.KEYS_UNAVAILABLE, "what is needed is not there", provider=verdict.provider)
        return verdict

    def _voucher_of(self, credential: Credential) -> Voucher | Deny | None:
        """The provider of opaque credentials that judges this one; None: it has to be a JSON Web Token."""
        desk = self._desks.get(credential.providers)
        if desk is not None:
            return desk
        for api_keys in self._api_keys:
            if credential.token.startswith(api_keys.prefix) and api_keys.name in credential.providers:
                return api_keys
        if self._introspectors and credential.token.count(".") != _JWT_DOTS:
            introspectors = self._introspectors_of(credential)
            if len(introspectors) > 1:
                return Deny(Reason.ISSUER_UNKNOWN, "several endpoints could be asked about the token, and so none is")
            for introspector in introspectors:
                return introspector
        return None

    def _add_introspector(
        self, provider: IntrospectionProvider, included: Mapping[str, frozenset[str]], fetcher: Fetcher
    ) -> None:
        try:
            introspector = Introspector(provider, included, fetcher=fetcher, now=self._now)
        except KeySetError as error:
            raise KeySetError(f"provider {provider.name!r}: {error}") from None
        self._vouchers[provider.name] = self._introspectors[provider.name] = introspector
        if provider.issuer is not None:
            self._issuers[provider.issuer] = introspector

    def _introspectors_of(self, credential: Credential) -> Sequence[Introspector]:
        """The endpoints that may be asked about a token without form; a sound configuration has one for each place."""
        if any(credential.token.startswith(api_keys.prefix) for api_keys in self._api_keys):
            return ()
        return [self._introspectors[name] for name in credential.providers if name in self._introspectors]

    def _judge_jwt(self, credential: Credential, *, waited: bool) -> Verdict:
        """Whom a JSON Web Token proves. One that was verified a moment ago is known by its digest, before any parsing."""
        now = self._now()
        text = credential.token
        digest = digest_of(text) if len(text) <= MAX_TOKEN_SIZE else b""
        known = self._tokens.find(digest, credential.providers, now)
        if known is not None:
            return known
        token = read_token(text)
        if isinstance(token, Deny):
            return token
        issuer = self._issuer_of(token, credential)
        if isinstance(issuer, Deny):
            return issuer
        if isinstance(issuer, Introspector):
            return issuer.identify(text, now, waited=waited)
        verdict = issuer.identify(token, now, waited=waited)
        if isinstance(verdict, Identity):
            end, own = issuer.end_of(verdict), issuer.own(verdict, token.key_id)
            self._tokens.keep(digest, verdict, token.payload, now=now, end=end, lease=issuer.lease, own=own)
        return verdict

    def _issuer_of(self, token: CompactToken, credential: Credential) -> JwtIssuer | Introspector | Deny:
        """The provider whose token this says to be."""
        if not isinstance(token.issuer, str):
            return Deny(Reason.CLAIM_INVALID, "iss is missing or not a string")
        issuer = self._issuers.get(token.issuer)
        if issuer is None:
            return Deny(Reason.ISSUER_UNKNOWN, self._nearest(token.issuer))
        if issuer.name not in credential.providers:
            return Deny(Reason.ISSUER_UNKNOWN, "the token's provider takes no tokens from where this one was")
        return issuer

    def explain(self, request: Request, *, providers: frozenset[str] | None = None) -> IdentitySeen:
        """What ``authenticate`` finds, having waited, and each step to it. No step holds a credential."""
        found = self.authenticate(request, providers=providers, waited=True)
        if isinstance(found, Wait):
            message = "the authenticator asked to wait twice"
            raise RuntimeError(message)  # noqa: TRY004 - a fault of ours, not of a type
        reader = self._reader if providers is None else self._readers.get(providers) or self._compile(providers)
        steps = place_steps(reader, request)
        credential = reader.find(request)
        if isinstance(credential, Credential):
            steps += self._steps(credential, found)
        return IdentitySeen(tuple(steps), found)

    def _steps(self, credential: Credential, found: Identity | Deny | None) -> list[Step]:
        """From the one credential of a request to who asks."""
        voucher = self._voucher_of(credential)
        steps: list[Step] = []
        asked = "its form and its place pick one provider"
        if voucher is None:
            # What no other provider takes has to be a JSON Web Token.
            token = read_token(credential.token)
            steps.append(token_step(token))
            if isinstance(token, Deny):
                return steps
            asked = "iss is the issuer of a provider that reads that place"
            issuer = self._issuer_of(token, credential)
            if isinstance(issuer, JwtIssuer):
                steps.append(Step("provider", asked, holds=True, value=issuer.name))
                return steps + list(issuer.steps(token, self._now()))
            voucher = issuer
        if isinstance(voucher, Deny):
            return [*steps, Step("provider", asked, holds=False, fault=voucher.detail)]
        steps.append(Step("provider", asked, holds=True, value=voucher.name))
        denied = isinstance(found, Deny)
        fault = found.detail or found.reason.sentence if isinstance(found, Deny) else ""
        steps.append(Step("answer", "the provider vouches for it", holds=not denied, fault=fault))
        return steps + list(voucher.role_steps(found)) if isinstance(found, Identity) else steps

    def peer(self, request: Request, names: frozenset[str]) -> Identity | Deny | None:
        """Whom the connection of a request proves to these mesh providers, which policies name.

        None: the connection shows nobody. ``Deny``: it shows somebody else's caller (``issuer-unknown``), or what it shows
        can't be believed.
        """
        return self._mesh.peer(request, names)

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
        """How each provider is doing, in the order of the configuration; mesh entries come last."""
        return (*(voucher.state() for voucher in self._vouchers.values()), *self._mesh.states())

    def cache_counts(self) -> CacheCounts:
        """How the caches of verified tokens are doing together, for metrics."""
        introspected = (introspector.cache_counts() for introspector in self._introspectors.values())
        return sum(introspected, self._tokens.counts())

    def _compile(self, providers: frozenset[str]) -> CredentialReader:
        """The reader for the places of some providers, kept for the next request."""
        if len(self._readers) >= _MAX_READERS:
            return self._reader
        reader = self._readers[providers] = CredentialReader(self._places, providers)
        return reader

    def _nearest(self, issuer: str) -> str:
        """Why an issuer is unknown. The unverified text is compared, never repeated."""
        plain = issuer.rstrip("/").lower()
        for known_issuer, known in self._issuers.items():
            if known_issuer.rstrip("/").lower() == plain:
                return f"iss differs from the issuer of provider {known.name!r} only in case or a final slash"
        return "iss is not the issuer of any provider"
