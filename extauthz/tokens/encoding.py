"""Base64url without padding (RFC 7515 section 2), in its one canonical spelling."""

import base64
import binascii

__all__ = ["base64url", "base64url_bytes"]


def base64url(raw: bytes) -> str:
    """The text of bytes."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def base64url_bytes(text: str) -> bytes | None:
    """The bytes of a text; None if it is not how ``base64url`` spells any."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if base64url(raw) == text else None
