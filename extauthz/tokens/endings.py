"""What has to be revoked when something ends, and for how long that has to be remembered (O33).

A token by its ``jti`` until it would have expired; a session by its ``sid`` until the longest-lived token that could have
been signed a moment ago would have. Neither name is ever given out again, so all that has it is meant, whenever it was
issued: one replica may sign while another one revokes.
"""

from collections.abc import Mapping
from typing import Any, Final

from extauthz.tokens.records import Revocation

__all__ = ["LONGEST_LIFETIME", "end_of_session", "end_of_token"]

LONGEST_LIFETIME: Final = 86_400.0
"""Seconds that any access token may live; the configuration allows no more."""
_SKEW: Final = 300.0
"""The most that a verifier's clock may be behind."""
_UNDER_WAY: Final = 60.0
"""The longest that a request which has passed its last check may take to be answered."""


def end_of_token(claims: Mapping[str, Any]) -> Revocation:
    """One access token."""
    until = float(claims["exp"]) + _SKEW
    return Revocation("token", claims["jti"], until, until)


def end_of_session(session: str, now: float) -> Revocation:
    """All access tokens that follow from one grant."""
    until = now + _UNDER_WAY + LONGEST_LIFETIME + _SKEW
    return Revocation("family", session, until, until)
