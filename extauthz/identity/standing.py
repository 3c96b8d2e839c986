"""Whether a token that verifies still stands: what the room asks of those who know what was revoked.

A signature says what was true when a token was signed. For tokens that this process's own token service has issued there is
somebody who knows better, and is asked at each use: ``doubts`` on the hot path, which costs a look into a set, and
``refusal`` only where there is a doubt.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from extauthz.model import Deny

__all__ = ["OwnToken", "Standing", "TokenMarks"]


class TokenMarks(NamedTuple):
    """What a token can be revoked by; empty where it has none. A tuple, which a set is asked about as it is."""

    token: str
    """``jti``."""
    subject: str
    """``sub``."""
    client: str
    """``client_id``."""
    family: str
    """``sid``: the grant that it follows from."""
    key: str
    """``kid``."""

    @classmethod
    def read(cls, claims: Mapping[str, Any], key_id: str | None) -> "TokenMarks":
        """Those of verified claims. Raises ValueError if one of them is no text."""
        token, subject, client, family = (claims.get(name, "") for name in ("jti", "sub", "client_id", "sid"))
        if not all(isinstance(mark, str) for mark in (token, subject, client, family)):
            message = "jti, sub, client_id or sid is not a string"
            raise ValueError(message)
        return cls(token, subject, client, family, key_id or "")


class Standing(Protocol):
    """Knows what was revoked."""

    def doubts(self, marks: TokenMarks, now: float) -> bool:
        """Whether there is a reason to ask for the ``refusal`` of a token. ``now`` is in seconds since the epoch."""
        ...

    def refusal(self, marks: TokenMarks, granted: float, now: float) -> Deny | None:
        """Why a token that verifies is refused (``token-revoked``, ``store-unavailable``); None if it stands.

        ``granted`` is its ``iat``, or of one that follows from others in a session when that began.
        """
        ...


@dataclass(frozen=True, slots=True)
class OwnToken:
    """What is remembered of a verified token so that it can be asked whether it still stands."""

    standing: Standing
    marks: TokenMarks
    granted: float

    def refusal(self, now: float) -> Deny | None:
        """Why it is refused now; None if it stands."""
        if not self.standing.doubts(self.marks, now):
            return None
        return self.standing.refusal(self.marks, self.granted, now)
