"""What of a request is hidden in a capture, because a credential may be there (invariant I6).

Three nets, one behind the other. By place: headers and query parameters that carry credentials, those that a configured
provider reads and those that are usual anywhere, lose their values whatever they look like. By form: what the caller's
``mask`` takes for a credential goes wherever it stands. By value: what was hidden in one place is hidden in every other
one, since clients and proxies copy tokens into headers that nobody thought of.

It errs on the side of hiding: a header too many is one that a replay can't ask about, one too few is a token in a log.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote_plus

__all__ = ["HIDDEN", "CredentialPlaces", "Hiding", "embedded_parameters"]

HIDDEN = "[redacted]"
"""What stands in the place of a hidden value."""

_HEADERS = frozenset(
    {
        "authorization",
        "proxy-authorization",
        "cookie",
        "set-cookie",
        "x-api-key",
        "dpop",
        "sec-websocket-protocol",
        "x-forwarded-client-cert",
    }
)
"""Hidden whatever is configured. The subprotocols of a websocket are where browsers put tokens, the last one holds the
client's certificate."""
_WORD = re.compile(
    r"(?:\A|[-:\[\]])(?:auth|authn|authcode|jwt|jws|jwe|key|apikey|creds?|sig|sign|signature|hmac|session|sessionid|sid|sso"
    r"|otp|totp|pin|code|ticket|refresh|csrf|xsrf|pass|pw|pwd|samlresponse|cert|certificate|clientcert)(?:\Z|[-:\[\]])"
)
"""Names of headers and query parameters, folded, whose values are hidden."""
_FOLDED = str.maketrans("!#$%&'*+.^_`|~ ", "-" * 15)
"""Upstreams that know no difference between these take one header for another."""
_CERTIFICATE = re.compile(r"-----BEGIN|(?<![A-Za-z0-9+/])MI[I-M][A-Za-z0-9+/]{60}")
"""PEM, plain or with encoded blanks, and base64 of a DER sequence of more than 127 bytes (RFC 9440)."""
_KINDS = frozenset({"token_use", "token_type"})
"""Claims with a sensitive name that only say what kind of token it is."""
_SEPARATOR = re.compile(r"([&;?#])")
_PARAMETERS = re.compile(r"((?:;|%(?:25)*3B))[^/\\]*", re.IGNORECASE)
_HIDDEN_QUERY = re.compile(r"((?:#|%(?:25)*(?:3F|23))).*", re.IGNORECASE | re.DOTALL)
_PIECE = re.compile(r"[^\s,;=\"']{12,}")
_LETTER = re.compile(r"[A-Za-z]")
_DIGIT = re.compile(r"[0-9]")
_LEAST_CERTIFICATE = 10
_MAX_DECODINGS = 3
_MAX_SECRETS = 64
_MAX_NAME = 128
_KEPT = 2048
"""Names that are remembered; clients choose them."""


@dataclass(frozen=True, slots=True)
class CredentialPlaces:
    """Where the configured providers look for credentials."""

    headers: frozenset[str] = frozenset()
    """Names in lower case."""
    cookies: frozenset[str] = frozenset()
    parameters: frozenset[str] = frozenset()
    """Names of query parameters, decoded."""


