"""What has to be revoked when something ends, and for how long that has to be remembered (O33).

A token by its ``jti`` until it would have expired; a session by its ``sid`` until the longest-lived token that could
still be signed in it, by a replica that has not heard of it, would have. Neither name is ever given out again, so all that has it is meant, whenever it was
issued: one replica may sign while another one revokes. A subject and a client go on, so of them only what was issued
until now is meant, and what follows from
that by renewal.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from extauthz.tokens.records import Revocation

__all__ = ["end_of_everything", "end_of_session", "end_of_token"]

_LONGEST_LIFETIME: Final = 86_400.0
"""Seconds that any access token may live; the configuration allows no more."""
_SKEW: Final = 300.0
"""The most that a verifier's clock may be behind."""
_UNDER_WAY: Final = 60.0
"""The longest that a request which has passed its last check may take to be answered."""
_OLD_LIST: Final = 3_600.0
"""The longest that a replica may go by what was revoked before (``tokens.revocationsMaxAge``; the configuration allows no
more), and renew a token meanwhile."""
_CLOCKS: Final = 5.0
"""Seconds that a replica's clock may be ahead of ours: what is issued in them is meant as well."""


def end_of_token(claims: Mapping[str, Any]) -> Revocation:
    """One access token."""
    until = float(claims["exp"]) + _SKEW
    return Revocation("token", claims["jti"], until, until)


def end_of_session(session: str, now: float) -> Revocation:
    """All access tokens that follow from one grant."""
    until = _end_of_all(now)
    return Revocation("family", session, until, until)


def end_of_everything(kind: Literal["subject", "client", "key"], value: str, now: float) -> Sequence[Revocation]:
    """All access tokens of a subject, of a client, or by a key, that were granted until now."""
    until = _end_of_all(now)
    if kind == "key":
        # Who has a key can write any time into a token.
        return [Revocation("key", value, until, until)]
    # A client's own tokens are about itself, also those that somebody else got for one of them.
    kinds: Sequence[Literal["subject", "client"]] = ("client", "subject") if kind == "client" else ("subject",)
    return [Revocation(one, value, now + _CLOCKS, until) for one in kinds]


def _end_of_all(now: float) -> float:
    """When the last token has expired that may be signed by whoever can't know yet."""
    return now + _OLD_LIST + _UNDER_WAY + _LONGEST_LIFETIME + _SKEW
