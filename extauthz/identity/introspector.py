"""A provider of opaque tokens at work: it asks the issuer about a token once, and remembers the answer for a moment.

A token that was asked about is answered at once. Otherwise the caller waits for a question of which there is one a token,
however many callers have it; a caller that goes away leaves the question to the others, and to the next one. Questions
under way are bounded, each has a time limit, and an issuer that does not answer is left alone by ``Circuit``: whatever
the endpoint does, its own callers are denied within their deadline, and others don't notice.

What is remembered: who an active token proves, in a ``TokenCache`` of this provider alone, until the token's end and for
at most ``cache_max_age``; refusals, for ``inactive_max_age`` and in a place of their own, so that a flood of made-up
tokens drives out nobody; and faults, for one second, so that one token does not repeat them. The key is a digest of the
whole token. ``Cache-Control`` of an answer is about HTTP caches and not looked at.

Only what can be a bearer token (RFC 6750 section 2.1) is sent, and nothing that looks like a JSON Web Token, unless it is
one of the provider's own issuer (the authenticator sees to that): another issuer's token is no business of this endpoint.
"""

import asyncio
import math
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import structlog

from extauthz.errors import UpstreamError
from extauthz.identity.circuit import Circuit
from extauthz.identity.client_authentication import client_authentication
from extauthz.identity.explanation import Step
from extauthz.identity.fetching import Fetcher, Posted
from extauthz.identity.flights import Flights
from extauthz.identity.introspection import IntrospectionProvider
from extauthz.identity.introspection_answer import AnswerReader
from extauthz.identity.key_ring import Lease
from extauthz.identity.providers import ProviderState, Wait
from extauthz.identity.recent_verdicts import RecentVerdicts
from extauthz.identity.token_cache import CacheCounts, CacheLimits, TokenCache, digest_of
from extauthz.identity.token_form import MAX_TOKEN_SIZE, has_jose_header
from extauthz.identity.voucher import Verdict
from extauthz.model import Deny, Identity, Reason

__all__ = ["Introspector"]

MAX_ENTRIES = 20_000
MAX_BYTES = 32 << 20
"""Of the answers about active tokens of one provider, as ``TokenCache`` estimates them."""
MAX_REFUSALS = 2_048
FAULT_HOLD = 1.0
"""Seconds for which a fault is the answer for its token."""

_OK = 200
_CLIENT_REFUSED = (401, 403)
_ENDPOINT_BUSY = (408, 429)
_QUESTION_REFUSED = range(400, 500)

_JWT_DOTS = 2

_FORM = re.compile(r"[A-Za-z0-9._~+/-]+=*\Z")
"""``b64token`` of RFC 6750 section 2.1."""

_log = structlog.get_logger(__name__)


_UNENDING = Lease(math.inf)
"""No key set can take back what an endpoint said; its time is in each entry."""


class _QuestionRefusedError(Exception):
    """The endpoint is there, and did not like the question. Never leaves this module."""


