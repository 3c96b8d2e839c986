"""The last net under invariant I6: what looks like a credential is masked before it is written anywhere.

Rooms don't log credentials in the first place. But texts come from elsewhere too: an exception of a library that quotes
its input, a path that carries a token, a URL with a password. So the logs and the decision record send every string
through ``mask``, and the logs every key through ``is_sensitive``.

Both err on the side of masking: a word too many costs a person a second look at the source, one too few costs a key
rotation. They know forms, not meanings; a secret in a form that nobody knows passes, which is why this is only the net.
"""

import re
from collections.abc import Callable

__all__ = ["MASK", "escape_controls", "harmless", "is_sensitive", "mask"]

MASK = "[redacted]"

_SENSITIVE = re.compile(
    r"authori[sz]ation|cookie|token|secret|passw|passphrase|credential|assertion|bearer|\bpwd\b"
    r"|api_?key|private_?key|signing_?key|key_?material|access_?key|session_?id|\bjwks?\b|\bjwt\b|\bpem\b"
)
_SEPARATORS = re.compile(r"[-. ]")

_NAME = (
    r"(?:access_token|refresh_token|id_token|auth_token|token|client_secret|secret|password|passwd|pwd|passphrase|api_?key"
    r"|x-api-key|private_key|code_verifier|client_assertion|assertion|authorization|proxy-authorization|cookie|set-cookie)"
)
_COMMON_NAME = r"(?:code|sig|signature|session|sessionid|sid)"
"""Names that a harmless value may have too: only a long value with a digit in it is masked."""


def _quoted(quote: str) -> re.Pattern[str]:
    """A quoted name and the quoted text after it, or the texts in brackets: JSON, the repr of a mapping or of headers."""
    one = r"(?P<{0}>[\"'])(?:(?!(?P={0}))[^\\]|\\.)*(?:(?P={0})|\Z)"
    several = rf"(?P<bracket>[\[(])\s*(?:b?{one.format('q')}\s*,?\s*)+"
    pattern = rf"(?P<name>{quote}{_NAME}{quote}\s*[:,]\s*)(?:{several}|b?{one.format('r')})"
    return re.compile(pattern, re.IGNORECASE | re.DOTALL)


def _scheme(name: str) -> re.Pattern[str]:
    """The credential after the name of its scheme; "bearer token" and "Basic realm" are only talk about one."""
    talk = r"(?!tokens?\b|auth|realm=|error=|credentials?\b|scheme\b)"
    return re.compile(rf"\b({name})(\s+|%20|\+){talk}[^\s\"',;]+", re.IGNORECASE)


def _header(name: str) -> re.Pattern[str]:
    """A header line; its value ends with the line."""
    return re.compile(rf"\b({name})(\s*:\s*)(?!\[redacted\])[^\r\n]+", re.IGNORECASE)


_VALUE = r"[^&;\s\"',)]"
_DOTTED = re.compile(r"[A-Za-z0-9_.-]{12,}")
_HEADER = re.compile(r"e(?:y[A-DI-L]|w[0-3o-r])[A-Za-z0-9_-]{8}")
"""Base64url of '{"', '{ ', '{\\n' or '{\\r', with some more of it."""


def _without_token(match: re.Match[str]) -> str:
    """A JWT or JWE, whole or cut, behind whatever stands before it without a break: a part that begins like a header
    and at least the dot before the next one. Part by part, since a pattern that looks for the beginning of a token
    first is quadratic for a text that is all beginnings.
    """
    parts = match[0].split(".")
    for index, part in enumerate(parts[:-1]):
        found = _HEADER.search(part)
        if found is not None:
            return ".".join([*parts[:index], part[: found.start()] + MASK])
    return match[0]


def _without_value(match: re.Match[str]) -> str:
    """A quoted name with its value masked."""
    return f"{match['name']}{match['bracket'] or ''}{match['q'] or match['r']}{MASK}{match['q'] or match['r']}"


