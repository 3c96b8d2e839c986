"""Basic credentials (RFC 7617), read in the one way in which they can be read.

The text is standard base64 with its padding and without spare bits, so that one pair of name and password has one
spelling; it decodes to UTF-8 without control characters; what stands before the first colon is the name, all behind it
the password, and neither is empty. An empty password is refused here because directories take a bind with one for success
without looking at anything (RFC 4513 section 5.1.2); U+0000 because libraries cut strings there, and would ask about a
shorter password.
"""

import base64
import binascii
import re
from dataclasses import dataclass, field

__all__ = ["MAX_BASIC_SIZE", "SignIn", "read_basic"]

MAX_USERNAME = 256
MAX_PASSWORD = 1024
"""Bytes of UTF-8, both."""
MAX_BASIC_SIZE = (MAX_USERNAME + 1 + MAX_PASSWORD + 2) // 3 * 4

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class SignIn:
    """What somebody typed. Its representation shows nothing: people type passwords where names belong."""

    username: str = field(repr=False)
    password: str = field(repr=False)


def read_basic(token: str) -> SignIn | str:
    """The name and the password, or what is wrong with the form; the text quotes nothing."""
    if len(token) > MAX_BASIC_SIZE:
        return "the credentials are too long"
    try:
        raw = base64.b64decode(token, validate=True)
    except (binascii.Error, ValueError):
        return "the credentials are not base64"
    if base64.b64encode(raw).decode() != token:
        return "the credentials have spare bits set"
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return "the credentials are not UTF-8"
    username, colon, password = text.partition(":")
    if not colon:
        return "the credentials have no colon between name and password"
    if not username or not password:
        return "the name or the password is empty"
    if _CONTROL.search(text):
        return "the credentials hold a control character"
    if len(username.encode()) > MAX_USERNAME or len(password.encode()) > MAX_PASSWORD:
        return "the name or the password is too long"
    return SignIn(username, password)
