"""OAuth errors as values, and the answers that tell them (RFC 6749 section 5, RFC 6750, RFC 7009, RFC 8693, RFC 8707).

Whoever finds a fault returns an ``OAuthError``; it becomes HTTP here and nowhere else. What the client is told is generic
and of a few characters alone (section 5.2), whatever a request put into it; what a person needs besides is ``detail``,
and goes to the audit log.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from extauthz.model import Deny
from extauthz.tokens.http import HttpAnswer

__all__ = ["CODES", "OAuthError", "error_answer", "is_outage", "json_answer", "unavailable"]

CODES: Final = (
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "invalid_target",
    "temporarily_unavailable",
    "server_error",
)
"""All that ``error`` can be."""

_NO_STORE: Final = (("cache-control", "no-store"), ("pragma", "no-cache"))
_CHALLENGE: Final = ("www-authenticate", 'Basic realm="extauthz", charset="UTF-8"')
_UNSPEAKABLE: Final = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")
"""What an ``error_description`` must not hold."""
_NO_CLIENT: Final = 401
_TOO_MANY: Final = 429
_DOWN: Final = 503


@dataclass(frozen=True, slots=True)
class OAuthError:
    """Why a request is refused."""

    code: str
    """One of ``CODES``."""
    description: str
    """For whoever wrote the client."""
    detail: str = ""
    """For who runs the service: what the client is not told. Holds no secret and no token."""
    status: int = 400
    retry_after: int | None = None
    """Seconds."""
    reason: str = ""
    """What the audit log calls it, where that is more than ``code`` says."""

    @classmethod
    def no_client(cls, detail: str) -> "OAuthError":
        """The client has not proved who it is; the answer never says what was wrong (O7)."""
        return cls("invalid_client", "client authentication failed", detail, _NO_CLIENT)

    @classmethod
    def too_many(cls, seconds: int, detail: str) -> "OAuthError":
        """A rate is used up."""
        return cls("temporarily_unavailable", "too many requests", detail, _TOO_MANY, max(seconds, 1))

    @property
    def told(self) -> bool:
        """Whether the audit log hears of it: what a rate refuses would flood it."""
        return self.status != _TOO_MANY


def unavailable(detail: str) -> OAuthError:
    """What the answer needs is down: nothing was handed out, and to ask again is right."""
    return OAuthError(
        "temporarily_unavailable", "a part of the service is down; nothing was done", detail, _DOWN, retry_after=2
    )


def is_outage(denied: Deny) -> bool:
    """Whether a token was refused because what judges it is down: to be told as ``unavailable``, and never as the token's
    own fault.
    """
    return denied.reason.http == _DOWN


def json_answer(
    value: Mapping[str, Any], status: int = 200, headers: tuple[tuple[str, str], ...] = _NO_STORE
) -> HttpAnswer:
    """An answer that no cache keeps, unless other headers are given."""
    body = json.dumps(value, separators=(",", ":")).encode()
    return HttpAnswer(status, (("content-type", "application/json"), *headers), body)


def error_answer(error: OAuthError) -> HttpAnswer:
    """The error as HTTP. Any 401 has its challenge (RFC 9110 section 15.5.2)."""
    headers: list[tuple[str, str]] = list(_NO_STORE)
    if error.status == _NO_CLIENT:
        headers.append(_CHALLENGE)
    if error.retry_after is not None:
        headers.append(("retry-after", str(error.retry_after)))
    told = {"error": error.code, "error_description": _UNSPEAKABLE.sub("?", error.description)}
    return json_answer(told, error.status, tuple(headers))