class Hiding:
    """Hides what may be a credential in the texts of one request, and remembers where. Lives for one capture."""

    __slots__ = ("_embedded", "_mask", "_places", "_secrets", "_sensitive", "names")

    def __init__(
        self,
        places: CredentialPlaces,
        *,
        mask: Callable[[str], str],
        sensitive: Callable[[str], bool],
        embedded: re.Pattern[str] | None,
    ) -> None:
        """``mask`` hides what looks like a credential, ``sensitive`` knows names that credentials have.

        ``embedded`` is ``embedded_parameters(places)``, made once.
        """
        self._places = places
        self._mask = mask
        self._sensitive = sensitive
        self._embedded = embedded
        self._secrets: list[str] = []
        self.names: set[str] = set()
        """Where something was hidden: ``headers.cookie``, ``query.key``, ``claims.pin``, ``path``."""

    def learn(self, headers: Mapping[str, tuple[str, ...]], query: str) -> None:
        """Note the credentials of a request, to know them again where they don't belong. To be called first."""
        for name, values in headers.items():
            if name == "cookie":
                self._learn_cookies(values)
            elif name != "x-forwarded-client-cert" and self._hides_header(name):
                self._note(values)
        for piece in _SEPARATOR.split(query):
            name, _, value = piece.partition("=")
            if value and self._hides_parameter(_decoded(name)):
                self._note((value, _decoded(value)))

    def headers(self, headers: Mapping[str, tuple[str, ...]]) -> dict[str, list[str]]:
        """All headers; of those that carry credentials just that they are there, and how often."""
        shown: dict[str, list[str]] = {}
        for name, values in headers.items():
            if self._hides_header(name):
                self.mark("headers", name)
                shown[name] = [HIDDEN] * len(values)
            else:
                shown[name] = [self._header_value(name, value) for value in values]
        return shown

    def query(self, query: str) -> str:
        """A raw query string without the values of parameters that carry credentials."""
        return "".join(
            piece if piece in "&;?#" else self._parameter(piece) for piece in _SEPARATOR.split(query) if piece
        )

    def path(self, path: str) -> str:
        """A raw path without query. What follows a ``;`` or an encoded ``?`` is a value too."""
        shown = _PARAMETERS.sub(r"\1redacted", _HIDDEN_QUERY.sub(r"\1redacted", path))
        shown = self._text(shown)
        if shown != path:
            self.names.add("path")
        return shown

    def host(self, host: str) -> str:
        """A host as it was sent, without the user that may stand before it."""
        user, at, name = host.rpartition("@")
        if user:
            self.names.add("host")
        return self.text("host", f"redacted{at}{name}" if user else host)

    def text(self, name: str, text: str) -> str:
        """Any other text, in which only what looks like a credential is hidden."""
        shown = self._text(text)
        if shown != text:
            self.names.add(name)
        return shown

    def hides(self, name: str) -> bool:
        """Whether the value under this name, of a claim or of the route's context, is hidden whatever it is."""
        return name not in _KINDS and self._sensitive(name)

    def member(self, kind: str, name: str, text: str, top: str = "") -> str:
        """The text under such a name; ``top`` is what it is told to be hidden in, if that is something else."""
        shown = HIDDEN if self.hides(name) else self._text(text)
        if shown != text:
            self.mark(kind, top or name)
        return shown

    def mark(self, kind: str, name: str) -> None:
        """Remember that something was hidden there."""
        self.names.add(f"{kind}.{self._mask(name)[:_MAX_NAME]}")

    def _hides_header(self, name: str) -> bool:
        usual = _usual if len(name) <= _MAX_NAME else _usual.__wrapped__
        return name in self._places.headers or usual(name, self._sensitive) or self._is_twin(name)

    def _is_twin(self, name: str) -> bool:
        """Whether an upstream could take the header for one that a provider reads."""
        return not name.isascii() or name.translate(_FOLDED) in self._places.headers

    def _hides_parameter(self, name: str) -> bool:
        usual = _usual if len(name) <= _MAX_NAME else _usual.__wrapped__
        return name in self._places.parameters or usual(name.lower(), self._sensitive)

    def _header_value(self, name: str, value: str) -> str:
        before, question, after = value.partition("?")
        shown = before + question + self.query(after) if question else value
        shown = self._text(shown)
        if shown != value:
            self.mark("headers", name)
        return shown

    def _parameter(self, piece: str) -> str:
        """One ``name=value``, as it stands or with its value hidden."""
        name, equals, value = piece.partition("=")
        plain = _decoded(name)
        if not equals:
            shown = self._text(plain)
            if shown == plain:
                return piece
            self.mark("query", shown)
            return HIDDEN
        if not self._hides_parameter(plain):
            decoded = _decoded(value)
            if self._text(value) == value and self._text(decoded) == decoded and self._text(piece) == piece:
                return piece
        self.mark("query", plain)
        return f"{self._text(name)}={HIDDEN}"

    def _text(self, text: str) -> str:
        shown = self._mask(text)
        if self._embedded is not None and "=" in shown:
            shown = self._embedded.sub(rf"\1={HIDDEN}", shown)
        if len(shown) >= _LEAST_CERTIFICATE and _CERTIFICATE.search(shown):
            return HIDDEN
        for secret in self._secrets:
            if secret in shown:
                shown = shown.replace(secret, HIDDEN)
        return shown

    def _learn_cookies(self, lines: Iterable[str]) -> None:
        for line in lines:
            for piece in line.replace(",", ";").split(";"):
                name, _, value = piece.partition("=")
                if name.strip() in self._places.cookies:
                    self._note((value,))

    def _note(self, values: Iterable[str]) -> None:
        """Keep what is long and odd enough to be a secret: a short word would be hidden where it means nothing."""
        for value in values:
            for piece in _PIECE.findall(value):
                plain = not (_LETTER.search(piece) and _DIGIT.search(piece))
                if not plain and piece not in self._secrets and len(self._secrets) < _MAX_SECRETS:
                    self._secrets.append(piece)


def embedded_parameters(places: CredentialPlaces) -> re.Pattern[str] | None:
    """``name=value`` of a configured parameter or cookie, wherever it stands; None if there is none."""
    names = sorted(places.parameters | places.cookies, key=lambda name: (-len(name), name))
    if not names:
        return None
    return re.compile(rf"(?<![A-Za-z0-9_-])({'|'.join(map(re.escape, names))})=(?!\[redacted\])[^&;\s\"',)]+")


@lru_cache(maxsize=_KEPT)
def _usual(name: str, sensitive: Callable[[str], bool]) -> bool:
    """Whether headers or query parameters of this name, in lower case, carry credentials anywhere."""
    folded = name.translate(_FOLDED)
    return folded in _HEADERS or _WORD.search(folded) is not None or sensitive(name)


def _decoded(text: str) -> str:
    """A name or value without percent-encoding, however often it was encoded."""
    for _ in range(_MAX_DECODINGS):
        if "%" not in text and "+" not in text:
            break
        plain = unquote_plus(text)
        if plain == text:
            break
        text = plain
    return text
