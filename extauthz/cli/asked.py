"""A request that is given on a command line, as the proxy would send it."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from extauthz.errors import ExtAuthzError

if TYPE_CHECKING:
    from extauthz.model import AttributeContext
    from extauthz.workbench.explain import Connection

__all__ = ["AskedCheck", "AskedHeaders", "AskedWords", "request_of"]

AskedWords = Annotated[str, Parameter(help="The request: METHOD URL, or a URL alone for a GET.")]
AskedHeaders = Annotated[
    list[str] | None, Parameter(name=("--header", "-H"), negative="", help="A header of it, `name: value`.")
]
AskedCheck = Annotated[
    str | None,
    Parameter(
        help="The request as a CheckRequest in a file, binary or JSON; - is standard input.",
        allow_leading_hyphen=True,  # for -
    ),
]


def request_of(
    connection: "Connection", words: Sequence[str], headers: Sequence[str], curl: str | None, check: str | None
) -> "AttributeContext":
    """The request of METHOD URL with ``-H`` headers, of a curl line, or of a CheckRequest in a file.

    Raises:
        ExtAuthzError: It can't be read, or headers are given where they have no place.

    """
    from extauthz.workbench.explain import request_of_curl, request_of_words

    if headers and not words:
        raise ExtAuthzError("-H goes with METHOD URL; write the header into the curl line or the CheckRequest")
    if curl:
        return request_of_curl(curl, connection, now=time.time())
    return _check_request(check) if check else request_of_words(words, headers, connection, now=time.time())


def _check_request(file: str) -> "AttributeContext":
    """A CheckRequest from a file: JSON if it begins like it."""
    from extauthz.wire import decode, decode_json

    try:
        message = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise ExtAuthzError(f"{file} can't be read: {error.strerror}") from None
    as_json = message.lstrip()[:1] == b"{"
    sent = decode_json(message) if as_json else decode(message)
    if sent.fault and sent.http is None:
        raise ExtAuthzError(f"{'standard input' if file == '-' else file} can't be used: {sent.fault}")
    return sent
