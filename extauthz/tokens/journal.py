"""What was done and what was refused, told to the audit log and to the metrics before anybody is answered.

What an answer hands out is recorded first: if the log can't be written, and the operator wants nothing done without it,
nothing is (X4). A record of something that came to nothing in the last step is followed by one that says so.

While a part of the service is down, everybody who asks is refused for that, known or not. A few of these lines say it as
well as all of them, which would be a stranger's to fill the disk with.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from extauthz.errors import AuditError
from extauthz.tokens.errors import OAuthError, error_answer, unavailable
from extauthz.tokens.http import HttpAnswer
from extauthz.tokens.ports import AuditEvent, AuditLog, Meter, TokenMetrics

__all__ = ["GRANT_LABELS", "Journal"]

GRANT_LABELS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "client_credentials": "client_credentials",
        "refresh_token": "refresh_token",
        "urn:ietf:params:oauth:grant-type:token-exchange": "token_exchange",
        "renew": "renew",
    }
)
"""What metrics call the grants; anything else that a request asks for is ``other``."""


_OUR_FAULT: Final = 500
_FAULTS: Final = 60
"""Refusals a minute that are recorded of those that are our own fault; metrics count all."""


class Journal:
    """Keeps both."""

    def __init__(self, audit: AuditLog, metrics: TokenMetrics, meter: Meter) -> None:
        """Write to these; ``meter`` bounds what is written of our own faults."""
        self._audit = audit
        self._metrics = metrics
        self._meter = meter

    def record(self, event: AuditEvent) -> None:
        """A token is about to be handed out. Raises ``AuditError`` if that must not be."""
        self._audit.record(event)

    def issued(self, grant: str) -> None:
        """It is handed out."""
        self._metrics.asked(GRANT_LABELS.get(grant, "other"), "issued")

    def done(self, event: AuditEvent) -> None:
        """Something else was done. Raises ``AuditError`` if the answer must not say so."""
        self._audit.record(event)
        self._metrics.told(event.action, event.outcome)

    def told(self, endpoint: str, outcome: str) -> None:
        """A question was answered, which no audit log needs to hold."""
        self._metrics.told(endpoint, outcome)

    def no_token(self, grant: str, event: AuditEvent, error: OAuthError) -> HttpAnswer:
        """No token is handed out; gives the answer."""
        error = self._recorded(event, error)
        self._metrics.asked(GRANT_LABELS.get(grant, "other"), error.code)
        return error_answer(error)

    def refused(self, event: AuditEvent, error: OAuthError) -> HttpAnswer:
        """Something else is not done; gives the answer."""
        error = self._recorded(event, error)
        self._metrics.told(event.action, error.code)
        return error_answer(error)

    def _recorded(self, event: AuditEvent, error: OAuthError) -> OAuthError:
        if not error.told or (error.status >= _OUR_FAULT and self._meter.take("faults", "", _FAULTS)):
            return error
        refused = replace(
            event, outcome="refused", reason=error.reason or error.code, detail=error.detail or error.description
        )
        try:
            self._audit.record(refused)
        except AuditError as fault:
            return unavailable(str(fault))
        return error
