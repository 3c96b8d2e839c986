"""What the metrics show of the token service: what was asked for, and what became of it."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter

from extauthz.telemetry.attributes import GRANT, OUTCOME
from extauthz.telemetry.open_request import OPEN
from extauthz.tokens.errors import CODES
from extauthz.tokens.journal import GRANT_LABELS

__all__ = ["TokenSeries"]

_ANSWERS: Final = {"revoke": ("done",), "introspect": ("active", "inactive")}


class TokenSeries:
    """Satisfies ``extauthz.tokens.ports.TokenMetrics``. All series are there from the beginning."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Make them in a registry."""
        tokens = Counter(
            "extauthz_tokens",
            "Tokens that were asked for, by grant (renew is `POST /refresh`): issued, or the code of the error.",
            ("grant", "outcome"),
            registry=registry,
        )
        endpoints = Counter(
            "extauthz_token_questions",
            "Requests to revoke (done) and to introspect (active, inactive), or the code of the error.",
            ("endpoint", "outcome"),
            registry=registry,
        )
        self._reused = Counter(
            "extauthz_refresh_tokens_reused",
            "Refresh tokens that were used twice: somebody else has them, and what followed from the grant was ended.",
            registry=registry,
        )
        grants = (*GRANT_LABELS.values(), "other")
        self._tokens = {(grant, word): tokens.labels(grant, word) for grant in grants for word in ("issued", *CODES)}
        self._endpoints = {
            (endpoint, word): endpoints.labels(endpoint, word)
            for endpoint, words in _ANSWERS.items()
            for word in (*words, *CODES)
        }

    def asked(self, grant: str, outcome: str) -> None:
        """Somebody asked for a token: ``issued``, or the code of the error."""
        self._tokens[grant, outcome].inc()
        request = OPEN.get()
        if request is not None:
            request.words[GRANT] = grant
            request.words[OUTCOME] = outcome

    def told(self, endpoint: str, outcome: str) -> None:
        """``revoke`` or ``introspect`` was answered: ``done``, ``active``, ``inactive``, or the code of the error."""
        self._endpoints[endpoint, outcome].inc()
        request = OPEN.get()
        if request is not None:
            request.words[OUTCOME] = outcome

    def reused(self) -> None:
        """A refresh token was used twice, and its family ended."""
        self._reused.inc()