def _without_code(match: re.Match[str]) -> str:
    """A long value with a digit under a name that harmless values have too."""
    return f"{match[1]}={MASK}" if any(character.isdigit() for character in match[2]) else match[0]


_RULES: tuple[tuple[str, re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    # A private key, even if its end is cut off.
    (
        "private key-----",
        re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL),
        MASK,
    ),
    ("ey", _DOTTED, _without_token),
    ("ew", _DOTTED, _without_token),
    ("bearer", _scheme("bearer"), rf"\1\2{MASK}"),
    ("dpop", _scheme("dpop"), rf"\1\2{MASK}"),
    ("basic", _scheme("basic"), rf"\1\2{MASK}"),
    ("negotiate", _scheme("negotiate"), rf"\1\2{MASK}"),
    # user:password@ in a URL.
    ("@", re.compile(r"://[^/\s@?#]+@"), f"://{MASK}@"),
    ('"', _quoted('"'), _without_value),
    ("'", _quoted("'"), _without_value),
    ("authorization", _header("authorization"), rf"\1\2{MASK}"),
    ("cookie", _header("cookie"), rf"\1\2{MASK}"),
    ("api-key", _header("x-api-key"), rf"\1\2{MASK}"),
    # An API key of ours, whole or cut; its first two parts are its id and no secret.
    ("_", re.compile(r"\b([a-z][a-z0-9]{1,14}_[0-9A-Za-z]{12}_)[0-9A-Za-z]{16,}"), rf"\1{MASK}"),
    # A refresh token of ours or the secret of one of our clients, whole or cut.
    ("_", re.compile(r"(?<![A-Za-z0-9])(e(?:rt|cs)_)[A-Za-z0-9_-]{12,}"), rf"\1{MASK}"),
    # name=value in a query, a form, a cookie or a sentence.
    (
        "=",
        re.compile(rf"(?<![A-Za-z0-9_])({_NAME})=(?!\[redacted\]){_VALUE}+", re.IGNORECASE),
        rf"\1={MASK}",
    ),
    (
        "=",
        re.compile(rf"(?<![A-Za-z0-9_])({_COMMON_NAME})=({_VALUE}{{8,}})", re.IGNORECASE),
        _without_code,
    ),
)
"""What must be in the lower-case text for a pattern to match at all, the pattern, and what replaces its matches. Nearly
all texts hold none of the first, and then cost half a microsecond."""

_SIGNS = tuple(dict.fromkeys(sign for sign, _, _ in _RULES))
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


def harmless(text: str) -> bool:
    """Whether ``mask`` would not even look closer: to be asked of several texts at once, joined by line breaks."""
    lowered = text.lower()
    for sign in _SIGNS:  # noqa: SIM110 - a generator costs as much as all the look-ups
        if sign in lowered:
            return False
    return True


def mask(text: str) -> str:
    """The text with everything that looks like a credential replaced by ``[redacted]``."""
    lowered = text.lower()
    for sign, pattern, replacement in _RULES:
        if sign in lowered:
            text = pattern.sub(replacement, text)
    return text


def is_sensitive(key: str) -> bool:
    """Whether the value under a key of this name is masked whatever it looks like: ``cookie``, ``clientSecret`` and so on."""
    return _SENSITIVE.search(_SEPARATORS.sub("_", key).lower()) is not None


def escape_controls(text: str, *, keep: str = "") -> str:
    r"""The text with control characters, bidirectional overrides, zero-width characters and lone surrogates as ``\xNN``.

    A terminal would obey them, and a line break would forge a log line (CWE-117). ``keep`` are those that may stay.
    """

    def spell(match: re.Match[str]) -> str:
        character = match.group()
        if character in keep:
            return character
        code = ord(character)
        return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"  # noqa: PLR2004 - two digits hold up to 0xff

    return _CONTROLS.sub(spell, text)
