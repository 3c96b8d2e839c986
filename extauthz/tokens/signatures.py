"""Signatures of a backend: asked for within a time, judged before they are given out, and not asked for while it is down.

After a failure nobody is made to wait for a second; then one may try, and the others are refused until it has an answer.
"""

import asyncio
import math
from collections.abc import Callable

import structlog

from extauthz.errors import SigningError
from extauthz.tokens.ports import KeyBackend, KeyVersion
from extauthz.tokens.public_key import PublicKey, is_by, read_jwk

__all__ = ["Signatures"]

_log = structlog.get_logger(__name__)

_LONGEST = 2.0
"""Seconds; a backend that takes longer is down."""
_PAUSE = 1.0
"""Seconds for which nobody waits for a backend that has just failed."""


class Signatures:
    """What a backend signs. Belongs to one event loop."""

    def __init__(self, backend: KeyBackend, *, now: Callable[[], float], check: bool) -> None:
        """``check``: each signature is checked with the public half before it is given out."""
        self._backend = backend
        self._now = now
        self._check = check
        self._judges: dict[str, PublicKey] = {}
        self._down_until = -math.inf
        self._trying = False
        self.fault = ""
        """Why the last one failed; empty if it did not."""
        self.failures = 0

    def admit(self) -> None:
        """Raise SigningError while the backend is known to be down; now and then one may try."""
        # A clock that was set back ends the pause instead of stretching it.
        paused = self._now() < self._down_until <= self._now() + _PAUSE
        if self.fault and (self._trying or paused):
            raise SigningError(self.fault)

    async def sign(self, version: KeyVersion, signing_input: bytes) -> bytes:
        """The signature by a key. Whoever gives up because of the error says so with ``fall``.

        Raises:
            SigningError: There is none, not in time, or it is not by this key.
        """
        self._trying = bool(self.fault)
        try:
            async with asyncio.timeout(_LONGEST):
                signature = await self._backend.sign(version.kid, signing_input)
        except TimeoutError:
            raise SigningError(f"{self._backend.name} has not signed within {_LONGEST:g} s") from None
        finally:
            self._trying = False
        if self._check and version.public is not None:
            self._judge(version, signing_input, signature)
        self.fault = ""
        return signature

    def fall(self, fault: str) -> None:
        """Take the backend to be down, for a moment."""
        if fault != self.fault:
            _log.warning("signing.failed", backend=self._backend.name, error=fault)
        self.fault = fault
        self.failures += 1
        self._down_until = self._now() + _PAUSE

    def _judge(self, version: KeyVersion, signing_input: bytes, signature: bytes) -> None:
        """Raise SigningError if a signature is not by the key that was asked for."""
        judge = self._judges.get(version.kid)
        if judge is None:
            try:
                judge = read_jwk(version.public or {})
            except (KeyError, ValueError):
                raise SigningError(f"{self._backend.name} gives no public key for {version.kid}") from None
            # Another key signs now; those before it sign no more.
            self._judges = {version.kid: judge}
        if not is_by(judge, version.algorithm, signing_input, signature):
            raise SigningError(f"{self._backend.name} has signed with another key than {version.kid}")
