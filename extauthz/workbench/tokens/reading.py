"""A token taken apart for a person: header, claims and dates, and what is unusual about it.

Read more leniently than a verifier reads, since a token that is refused for its form is what people want to look into.
Nothing here says that a token is good: that is for the providers. The signature is not kept, so nothing can show it.
"""

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from extauthz.identity.token_form import MAX_TOKEN_SIZE, read_token
from extauthz.model import Deny

__all__ = ["Row", "TokenSeen", "look_at"]

Spoken = Callable[[float], str]
"""Says how long some seconds are, as a person does."""

_DATES = ("exp", "nbf", "iat", "auth_time", "updated_at")
_LONGEST = 240
_DAY = 86_400
_MILLISECONDS = 1e11
_LARGE = 4096
"""Characters: Envoy's own filter caches no larger token, and eight of them fill the header limits of many servers."""
_JWS_PARTS = 3
_JWE_PARTS = 5

_MEANINGS = {
    "iss": "who issued it",
    "sub": "whom it is about",
    "aud": "whom it is for",
    "exp": "when it ends",
    "nbf": "from when on it is good",
    "iat": "when it was issued",
    "jti": "its own name",
    "auth_time": "when the subject proved who it is",
    "client_id": "the client that it was given to",
    "azp": "the client that it was given to",
    "scope": "what it may be used for",
    "scp": "what it may be used for",
    "roles": "what the subject may be",
    "sid": "what joins it with others of one grant",
    "act": "who acts for the subject",
    "cnf": "the key that its sender must have",
    "alg": "how it is signed",
    "typ": "what kind of token it is",
    "kid": "the key that signed it",
}
_OWN_KEYS = ("jku", "jwk", "x5u", "x5c")
_KINDS = {
    "ert_": "a refresh token of extauthz: it says nothing to anybody but the token service",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One member of a header or of the claims."""

    name: str
    value: Any
    """As it is written."""
    said: str
    """The same for a person: a date instead of a number, and not too long."""
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class TokenSeen:
    """What is in a token."""

    kind: str
    size: int
    """Characters."""
    header: tuple[Row, ...] = ()
    claims: tuple[Row, ...] = ()
    unusual: tuple[str, ...] = ()


def look_at(token: str, now: float, spoken: Spoken) -> TokenSeen:
    """Take a token apart; ``now`` is in seconds since the epoch."""
    parts = token.split(".", _JWE_PARTS)
    header = _object(parts[0]) if len(parts) in (_JWS_PARTS, _JWE_PARTS) else None
    if header is None:
        kind = next((told for prefix, told in _KINDS.items() if token.startswith(prefix)), "")
        return TokenSeen(kind or "an opaque token: only who issued it knows what it says", len(token))
    if len(parts) == _JWE_PARTS:
        return TokenSeen("an encrypted JSON Web Token (JWE)", len(token), tuple(_rows(header, now, spoken)))
    claims = _object(parts[1]) or {}
    kind = "a JSON Web Token (JWS)"
    unusual = [*_oddities(token), *_header_oddities(header), *_claim_oddities(claims, now, spoken)]
    return TokenSeen(
        kind, len(token), tuple(_rows(header, now, spoken)), tuple(_rows(claims, now, spoken)), tuple(unusual)
    )


def _object(part: str) -> dict[str, Any] | None:
    """The JSON object in a part, in whichever spelling of base64; None if there is none."""
    text = part.rstrip("=").replace("+", "-").replace("/", "_")
    try:
        value = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _rows(members: Mapping[str, Any], now: float, spoken: Spoken) -> Iterator[Row]:
    known = [name for name in _MEANINGS if name in members]
    for name in [*known, *(name for name in members if name not in known)]:
        value = members[name]
        yield Row(name, value, _said(name, value, now, spoken), _MEANINGS.get(name, ""))


def _said(name: str, value: Any, now: float, spoken: Spoken) -> str:
    if name in _DATES and _is_number(value) and abs(value) < _MILLISECONDS:
        return f"{_date(value)} ({_relative(name, value - now, spoken)})"
    return _cut(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _date(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def _relative(name: str, ahead: float, spoken: Spoken) -> str:
    far = spoken(ahead)
    if name == "exp":
        return f"expires in {far}" if ahead > 0 else f"expired {far} ago"
    return f"in {far}" if ahead > 0 else f"{far} ago"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _oddities(token: str) -> Iterator[str]:
    strict = read_token(token)
    if isinstance(strict, Deny):
        yield f"no verifier should take this form: {strict.detail}"
    elif len(token) > _LARGE:
        yield f"it is {len(token)} characters long (at most {MAX_TOKEN_SIZE} are taken, and many servers take less)"


def _header_oddities(header: Mapping[str, Any]) -> Iterator[str]:
    algorithm, kind = header.get("alg"), header.get("typ")
    if not isinstance(algorithm, str) or algorithm.lower() == "none":
        yield "alg is none: nobody has signed it"
    elif algorithm.startswith("HS"):
        yield f"alg is {algorithm}: who can verify it can make it as well"
    if kind is None:
        yield "typ is absent: nothing tells an access token from other kinds (RFC 8725 section 3.11)"
    elif isinstance(kind, str) and kind.lower().removeprefix("application/") not in ("at+jwt", "jwt"):
        yield f"typ is {_cut(kind)}: it is no access token"
    if "kid" not in header:
        yield "kid is absent: all keys have to be tried"
    for name in _OWN_KEYS:
        if name in header:
            yield f"it brings a key of its own ({name}), which no verifier may use"


def _claim_oddities(claims: Mapping[str, Any], now: float, spoken: Spoken) -> Iterator[str]:
    yield from _date_oddities(claims, now, spoken)
    absent = {"aud": "it is for anybody", "sub": "it is about nobody", "iss": "nobody says to have issued it"}
    yield from (f"{name} is absent: {told}" for name, told in absent.items() if name not in claims)
    if claims.get("aud") in ("*", ["*"]):
        yield "aud is *: it is for anybody"
    if any(name in claims for name in ("nonce", "at_hash", "c_hash")):
        yield "it has claims of an ID token, which says who signed in and opens no API"
    if "cnf" in claims:
        yield "it has cnf: it is bound to its sender's key, and no bearer token"


def _date_oddities(claims: Mapping[str, Any], now: float, spoken: Spoken) -> Iterator[str]:
    dates = {name: claims[name] for name in ("exp", "nbf", "iat") if _is_number(claims.get(name))}
    yield from (
        f"{name} is not in seconds: it looks like milliseconds"
        for name, value in dates.items()
        if abs(value) >= _MILLISECONDS
    )
    ends = dates.get("exp")
    life = None if ends is None else ends - dates.get("iat", now)
    if life is None:
        yield "exp is absent: it never ends" if "exp" not in claims else "exp is no number"
    elif _DAY < life < _MILLISECONDS:
        yield f"it lives {spoken(life)}: who loses it has lost it for so long"
    for name in ("nbf", "iat"):
        if now + 1 < dates.get(name, 0) < _MILLISECONDS:
            yield f"{name} is in the future: a clock is wrong, here or where it was issued"
