"""Tags of protobuf's wire format: with what a field of a message begins, asked of the generated messages.

A field is a tag, which is the field's number and the kind of what follows, then a length and the content, or a number
(protobuf.dev/programming-guides/encoding).
"""

from typing import Any, Final

__all__ = ["LENGTH_DELIMITED", "VARINT", "tag_of", "varint"]

VARINT: Final = 0
LENGTH_DELIMITED: Final = 2

_SEVEN_BITS: Final = 0x7F
_MORE: Final = 0x80


def varint(number: int) -> bytes:
    """A number: seven bits a byte, the lowest first."""
    written = bytearray()
    while number > _SEVEN_BITS:
        written.append(number & _SEVEN_BITS | _MORE)
        number >>= 7
    written.append(number)
    return bytes(written)


def tag_of(message: Any, field: str, kind: int = LENGTH_DELIMITED) -> bytes:
    """The tag of a message's field."""
    return varint(message.DESCRIPTOR.fields_by_name[field].number << 3 | kind)
