"""People who show a name and a password: a provider that asks a directory whether they belong together.

What a directory says is remembered for a short time: who signed in, for ``cache_max_age``; refusals, for two seconds and
in a place of their own, so that a flood of guesses drives out nobody; and faults, for one second. The key is an HMAC of
the credentials under a random key that this process alone has and never writes down. A plain digest of a password could
be searched for in a list; this one can't, and since nobody can predict it, looking it up takes no time that tells
anything. Each pair of name and password has its own entry: a wrong password finds nothing that a right one left.

A password that was changed, an account that was locked and a group that somebody left are therefore noticed after at most
``cache_max_age``.

One question per pair is asked at a time, however many requests show it; questions under way are bounded, each has a time
limit (the directory's), and a directory that does not answer is left alone by ``Circuit``. Guessing passwords is slowed
only by the directory's own lockout and by limits on addresses.
"""

import asyncio
import contextlib
import hmac
import json
import math
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import structlog

from extauthz.errors import EntryError, UpstreamError
from extauthz.identity.basic_form import MAX_BASIC_SIZE, SignIn, read_basic
from extauthz.identity.circuit import Circuit
from extauthz.identity.explanation import Step, role_steps
from extauthz.identity.flights import Flights
from extauthz.identity.key_ring import Lease
from extauthz.identity.providers import HeaderPlace, Place, ProviderState, Wait
from extauthz.identity.recent_verdicts import RecentVerdicts
from extauthz.identity.roles import NO_ROLES, RoleError, RoleReader, RoleRules
from extauthz.identity.strict_json import JsonError, read_object
from extauthz.identity.token_cache import CacheLimits, TokenCache
from extauthz.identity.voucher import Verdict
from extauthz.model import Deny, Identity, Reason, VerifiedClaims

__all__ = ["BASIC_PLACES", "BasicProvider", "Directory", "Entry", "PasswordDesk"]

BASIC_PLACES: tuple[Place, ...] = (HeaderPlace("authorization", "Basic "),)

MAX_ENTRIES = 10_000
MAX_BYTES = 16 << 20
"""Of people who signed in, as ``TokenCache`` estimates them."""
MAX_REFUSALS = 2_048
MAX_UNDER_WAY = 64
"""Sign-ins that wait for the directory at a time; one more is refused at once."""
REFUSAL_HOLD = 2.0
FAULT_HOLD = 1.0
PROBE_INTERVAL = 30.0
"""Seconds between looks at a directory that is well, so that its state is known before somebody needs it."""

_MAX_AGE = 3600.0
_MAX_TEXT = 1024
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

_log = structlog.get_logger(__name__)


