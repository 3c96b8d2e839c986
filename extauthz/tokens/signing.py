"""What signs the tokens: always the current key, whatever the backend keeps it in.

The keys are looked at every few seconds, so a key that somebody else has made, or destroyed, is known soon
(``extauthz.tokens.seen_keys``); what each is good for follows from the time (``extauthz.tokens.schedule``). Between two
looks everything is answered from memory: verifiers go on while the backend is down. Signing does not: there is no other key
to fall back to. And whoever has not seen the keys for too long signs no more.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from extauthz.errors import AuditError, SigningError, StoreError
from extauthz.tokens.encoding import base64url
from extauthz.tokens.key_view import SigningState, state_of
from extauthz.tokens.ports import AuditLog, KeyBackend, KeyVersion
from extauthz.tokens.public_key import canonical_json
from extauthz.tokens.rotation import Claims, Rotation
from extauthz.tokens.schedule import KeySchedule
from extauthz.tokens.seen_keys import SeenKeys
from extauthz.tokens.signatures import Signatures

__all__ = ["Signed", "SigningKeys"]

_log = structlog.get_logger(__name__)

_LONGEST_MAX_AGE = 300
"""Seconds for which others may keep the JWK Set: no longer, so that an emergency reaches them."""
_SPREAD = 0.2
"""Replicas that were started together don't look together."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A token."""

    token: str = field(repr=False)
    kid: str
    algorithm: str


