"""What the token service answers, read without trust: whatever else may listen there must not end up in the token file."""

import base64
import json
import re
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Issued", "Refused", "Unanswered", "claimed_times", "read_answer"]

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{8,16384}=*")
"""What may stand in an Authorization header (RFC 6750 section 2.1)."""
_CODE = re.compile(r"[a-z_]{1,40}")
_LONGEST = 31 * 86_400
"""Seconds; who gives a longer life to an access token has mistaken the unit."""
_LATEST = 1e12
_OK = 200
_REFUSALS = frozenset({400, 401, 403, 404})
_DOTS = 2


@dataclass(frozen=True, slots=True)
class Issued:
    """A token."""

    token: str = field(repr=False)
    lifetime: float
    """Seconds from the answer on."""
    refresh_token: str = field(default="", repr=False)
    """What to come with the next time; empty: nothing new."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The service does not want to: the same question will have the same answer until somebody changes something."""

    fault: str
    retry_after: float = 0.0
    """Seconds for which the service does not want to be asked again."""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The service can't, or could not be asked: it is worth asking again."""

    fault: str
    retry_after: float = 0.0
    """Seconds for which the service does not want to be asked again."""


def read_answer(
    status: int, body: bytes, now: float, *, name: str, retry_after: float | None = None
) -> Issued | Refused | Unanswered:
    """What an answer says; ``name`` is the member that has the token, ``now`` is in seconds since the epoch.

    Faults name an error code at most: what else is in a body may be what was sent, come back.
    """
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        said = {}
    if status != _OK:
        code = said.get("error")
        told = f" {code}" if isinstance(code, str) and _CODE.fullmatch(code) else ""
        fault = f"the token service answered {status}{told}"
        pause = retry_after or 0.0
        return Refused(fault, pause) if status in _REFUSALS and told else Unanswered(fault, pause)
    token, kind = said.get(name), said.get("token_type")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        return Unanswered(f"what the token service answered has no {name}")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        return Unanswered("what the token service answered is no bearer token")
    lifetime = _lifetime(said, token, now)
    if lifetime is None:
        return Unanswered("what the token service answered does not say how long the token lives")
    successor = said.get("refresh_token", "")
    if not isinstance(successor, str) or (successor and not _TOKEN.fullmatch(successor)):
        return Unanswered("what the token service answered has a refresh token of an impossible form")
    return Issued(token, lifetime, successor)


def claimed_times(token: str) -> tuple[float, float] | None:
    """When a token says that it was issued and that it ends, in seconds since the epoch; None if it does not say.

    Nobody has verified that: it is about a token that we were given ourselves, and no decision but when to renew it.
    """
    if token.count(".") != _DOTS:
        return None
    part = token.split(".")[1]
    try:
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        return None
    if not isinstance(claims, dict):
        return None
    ends, issued = claims.get("exp"), claims.get("iat")
    end = _number(ends)
    return None if end is None else (_number(issued) or 0.0, end)


def _lifetime(said: dict[str, Any], token: str, now: float) -> float | None:
    written = said.get("expires_in")
    if written is None:
        times = claimed_times(token)
        written = None if times is None else times[1] - now
    if isinstance(written, bool) or not isinstance(written, int | float) or not 0 < written <= _LONGEST:
        return None
    return float(written)


def _number(value: object) -> float | None:
    """A date as seconds since the epoch; None if it is none."""
    fine = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _LATEST
    return float(value) if isinstance(value, int | float) and fine else None
