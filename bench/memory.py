"""The memory that remembered tokens take, in a process of its own: ``bench.identity`` starts it and reads its JSON."""

import base64
import hashlib
import hmac
import json
import os
import sys
import tempfile
from pathlib import Path

from bench.identity import CALL, REMEMBERED, check, claims, empty_handler, handler_of, jwt_provider
from extauthz.identity import SecretFile


def hs256(number: int, secret: bytes) -> str:
    """A token of 1 kB, signed in the cheapest way: what is remembered of it is the same."""

    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    header = b'{"alg":"HS256","typ":"JWT"}'
    message = f"{part(header)}.{part(json.dumps(claims(number, padding=318)).encode())}"
    return f"{message}.{part(hmac.digest(secret, message.encode(), hashlib.sha256))}"


def resident() -> float:
    """Megabytes of memory that this process holds (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def memory() -> dict[str, float]:
    """What remembering tokens takes: to be run in a fresh process."""
    secret = bytes(range(1, 41))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "secret"
        file.write_bytes(secret)
        handler = handler_of(jwt_provider(SecretFile(str(file))))
        size = len(hs256(0, secret))
        for run in (empty_handler, handler):
            for _ in range(500):
                run(check(hs256(0, secret)), CALL)
        empty = resident()
        for number in range(REMEMBERED):
            empty_handler(check(hs256(number, secret)), CALL)
        base = resident()
        for number in range(REMEMBERED):
            handler(check(hs256(number, secret)), CALL)
        return {"token bytes": size, "empty handler": base - empty, "growth": resident() - base, "before": base}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(memory()))
