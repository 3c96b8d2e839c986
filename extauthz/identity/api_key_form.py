"""What an API key looks like: ``eak_7Ht2kQ9xWbLm_`` and 49 more letters and digits.

The first two parts, prefix and number, are the key's id. They are no secret: the id finds the key's record in one step, is
what lists and logs show, and lets the owner of a leaked key be found. The last part is the secret, 256 random bits in
base62, and six characters of checksum. The prefix and the checksum are there for scanners that look for leaked keys in
repositories and logs: what has the form is a key, with no doubt and no question asked of a server. The checksum proves
nothing else, anybody can compute it.

Letters and digits only, besides the underscore, so that a double click selects all of a key, and no shell, URL, header
or YAML file needs quotes around it.
"""

import re
import zlib
from collections.abc import Callable

__all__ = ["KEY_ID", "key_id_of", "new_key"]

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_NUMBER_SIZE = 12
_SECRET_SIZE = 43
"""62 ** 43 is just over 2 ** 256."""
_CHECKSUM_SIZE = 6

KEY_ID = re.compile(rf"[a-z][a-z0-9]{{1,14}}_[0-9A-Za-z]{{{_NUMBER_SIZE}}}")
"""The form of an id, with any prefix."""
_KEY = re.compile(rf"({KEY_ID.pattern})_[0-9A-Za-z]{{{_SECRET_SIZE + _CHECKSUM_SIZE}}}")


def new_key(prefix: str, random_bytes: Callable[[int], bytes]) -> str:
    """A new key. ``random_bytes`` must be fit for secrets: ``secrets.token_bytes``."""
    number = _base62(int.from_bytes(random_bytes(16)), _NUMBER_SIZE)
    body = f"{prefix}{number}_{_base62(int.from_bytes(random_bytes(32)), _SECRET_SIZE)}"
    return body + _checksum(body)


def key_id_of(key: str) -> str | None:
    """The id of a key; None if the text is no key, or one that was cut or mistyped."""
    match = _KEY.fullmatch(key)
    if match is None or _checksum(key[:-_CHECKSUM_SIZE]) != key[-_CHECKSUM_SIZE:]:
        return None
    return match[1]


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode("ascii")), _CHECKSUM_SIZE)


def _base62(number: int, size: int) -> str:
    """The last digits of a number."""
    digits = ""
    for _ in range(size):
        number, digit = divmod(number, 62)
        digits = _BASE62[digit] + digits
    return digits