class SigningKeys:
    """The keys of the token service. Belongs to one event loop."""

    def __init__(
        self,
        backend: KeyBackend,
        schedule: KeySchedule,
        claims: Claims,
        *,
        now: Callable[[], float],
        refresh: float = 5.0,
        check_signatures: bool = True,
        audit: AuditLog | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = lambda: 0.5,
    ) -> None:
        """Nothing is read yet: ``run`` or ``refresh`` does.

        ``claims`` is the token store; ``now`` gives seconds since the epoch, ``chance`` numbers in [0, 1).
        ``check_signatures``: each signature is checked with the public half before it is given out.
        """
        self._backend = backend
        self._schedule = schedule
        self._now = now
        self._refresh = refresh
        self._sleep = sleep
        self._chance = chance
        self._seen = SeenKeys(backend, schedule, now=now, refresh=refresh)
        self._rotation = Rotation(self._seen, backend, schedule, claims, now=now, sleep=sleep, audit=audit)
        self._headers: dict[tuple[str, str], str] = {}
        self._signatures = Signatures(backend, now=now, check=check_signatures)

    # ------------------------------------------------------------------------------------------------------- signing

    async def sign(self, claims: Mapping[str, Any], *, typ: str = "at+jwt") -> Signed:
        """Sign claims with the current key, as a compact JWS (RFC 7515 section 7.1).

        Raises:
            SigningError: It can't be done now. While the backend is down that is known at once.
        """
        self._admit(claims)
        seen = self._seen
        if seen.stale and not seen.error:
            # The clock was set, or the process slept: nobody has failed.
            await seen.look_again(seen.looks)
        version, looks = seen.current(), seen.looks
        try:
            return await self._signed(version, claims, typ)
        except SigningError as error:
            # It may have been destroyed a moment ago: then there is another one.
            await seen.look_again(looks)
            another = seen.current()
            if another.kid == version.kid:
                self._signatures.fall(str(error))
                raise
        try:
            return await self._signed(another, claims, typ)
        except SigningError as error:
            self._signatures.fall(str(error))
            raise

    def _admit(self, claims: Mapping[str, Any]) -> None:
        """Refuse what must not be signed, and everything while the backend is known to be down; now and then one may try."""
        ends, longest = claims.get("exp"), self._schedule.max_token_lifetime
        if isinstance(ends, int | float) and ends > self._now() + longest + 1:
            raise SigningError(
                f"a token must not outlive its key, which is published for {longest:g} s after it signed"
            )
        self._signatures.admit()

    async def _signed(self, version: KeyVersion, claims: Mapping[str, Any], typ: str) -> Signed:
        signing_input = f"{self._header(version, typ)}.{base64url(canonical_json(claims))}"
        signature = await self._signatures.sign(version, signing_input.encode())
        return Signed(f"{signing_input}.{base64url(signature)}", version.kid, version.algorithm)

    def _header(self, version: KeyVersion, typ: str) -> str:
        header = self._headers.get((version.kid, typ))
        if header is None:
            if len(self._headers) > 64:  # noqa: PLR2004 - a few keys with a few types each
                self._headers.clear()
            written = canonical_json({"alg": version.algorithm, "kid": version.kid, "typ": typ})
            header = self._headers[version.kid, typ] = base64url(written)
        return header

    # -------------------------------------------------------------------------------------------------- what is told

    def jwks(self) -> bytes:
        """The JWK Set for verifiers (RFC 7517 section 5): public halves alone, none of a secret.

        Raises:
            SigningError: No key was ever seen. An empty set would say that there is none, and be kept.
        """
        if not self._seen.view.verification:
            raise SigningError(self._seen.error or "the signing keys have not been read yet")
        return self._seen.view.jwks

    @property
    def etag(self) -> str:
        """The entity tag of the JWK Set, with its quotes (RFC 9110 section 8.8.3)."""
        return self._seen.view.etag

    @property
    def max_age(self) -> int:
        """Seconds for which verifiers may keep the JWK Set; so few that they see a key before it signs."""
        spare = self._schedule.publish_delay - self._refresh * (1 + _SPREAD) - self._schedule.skew
        return max(min(int(spare), _LONGEST_MAX_AGE), 0)

    @property
    def max_token_lifetime(self) -> float:
        """The longest that a token may live, in seconds: for so long its key is published."""
        return self._schedule.max_token_lifetime

    def algorithms(self) -> tuple[str, ...]:
        """The algorithms of tokens that are good now, for the metadata."""
        return tuple(sorted({version.algorithm for version in self._seen.view.verification}))

    def verification_keys(self) -> tuple[KeyVersion, ...]:
        """The keys whose tokens are good, oldest first; for the verifier in this process, so with the secret of HS256."""
        return self._seen.view.verification

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call back each time ``verification_keys`` and ``jwks`` have changed."""
        self._seen.on_change(callback)

    def on_revoke(self, callback: Callable[[Sequence[str]], Awaitable[None]]) -> None:
        """Call back with the kids of keys that are about to be destroyed in an emergency: their tokens are revoked."""
        self._rotation.on_revoke(callback)

    def state(self) -> SigningState:
        """How the keys are doing."""
        now = self._now()
        keys = tuple(state_of(placed, now) for placed in self._seen.view.placed)
        due = self._schedule.due_at(self._seen.versions) if self._backend.rotates else math.inf
        try:
            self._seen.current()
        except SigningError as error:
            usable, fault = False, str(error)
        else:
            fault = self._signatures.fault
            usable = not fault
        return SigningState(
            self._backend.name,
            keys,
            usable,
            due if math.isfinite(due) else None,
            fault or self._seen.error,
            self._rotation.made,
            self._seen.failures + self._signatures.failures,
            max(due - now, 0.0) if math.isfinite(due) else None,
            self._seen.failures,
            self._seen.went_back,
            self._seen.age,
            self._refresh,
        )

    @property
    def versions(self) -> tuple[KeyVersion, ...]:
        """All keys as they were last seen, oldest first."""
        return self._seen.versions

    # ------------------------------------------------------------------------------------------------------- keeping

    async def refresh(self) -> None:
        """Look at the keys.

        Raises:
            SigningError: The backend can't be asked, or what it says can't be used; what was known stays.
        """
        await self._seen.refresh()

    async def rotate(self, *, force: bool = False) -> KeyVersion:
        """Make the next key if it is due, or whether it is due or not; gives the newest key, whoever has made it.

        Raises:
            SigningError: The backend can't, or not now.
            StoreError: Nobody can say whether another replica is making it.
        """
        return await self._rotation.rotate(force=force)

    async def revoke(self, kid: str) -> None:
        """Destroy a key and all that are older, now: their tokens are refused. If it is the newest, another one is made
        first and is current at once.

        Raises:
            SigningError: There is no such key, or the backend can't.
            StoreError: The keys are destroyed, but that could not be told to other replicas, which will see it themselves.
        """
        await self._rotation.revoke(kid)

    async def close(self) -> None:
        """Let go of the backend."""
        await self._backend.close()

    async def run(self) -> None:
        """Look at the keys, rotate and destroy them as their time comes, until cancelled."""
        while True:
            await self.tend()
            await self._sleep(self._refresh * (1 + _SPREAD * (self._chance() * 2 - 1)))

    async def tend(self) -> None:
        """One round of ``run``. Raises nothing: what fails is told, and tried again in the next round."""
        try:
            await self.refresh()
            if self._backend.rotates:
                await self._rotation.tend()
        except (SigningError, StoreError, AuditError) as error:
            self._seen.fail(str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the keys must go on being looked at
            _log.error("signing.fault", backend=self._backend.name, exc_info=error)
            self._seen.fail(f"unexpected fault: {type(error).__name__}")
        else:
            self._seen.mend()
        self._seen.pass_time()