class Entry(Protocol):
    """Somebody whose password was right, as the directory has them."""

    @property
    def dn(self) -> str:
        """The distinguished name as the directory spells it, whatever was typed: one person has one."""
        ...

    @property
    def username(self) -> str:
        """The short name, likewise."""
        ...

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that the person is in."""
        ...


class Directory(Protocol):
    """Knows people and their passwords. ``extauthz.ldap.LdapDirectory`` is the real one."""

    async def authenticate(self, username: str, password: str) -> Entry | None:
        """The person with this name and password, within a bounded time; None if there is none.

        Raises:
            EntryError: This person's entry can't be used.
            UpstreamError: The directory could not be asked. Texts hold no name and no password.
        """
        ...

    async def probe(self) -> None:
        """Return if the directory can be asked.

        Raises:
            UpstreamError: It can't.
        """
        ...

    async def close(self) -> None:
        """Let go of what is kept open for the next question; one that comes nevertheless opens it anew."""
        ...


@dataclass(frozen=True, slots=True)
class BasicProvider:
    """People of one directory.

    Raises:
        ValueError: The parts can't be together.
    """

    name: str
    issuer: str
    """What the directory is called: with the DN it is who somebody is."""
    directory: Directory
    cache_max_age: float = 60.0
    """Seconds for which a sign-in is believed without asking the directory again."""
    places: tuple[Place, ...] = BASIC_PLACES
    """Not to be chosen: Basic credentials are in one place (RFC 7617 section 2)."""
    roles: RoleRules = NO_ROLES
    """Of the claims ``dn``, ``username`` and ``groups``."""

    def __post_init__(self) -> None:
        """Refuse what could not work."""
        if not self.name or not self.issuer or self.places != BASIC_PLACES or not 1 <= self.cache_max_age <= _MAX_AGE:
            message = f"provider {self.name!r}: it needs a name, an issuer, and a cacheMaxAge from 1 s to 1 h"
            raise ValueError(message)


class PasswordDesk:
    """One directory's people. Belongs to one event loop."""

    def __init__(
        self,
        provider: BasicProvider,
        included: Mapping[str, frozenset[str]],
        *,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        key: bytes | None = None,
    ) -> None:
        """Compile the provider; ``key`` is what digests of credentials are made with, at least 32 random bytes."""
        self.name = provider.name
        self.started = False
        self._issuer = provider.issuer
        self._directory = provider.directory
        self._max_age = provider.cache_max_age
        self._roles = RoleReader(provider.roles, included)
        self._now = now
        self._sleep = sleep
        self._key = secrets.token_bytes(32) if key is None else key
        self._own = frozenset({provider.name})
        self._people = TokenCache(CacheLimits(MAX_ENTRIES, MAX_BYTES, provider.cache_max_age))
        self._recent = RecentVerdicts(MAX_REFUSALS)
        self._circuit = Circuit()
        self._flights = Flights(f"sign-in at {provider.name}", MAX_UNDER_WAY, self._circuit)
        self._error = ""

    def identify(self, token: str, now: float, *, waited: bool) -> Verdict:
        """The person whose name and password these credentials are."""
        if len(token) > MAX_BASIC_SIZE or not token.isascii():
            return self._refuse("the credentials are too long, or not base64")
        digest = hmac.digest(self._key, token.encode(), "sha256")
        known = self._known(digest, now, waited=waited)
        if known is not None:
            return known
        sign_in = read_basic(token)
        if isinstance(sign_in, str):
            return self._refuse(sign_in)
        if not waited and self._flights.joinable(digest, now):
            return Wait(self.name, partial(self._arrive, digest, sign_in), "directory")
        return self._unavailable(now)

    def role_steps(self, identity: Identity) -> Iterable[Step]:
        """From the person's groups to roles."""
        return role_steps(self._roles, identity.claims)

    def state(self) -> ProviderState:
        """How the directory is doing; a fault is told until the next answer."""
        retry_after = self._circuit.retry_after(self._now()) if self._error else 0
        return ProviderState(self.name, self.started and self._circuit.closed, None, self._error, retry_after)

    async def run(self) -> None:
        """Look at the directory now and then until cancelled; then end the sign-ins under way."""
        try:
            while True:
                await self._probe()
                pause = self._circuit.retry_after(self._now()) if self._error else PROBE_INTERVAL
                await self._sleep(pause)
        finally:
            await self._flights.end()
            await self._directory.close()

    async def _probe(self) -> None:
        with contextlib.suppress(Exception):
            await self._watched(self._directory.probe())
        self.started = True

    def _known(self, digest: bytes, now: float, *, waited: bool) -> Identity | Deny | None:
        return self._people.find(digest, self._own, now) or self._recent.find(digest, now, waited=waited)

    async def _arrive(self, digest: bytes, sign_in: SignIn) -> None:
        """Wait for the answer about these credentials. Time may have passed since the caller was told to wait."""

        def needed() -> bool:
            now = self._now()
            return self._known(digest, now, waited=True) is None and self._flights.admits(now)

        await self._flights.join(digest, partial(self._fly, digest, sign_in), needed)

    async def _fly(self, digest: bytes, sign_in: SignIn) -> None:
        """One question and what becomes of it. Raises nothing: a fault in it is a refusal of these credentials."""
        try:
            entry = await self._watched(self._directory.authenticate(sign_in.username, sign_in.password))
            if entry is None:
                self._hold(digest, self._refuse("the name or the password is wrong"), REFUSAL_HOLD)
            else:
                self._learn(digest, entry)
        except EntryError as error:
            self._hold(digest, self._refuse(str(error)), REFUSAL_HOLD)
        except Exception:  # noqa: BLE001 - noted already; whatever it is, the answer is a denial
            self._hold(digest, self._unavailable(self._now(), self._error), FAULT_HOLD)

    async def _watched(self, question: Awaitable[Any]) -> Any:
        """The answer to a question, noting whether there is one."""
        try:
            answer = await question
        except EntryError:
            self._works()
            raise
        except UpstreamError as error:
            self._fail(str(error))
            raise
        except Exception as error:
            # Its text may hold anything, so that only its kind is told.
            self._fail(f"unexpected fault: {type(error).__name__}")
            raise
        self._works()
        return answer

    def _learn(self, digest: bytes, entry: Entry) -> None:
        """Remember who signed in, or why that person can't be used."""
        claims = {"dn": entry.dn, "username": entry.username, "groups": list(entry.groups)}
        texts = (entry.dn, entry.username, *entry.groups)
        if not all(text and len(text) <= _MAX_TEXT and not _UNFIT.search(text) for text in texts):
            raise EntryError("a name of the person or of a group is empty, too long, or holds a control character")
        payload = json.dumps(claims, ensure_ascii=False).encode()
        try:
            read_object(payload)
            roles = self._roles.roles(claims)
        except (JsonError, RoleError) as error:
            raise EntryError(f"the person's groups are {error}") from error
        now = self._now()
        identity = Identity(entry.dn, self._issuer, self.name, roles, claims=VerifiedClaims(claims))
        end = now + self._max_age
        self._people.keep(digest, identity, payload, now=now, end=end, lease=Lease(math.inf))

    def _hold(self, digest: bytes, verdict: Deny, seconds: float) -> None:
        self._recent.keep(digest, verdict, self._now(), hold=seconds)

    def _works(self) -> None:
        if self._error or not self.started:
            _log.info("directory.works", provider=self.name)
        self._error = ""
        self.started = True
        self._circuit.succeed()

    def _fail(self, error: str) -> None:
        if error != self._error:
            _log.warning("directory.unavailable", provider=self.name, error=error)
        self._error = error
        self._circuit.fail(self._now())

    def _refuse(self, detail: str) -> Deny:
        return Deny(Reason.CREDENTIALS_INVALID, detail, provider=self.name)

    def _unavailable(self, now: float, error: str = "") -> Deny:
        retry_after = self._circuit.retry_after(now)
        if not error and self._circuit.closed:
            detail = "too many people are signing in at once"
            return Deny(Reason.OVERLOADED, detail, provider=self.name, retry_after=retry_after)
        return Deny(Reason.STORE_UNAVAILABLE, error or self._error, provider=self.name, retry_after=retry_after)
