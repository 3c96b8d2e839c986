"""What a token may say in ``scope`` and ``aud``: what was asked for, within what is allowed. Never more, never silently less.

Both rules are the same for every grant: a grant gives the most, as data, and the request may narrow it.
"""

import re
from collections.abc import Collection, Sequence
from typing import Final

from extauthz.tokens.errors import OAuthError

__all__ = ["audiences_of", "scopes_of"]

_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+\Z")


def scopes_of(asked: str, most: Sequence[str]) -> tuple[str, ...] | OAuthError:
    """The scopes of a token; all that there may be if none are asked for (RFC 6749 section 3.3)."""
    if not asked:
        return tuple(most)
    wanted = tuple(dict.fromkeys(asked.split(" ")))
    if not all(_SCOPE.match(scope) for scope in wanted):
        return OAuthError("invalid_scope", "scope is not a list of words with single spaces between them")
    if not set(wanted) <= set(most):
        return OAuthError("invalid_scope", "the scope is more than may be given")
    return wanted


def audiences_of(asked: Sequence[str], most: Collection[str], otherwise: Sequence[str]) -> tuple[str, ...] | OAuthError:
    """Whom a token is for; ``otherwise`` if nobody is asked for (RFC 8707 section 2)."""
    if not asked:
        return tuple(otherwise)
    wanted = tuple(dict.fromkeys(asked))
    if not set(wanted) <= set(most):
        return OAuthError("invalid_target", "tokens for that resource are not given to this client")
    return wanted
