"""What a grant has found: who may have a token, by which client, with what at most, until when.

It is what all grants have in common, and all that issuing needs. The request narrows it to the terms of one token.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from extauthz.tokens.clients import Client

if TYPE_CHECKING:
    from extauthz.tokens.families import Presented

__all__ = ["Authorization", "Terms"]


@dataclass(frozen=True, slots=True)
class Authorization:
    """The most that a token may say."""

    client: Client
    subject: str
    scopes: tuple[str, ...]
    audiences: tuple[str, ...]
    """Whom the token may be for."""
    audience: tuple[str, ...]
    """Whom it is for if the request does not say."""
    roles: tuple[str, ...]
    auth_time: float | None = None
    """When the subject proved who it is, in seconds since the epoch; None if nobody knows."""
    ends: float | None = None
    """No token lives longer."""
    session: str = ""
    """What joins the tokens that follow from one grant (``sid``); empty if none can follow."""
    further: Mapping[str, Any] | None = None
    """Claims of the grant's own, such as ``act``. They are laid under those that every token has."""
    presented: "Presented | None" = None
    """The refresh token that was presented, if one was."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What one token says of that."""

    scopes: tuple[str, ...]
    audiences: tuple[str, ...]
