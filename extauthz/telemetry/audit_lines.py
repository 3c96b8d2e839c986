"""The form of an audit log: one JSON object a line, each sealed together with the seal of the line before it.

The seal (``hash``) is an HMAC-SHA256 over the bytes of the line, ``prev`` included, so a line that was changed, taken out
or moved breaks the chain, and who has no key can't mend it: a plain hash could be computed anew by anybody who may write
the file. Tokens are in a line as an HMAC under another key: who holds a token can find its lines, and nobody can find a
token. Both keys come out of one secret.

Names and reasons in an event may be what a stranger wrote. Each is cut to a bearable length, what looks like a credential
is masked, and control characters are spelled out.
"""

import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from extauthz.telemetry.redaction import escape_controls, mask
from extauthz.tokens.ports import AuditEvent

__all__ = ["BEGINS", "GAP", "GOES_ON", "LONGEST_LINE", "TORN", "AuditKey", "AuditLine", "event_fields", "read_line"]

BEGINS = "audit-begins"
"""The first line of a log."""
GOES_ON = "audit-goes-on"
"""The first line of a file after rotation; ``prev`` is the last seal of the file before."""
TORN = "audit-torn"
"""The line before is half of one, whose writer was killed; ``torn`` is its keyed digest."""
GAP = "audit-gap"
"""The log has lost lines that were there. The chain is broken here for good."""

LONGEST_LINE = 65_536
"""Bytes; well above what the bounds of the fields add up to, each character spelled in six."""

_LONG = {"detail": 512, "subject": 512}
_LENGTH = 256
_SEALED = re.compile(rb'(\{.*),"hash":"([0-9a-f]{64})"\}\Z', re.DOTALL)
_FIELDS = ("client_id", "subject", "reason", "detail", "key_id", "token", "jti", "family", "address")


@dataclass(frozen=True, slots=True)
class AuditKey:
    """What seals the lines, and what hides the tokens in them."""

    _chain: bytes = field(repr=False)
    _tokens: bytes = field(repr=False)

    @classmethod
    def of(cls, secret: bytes) -> "AuditKey":
        """The keys that come out of one secret."""
        return cls(hmac.digest(secret, b"extauthz audit chain", "sha256"), hmac.digest(secret, b"tokens", "sha256"))

    def seal(self, body: bytes) -> str:
        """The seal of a line without its seal."""
        return hmac.digest(self._chain, body, "sha256").hex()

    def digest(self, token: str | bytes) -> str:
        """What a line says instead of a token."""
        raw = token.encode("utf-8", "surrogatepass") if isinstance(token, str) else token
        return hmac.digest(self._tokens, raw, "sha256").hex()

    def line(self, fields: Mapping[str, object], *, now: float, seq: int, prev: str) -> tuple[bytes, str]:
        """A sealed line with its line end, and its seal."""
        time = datetime.fromtimestamp(now, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        body = json.dumps({"time": time, "seq": seq, **fields, "prev": prev}, separators=(",", ":")).encode()
        seal = self.seal(body)
        return body[:-1] + b',"hash":"' + seal.encode() + b'"}\n', seal


@dataclass(frozen=True, slots=True)
class AuditLine:
    """A line whose seal is right."""

    seq: int
    seal: str
    prev: str
    fields: Mapping[str, Any]

    @property
    def action(self) -> str:
        """What was done."""
        return str(self.fields.get("action", ""))


def event_fields(event: AuditEvent, key: AuditKey) -> dict[str, object]:
    """What a line says of an event; what is empty is left out."""
    said: dict[str, object] = {
        "action": _bounded("action", event.action),
        "outcome": _bounded("outcome", event.outcome),
    }
    for name in _FIELDS:
        text = getattr(event, name)
        if text:
            said[name] = key.digest(text) if name == "token" else _bounded(name, text)
    return said


def read_line(line: bytes, key: AuditKey) -> AuditLine | None:
    """A line without its line end, if its seal is right."""
    found = _SEALED.match(line)
    if found is None or not hmac.compare_digest(key.seal(found[1] + b"}"), found[2].decode()):
        return None
    try:
        fields = json.loads(line)
        return AuditLine(int(fields["seq"]), fields["hash"], str(fields["prev"]), fields)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _bounded(name: str, text: str) -> str:
    most = _LONG.get(name, _LENGTH)
    # Masked before it is cut to size: half a token would no longer look like one.
    told = escape_controls(mask(text[: 4 * most]))
    return told if len(told) <= most else told[: most - 1] + "\u2026"
