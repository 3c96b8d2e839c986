"""Many processes that make a key at once: they are all there before the first one begins. Prints what came of each."""

import asyncio
import os
import sys

from extauthz.errors import AlreadyRotatedError
from extauthz.tokens.key_files import FileKeyBackend


def main(folder: str, newest: str | None, count: int) -> None:
    """Race them."""
    gate, open_gate = os.pipe()
    children = []
    for _ in range(count):
        child = os.fork()
        if not child:
            os.close(open_gate)
            os.read(gate, 1)  # ends when the parent closes its side
            os.write(1, run(folder, newest))
            os._exit(0)
        children.append(child)
    os.close(open_gate)
    for child in children:
        os.waitpid(child, 0)


def run(folder: str, newest: str | None) -> bytes:
    """One of them."""
    try:
        asyncio.run(FileKeyBackend(folder).add("ES256", newest=newest, created=1_800_000_000.0))
    except AlreadyRotatedError:
        return b"late\n"
    return b"added\n"


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] or None, int(sys.argv[3]))
