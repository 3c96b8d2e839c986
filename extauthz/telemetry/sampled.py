"""Whether the parent of a Check may be sampled: a look at the RPC's metadata, where ``parent`` reads them.

Most Checks of a mesh come below a span that nobody records, and that can be seen at the end of one value.
"""

from collections.abc import Sequence
from typing import Final

__all__ = ["PARENT_HEADERS", "may_be_sampled"]

PARENT_HEADERS: Final = ("traceparent", "tracestate", "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-sampled", "x-b3-flags")
"""The metadata that say anything."""

_DECIDING: Final = frozenset(PARENT_HEADERS) - {"traceparent", "tracestate"}
_UNSAMPLED: Final = "-00"
"""How nearly all ``traceparent`` values end: no flag is set, and nothing of a later version follows."""
_LENGTH: Final = 55


def may_be_sampled(metadata: Sequence[tuple[str, str | bytes]]) -> bool:
    """Whether ``find_parent`` could find a parent that is sampled, or leaves that to us: a look, no reading."""
    for key, text in metadata:
        if key == "traceparent":
            if len(text) != _LENGTH or text[-3:] != _UNSAMPLED:
                return True
        elif key in _DECIDING:
            return True
    return False
