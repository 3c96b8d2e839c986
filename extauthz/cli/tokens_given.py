"""A token that is given to a command: never on the command line, where every user of the machine and the history of the
shell would have it.
"""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from extauthz.errors import ExtAuthzError

__all__ = ["TokenFile", "given_token"]

_MOST = 65_536

TokenFile = Annotated[
    str,
    Parameter(
        help="A file with the token; - is standard input.",
        allow_leading_hyphen=True,  # for -
    ),
]


def given_token(file: str) -> str:
    """The token in a file or on standard input, without what surrounds it in a header.

    Raises:
        ExtAuthzError: There is none.
    """
    if file.startswith("ey") and file.count(".") >= 2:  # noqa: PLR2004 - two dots are what a token has
        # Not repeated: it would be once more where it should not be.
        raise ExtAuthzError("this is a token and not a file: write it to standard input, and - here")
    if file == "-" and sys.stdin.isatty():
        sys.stderr.write("paste the token, and end with Ctrl-D\n")
    try:
        raw = sys.stdin.buffer.read(_MOST + 1) if file == "-" else _read(file)
    except OSError as error:
        raise ExtAuthzError(f"{file} can't be read: {error.strerror}") from None
    name = "standard input" if file == "-" else file
    try:
        text = raw.decode("ascii").strip()
    except UnicodeDecodeError:
        raise ExtAuthzError(f"{name} holds no token: not ASCII text") from None
    _, colon, value = text.partition(":")
    text = value.strip() if colon and text.lower().startswith("authorization") else text
    scheme, space, rest = text.partition(" ")
    text = rest.strip() if space and scheme.lower() == "bearer" else text
    if not text or len(raw) > _MOST or any(character.isspace() for character in text):
        raise ExtAuthzError(f"{name} does not hold one token")
    return text


def _read(file: str) -> bytes:
    with Path(file).open("rb") as opened:
        return opened.read(_MOST + 1)
