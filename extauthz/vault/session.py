"""Being logged in, and staying so: one token, renewed before it ends, replaced when it can't be renewed or was revoked.

For any number of threads, and blocking; what runs in the event loop is ``extauthz.vault.calls``. Every question is asked with
the token of the moment. Is it refused (403), the token itself is asked about: if Vault does not know it any more, there is
one new login and the question is asked again; if it does, the refusal is about the question.

A token has a generation. What was lent with it (leases) dies with it, so whoever holds a lease looks whether it is of this
generation.
"""

import math
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import hvac
import structlog

from extauthz.errors import VaultError
from extauthz.vault.client import VaultClient
from extauthz.vault.login import Doorman, Token, told_token

__all__ = ["Session", "SessionCounts"]

_log = structlog.get_logger()

_T = TypeVar("_T")
_REFUSED = 403
_RENEW_AT = 2 / 3
_LATEST, _EARLIEST = 1.0, 0.85
"""Jitter: the replicas that logged in together do not renew together."""
_SHRUNK = 0.5
"""A renewal that gives less than this share of what the login gave is near the end of all renewals."""
_RETRY = 1.0
_BETWEEN_LOGINS = 2.0
"""Seconds between logins that come of refusals: a policy that was taken away must not become a storm of logins."""


@dataclass(slots=True)
class SessionCounts:
    """What has happened so far."""

    logins: int = 0
    renewals: int = 0
    failures: int = 0
    """Logins and renewals that did not work."""


class Session:
    """Who we are to Vault."""

    def __init__(
        self,
        client: VaultClient,
        doorman: Doorman,
        *,
        clock: Callable[[], float],
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Log in when first asked. ``clock`` is monotonic, in seconds."""
        self._client = client
        self._doorman = doorman
        self._clock = clock
        self._jitter = jitter
        self._lock = threading.RLock()
        self._token: Token | None = None
        self._first_lifetime = 0.0
        self._ends = self._due = self._logged_in_at = -math.inf
        self.generation = 0
        """Counts the tokens that we had."""
        self.counts = SessionCounts()
        self.error = ""
        """Why the last login or renewal did not work; empty if it did."""

    def ask(self, question: Callable[[hvac.Client], _T], *, timeout: float | None = None) -> _T:
        """The answer to a question, asked as the one we are.

        Raises:
            VaultError: There is none, or it is a refusal.
        """
        token, generation = self._logged_in()
        try:
            return self._client.ask(question, token.value, timeout=timeout)
        except VaultError as error:
            if error.status != _REFUSED or not self._revoked(token, generation):
                raise
        token, _ = self._logged_in()
        return self._client.ask(question, token.value, timeout=timeout)

    @property
    def due(self) -> float:
        """When ``renew`` should be called, by the clock."""
        return self._due

    @property
    def ends(self) -> float:
        """When the token ends unless it is renewed, by the clock."""
        return self._ends

    def renew(self) -> None:
        """Renew the token, or log in if it can't be renewed. Raises VaultError; then it is due again in a moment."""
        with self._lock:
            token, now = self._token, self._clock()
            try:
                if token is None or not token.renewable or now >= self._ends:
                    self._log_in()
                    return
                self._renewed(self._client.ask(lambda client: client.auth.token.renew_self(), token.value))
            except VaultError as error:
                if token is not None and error.status == _REFUSED and now < self._ends:
                    # It was revoked, or may not renew itself: either way only a login helps.
                    self._log_in()
                    return
                self._failed(error)
                raise

    def close(self) -> None:
        """Revoke the token, if it is ours alone. Raises VaultError if it could not be."""
        with self._lock:
            token, self._token = self._token, None
            self._due = math.inf
            if token is not None and token.ours and self._clock() < self._ends:
                self._client.ask(lambda client: client.auth.token.revoke_self(), token.value)

    def _logged_in(self) -> tuple[Token, int]:
        with self._lock:
            if self._token is None or self._clock() >= self._ends:
                self._log_in()
            assert self._token is not None  # noqa: S101 - narrows
            return self._token, self.generation

    def _revoked(self, token: Token, generation: int) -> bool:
        """Whether a token that was refused is one that Vault does not know; then it is forgotten."""
        with self._lock:
            if self.generation != generation:
                return True  # somebody else saw it, and has logged in since
            if self._clock() < self._logged_in_at + _BETWEEN_LOGINS:
                return False
            try:
                self._client.ask(lambda client: client.auth.token.lookup_self(), token.value)
            except VaultError as error:
                if error.status != _REFUSED:
                    return False
            else:
                return False
            _log.warning("vault does not know the token any more, logging in again")
            self._token = None
            return True

    def _log_in(self) -> None:
        """Get a token. The lock is held: others wait for it, and do not log in as well."""
        try:
            token = self._doorman.token()
        except VaultError as error:
            self._failed(error)
            raise
        known = self._token
        self._first_lifetime = token.lifetime
        self._logged_in_at = self._clock()
        if known is None or known.value != token.value:
            self.generation += 1
        self.counts.logins += 1
        self._take(token)
        if "root" in token.policies:
            _log.warning("this server has a root token of vault, which may do anything: give it the policy of the docs")

    def _renewed(self, answer: Any) -> None:
        old = self._token
        token = told_token(answer["auth"], ours=old is not None and old.ours)
        self.counts.renewals += 1
        if token.lifetime < self._first_lifetime * _SHRUNK:
            # Its longest life is nearly over. What it lent goes with it, so the next one comes while this one lives.
            self._log_in()
        else:
            self._take(token)

    def _take(self, token: Token) -> None:
        now = self._clock()
        self._token = token
        self._ends = now + token.lifetime
        self._due = now + token.lifetime * _RENEW_AT * self._jitter(_EARLIEST, _LATEST)
        self.error = ""

    def _failed(self, error: VaultError) -> None:
        self.error = str(error)
        self.counts.failures += 1
        self._due = self._clock() + _RETRY * self._jitter(_EARLIEST, _LATEST)