class Introspector:
    """One endpoint. Belongs to one event loop."""

    started = True
    """There is nothing to fetch before a token is there to ask about."""

    def __init__(
        self,
        provider: IntrospectionProvider,
        included: Mapping[str, frozenset[str]],
        *,
        fetcher: Fetcher,
        now: Callable[[], float],
        new_id: Callable[[], str] = secrets.token_urlsafe,
    ) -> None:
        """Compile the provider and read the credentials that it is asked with.

        ``now`` gives seconds since the epoch, ``new_id`` an identifier that nobody can guess.

        Raises:
            KeySetError: The file with our secret or key can't be used.
        """
        self.name = provider.name
        self.issuer = provider.issuer
        """Whose JSON Web Tokens are introspected too; None: nobody's."""
        self._endpoint = provider.endpoint
        self._settings = provider.fetch
        self._timeout = provider.timeout
        self._cache_max_age = provider.cache_max_age
        self._inactive_max_age = provider.inactive_max_age
        self._reader = AnswerReader(provider, included)
        self._client = client_authentication(provider.client, new_id)
        self._fetcher = fetcher
        self._now = now
        self._own = frozenset({provider.name})
        self._active = TokenCache(CacheLimits(MAX_ENTRIES, MAX_BYTES, provider.cache_max_age))
        self._recent = RecentVerdicts(MAX_REFUSALS)
        self._circuit = Circuit()
        self._flights = Flights(f"introspection by {provider.name}", provider.max_concurrent, self._circuit)
        self._error = ""

    def identify(self, token: str, now: float, *, waited: bool) -> Verdict:
        """The identity that a token proves."""
        if len(token) > MAX_TOKEN_SIZE:
            detail = f"the token is longer than {MAX_TOKEN_SIZE} characters"
            return Deny(Reason.TOKEN_MALFORMED, detail, provider=self.name)
        digest = digest_of(token)
        known = self._known(digest, now, waited=waited)
        if known is not None:
            return known
        if fault := _form_fault(token):
            return Deny(Reason.TOKEN_MALFORMED, fault, provider=self.name)
        if not waited and self._flights.joinable(digest, now):
            return Wait(self.name, partial(self._arrive, digest, token), "introspection")
        return self._unavailable(now)

    def role_steps(self, identity: Identity) -> Iterable[Step]:
        """From the answer to roles."""
        return self._reader.role_steps(identity)

    def state(self) -> ProviderState:
        """How the endpoint is doing; a fault is told until the next answer."""
        retry_after = 0 if self._circuit.closed else self._circuit.retry_after(self._now())
        return ProviderState(self.name, self._circuit.closed, None, self._error or self._client.error, retry_after)

    def cache_counts(self) -> CacheCounts:
        """How the cache of active answers is doing."""
        return self._active.counts()

    async def run(self) -> None:
        """Nothing to keep ready: tokens bring the work. When cancelled, end the questions under way."""
        try:
            await asyncio.Event().wait()
        finally:
            await self._flights.end()

    def _known(self, digest: bytes, now: float, *, waited: bool) -> Identity | Deny | None:
        return self._active.find(digest, self._own, now) or self._recent.find(digest, now, waited=waited)

    async def _arrive(self, digest: bytes, token: str) -> None:
        """Wait for the answer about these credentials. Time may have passed since the caller was told to wait."""

        def needed() -> bool:
            now = self._now()
            return self._known(digest, now, waited=True) is None and self._flights.admits(now)

        await self._flights.join(digest, partial(self._fly, digest, token), needed)

    async def _fly(self, digest: bytes, token: str) -> None:
        """One question and what becomes of it. Raises nothing: a fault in it is a refusal of this token."""
        asked = self._now()
        try:
            async with asyncio.timeout(self._timeout):
                posted = await self._ask(token)
            verdict = self._judge(posted, self._now())
        except _QuestionRefusedError as error:
            self._circuit.succeed()
            self._fail(digest, str(error))
        except TimeoutError:
            self._circuit.fail(self._now())
            self._fail(digest, f"no answer within {self._timeout:g} s")
        except UpstreamError as error:
            self._circuit.fail(self._now())
            self._fail(digest, str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the answer is a denial; its text may hold anything
            self._circuit.fail(self._now())
            self._fail(digest, f"unexpected fault: {type(error).__name__}")
        else:
            self._circuit.succeed()
            self._learn(digest, verdict, posted.body, asked)

    async def _ask(self, token: str) -> Posted:
        # Off the loop: it looks at a file, and may sign.
        proof = await asyncio.to_thread(self._client.prove, self._now())
        form = {"token": token, "token_type_hint": "access_token", **proof.form}
        return await self._fetcher.post(self._endpoint, form, proof.headers, self._settings)

    def _judge(self, posted: Posted, now: float) -> Identity | Deny:
        status = posted.status
        if status == _OK:
            return self._reader.read(posted.body, posted.media_type, now)
        if status in _CLIENT_REFUSED:
            raise UpstreamError(f"the endpoint answered {status}: it does not accept our client credentials")
        if status in _QUESTION_REFUSED and status not in _ENDPOINT_BUSY:
            raise _QuestionRefusedError(f"the endpoint answered {status}")
        raise UpstreamError(f"the endpoint answered {status}")

    def _learn(self, digest: bytes, verdict: Identity | Deny, body: bytes, asked: float) -> None:
        if self._error:
            _log.info("introspection.works", provider=self.name)
        self._error = ""
        now = self._now()
        if isinstance(verdict, Deny):
            self._recent.keep(digest, verdict, now, hold=self._inactive_max_age)
            return
        # From the question on: what is revoked while the answer is on its way ends no later for it.
        latest = asked + self._cache_max_age
        end = latest if verdict.expires is None else min(latest, verdict.expires)
        if end > now:
            self._active.keep(digest, verdict, body, now=now, end=end, lease=_UNENDING)
        else:
            # Past its end, and within the skew: for those who wait for it, and nobody after them.
            self._recent.keep(digest, verdict, now, hold=0.0)

    def _fail(self, digest: bytes, error: str) -> None:
        if error != self._error:
            _log.warning("introspection.failed", provider=self.name, error=error)
        self._error = error
        now = self._now()
        self._recent.keep(digest, self._unavailable(now, error), now, hold=FAULT_HOLD)

    def _unavailable(self, now: float, error: str = "") -> Deny:
        retry_after = self._circuit.retry_after(now)
        if not error and self._circuit.closed:
            detail = "too many of the provider's tokens are being asked about"
            return Deny(Reason.OVERLOADED, detail, provider=self.name, retry_after=retry_after)
        return Deny(Reason.STORE_UNAVAILABLE, error or self._error, provider=self.name, retry_after=retry_after)


def _form_fault(token: str) -> str:
    """Why a token is not sent; empty if it may be."""
    if not _FORM.match(token):
        return "the token has a character that no bearer token has"
    dots = token.count(".")
    if dots != _JWT_DOTS and dots and has_jose_header(token):
        return f"the token begins like a JSON Web Token and has {dots} dots instead of {_JWT_DOTS}"
    return ""
