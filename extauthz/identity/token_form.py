"""The form of a JWT, checked before anything in it is believed.

A bearer token is a JWS in compact serialisation (RFC 7515 section 3.1): two dots, three parts of base64url, the first two
of them JSON objects. Two verifiers that read a lenient form differently are how tokens slip past, so this reader takes
exactly one spelling of each token: no padding, no other alphabet, no stray bits in the last character, no other
serialisation, no encrypted (RFC 7516), detached or unencoded (RFC 7797) payload. All checks are linear and bounded by
sizes that are compared before any decoding.

What comes out is well-formed and **not verified**: only ``issuer`` may be used, to pick who could have signed it.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from extauthz.identity.strict_json import JsonError, has_unsafe_text, read_object
from extauthz.model import Deny, Reason

__all__ = ["MAX_TOKEN_SIZE", "CompactToken", "base64url_decode", "has_jose_header", "read_token"]

MAX_TOKEN_SIZE = 16_384
"""Characters. Envoy's own filters stop at header limits of 60 KiB; tokens seen in the wild reach 12 kB."""

_MAX_HEADER_SIZE = 8_192
_MAX_SIGNATURE_SIZE = 2_048
"""Characters; an RSA signature of 8192 bits has 1366."""
_MAX_KID_SIZE = 1_024

_ALPHABET = re.compile(r"[A-Za-z0-9_-]*\Z")
_LAST_CHARACTERS = {0: "", 2: "AQgw", 3: "AEIMQUYcgkosw048"}
"""Those whose unused bits are zero, by length modulo 4; a remainder of 1 can't be."""


@dataclass(frozen=True, slots=True)
class CompactToken:
    """A well-formed token that nobody has verified."""

    algorithm: object
    """``alg`` as it is written: any JSON value, or None."""
    key_id: str | None
    type: str | None
    """``typ`` normalised: lower case, without ``application/``."""
    issuer: object
    """``iss`` as it is written: any JSON value, or None."""
    unverified_claims: Mapping[str, Any] = field(repr=False)
    payload: bytes = field(repr=False)
    signing_input: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def read_token(token: str) -> CompactToken | Deny:
    """The parts of a compact JWS, or a ``token-malformed`` denial whose detail names the fault, never the content."""
    if len(token) > MAX_TOKEN_SIZE:
        return _malformed(f"the token is longer than {MAX_TOKEN_SIZE} characters")
    dots = token.count(".")
    if dots != 2:  # noqa: PLR2004 - two dots are what a compact JWS is
        kind = " (five parts: an encrypted token)" if dots == 4 else ""  # noqa: PLR2004
        return _malformed(f"the token has {dots} dots instead of 2{kind}")
    signing_input, _, signature_part = token.rpartition(".")
    header_part, _, payload_part = signing_input.partition(".")
    if len(header_part) > _MAX_HEADER_SIZE or len(signature_part) > _MAX_SIGNATURE_SIZE:
        return _malformed("the token's header or signature is too long")
    raw_header, payload = base64url_decode(header_part), base64url_decode(payload_part)
    signature = base64url_decode(signature_part)
    if raw_header is None or payload is None or signature is None:
        return _malformed("a part of the token is not base64url")
    try:
        header = read_object(raw_header)
    except JsonError as error:
        return _malformed(f"the token's header is {error}")
    try:
        claims = read_object(payload)
    except JsonError as error:
        return _malformed(f"the token's payload is {error}")
    if has_unsafe_text(raw_header, header):
        return _malformed("the token's header holds U+0000 or half a surrogate pair")
    if fault := _header_fault(header):
        return _malformed(fault)
    written = header.get("typ")
    return CompactToken(
        algorithm=header.get("alg"),
        key_id=header.get("kid"),
        type=None if written is None else written.lower().removeprefix("application/"),
        issuer=claims.get("iss"),
        unverified_claims=claims,
        payload=payload,
        signing_input=signing_input.encode("ascii"),
        signature=signature,
    )


def has_jose_header(token: str) -> bool:
    """Whether a token begins as JSON Web Tokens do, signed or encrypted, with however many dots and in any spelling: with
    a JSON object that names an ``alg`` (RFC 7515 section 4.1.1, RFC 7516 section 4.1.1).
    """
    first, dot, _ = token.partition(".")
    if not dot or not first.startswith("e"):
        return False
    text = first.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return False
    return raw.startswith(b"{") and b'"alg"' in raw


def base64url_decode(text: str) -> bytes | None:
    """The bytes of unpadded base64url (RFC 7515 section 2) in its one canonical spelling; None if it is not that."""
    rest = len(text) % 4
    last = _LAST_CHARACTERS.get(rest)
    if last is None or (last and text[-1] not in last) or not _ALPHABET.match(text):
        return None
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _header_fault(header: Mapping[str, Any]) -> str:
    """What forbids to go on with a header; empty if nothing does.

    ``crit`` names extensions that must be understood (RFC 7515 section 4.1.11); none is, so it is refused whatever it
    holds. ``jku``, ``jwk``, ``x5u``, ``x5c`` and ``x5t`` are never looked at: a token does not bring its own key.
    """
    if "crit" in header:
        return "the token's header has crit, and no extension is supported"
    if "b64" in header or "zip" in header or "enc" in header:
        return "the token's header belongs to another kind of token (b64, zip or enc)"
    for name in ("kid", "typ"):
        if name in header and not isinstance(header[name], str):
            return f"the token's {name} is not a string"
    if len(header.get("kid", "")) > _MAX_KID_SIZE:
        return "the token's kid is too long"
    return ""


def _malformed(detail: str) -> Deny:
    return Deny(Reason.TOKEN_MALFORMED, detail)
