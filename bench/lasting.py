"""What stays: the start, the memory at rest, and the memory after a million Checks.

    python -m bench.lasting             about three minutes

The start and the memory at rest are those of `extauthz serve` as people run it, with one policy and one provider: from the
start of the process to the first answer of a Check. The growth is that of the handler in a fresh process, over 1,000,000
Checks with 100,000 distinct tokens and 1,000 paths, counted from where all tokens were seen once.
"""

import asyncio
import contextlib
import gc
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc

from bench.identity import CALL, check, handler_of, jwt_provider
from bench.load import median, progress, resident
from bench.memory import hs256
from bench.memory import resident as own
from bench.report import promised
from extauthz.identity import SecretFile
from extauthz.serving import CHECK_METHOD
from mesh.address import free_addresses

TOKENS = 100_000
CHECKS = 1_000_000
STARTS = 3
SECRET = bytes(range(1, 41))
START, REST, GROWTH = "start to the first answer", "memory at rest", f"growth by {CHECKS:,} Checks"
PROMISED = {START: (1.5, "s"), REST: (120.0, "MB"), GROWTH: (5.0, "%")}

CONFIG = """
listen: {{check: {{address: "{check}"}}, admin: {{address: "{admin}"}}}}
check: {{drainDelay: 0s}}
providers:
- name: corporate
  jwt: {{issuer: "https://login.example.com/", audiences: [orders], secretFile: secret, algorithms: [HS256]}}
policies: {{files: [policies]}}
"""
POLICY = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: orders}
spec:
  rules: [{role: user, to: [{methods: [GET], paths: ["/orders/{id}"]}]}]
"""


async def start(folder: Path) -> tuple[float, float]:
    """Seconds from the start of a server to its first answer, and the megabytes that it then holds."""
    checks, admin = free_addresses(0, 0)
    file = folder / "extauthz.yaml"
    await asyncio.to_thread(file.write_text, CONFIG.format(check=checks, admin=admin))
    message = check(hs256(0, SECRET))
    began = time.monotonic()
    command = [sys.executable, "-m", "extauthz", "serve", "--config", str(file)]
    process = await asyncio.create_subprocess_exec(*command, stderr=subprocess.DEVNULL)
    try:
        options = [("grpc.initial_reconnect_backoff_ms", 20), ("grpc.max_reconnect_backoff_ms", 20)]
        async with grpc.aio.insecure_channel(checks, options) as channel:
            ask: Any = channel.unary_unary(CHECK_METHOD)
            await ask(message, timeout=10, wait_for_ready=True)
            seconds = time.monotonic() - began
            await asyncio.sleep(1)
            return seconds, resident(process.pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def lasting(folder: Path) -> tuple[float, float]:
    """The megabytes after each token was seen, and a million Checks later, without the messages themselves."""
    handler = handler_of(jwt_provider(SecretFile(str(folder / "secret"))))
    empty = own()
    messages = [check(hs256(number, SECRET)) for number in range(TOKENS)]
    theirs = own() - empty
    for message in messages:
        handler(message, CALL)
    gc.collect()
    before = own() - theirs
    for number in range(CHECKS):
        message = messages[number * 7919 % TOKENS]
        handler(message.replace(b"/orders/4711", b"/orders/%04d" % (number % 1000)), CALL)
        if number % 20_000 == 0:
            progress(f"{number:,} of {CHECKS:,} Checks")
    progress()
    gc.collect()
    return before, own() - theirs


def main() -> int:
    """Print the figures; 1 if a promise is broken."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "secret").write_bytes(SECRET)
        (folder / "policies").mkdir()
        (folder / "policies" / "orders.yaml").write_text(POLICY)
        starts = [asyncio.run(start(folder)) for _ in range(STARTS)]
        before, after = lasting(folder)
    found = {
        START: median([seconds for seconds, _ in starts]),
        REST: median([megabytes for _, megabytes in starts]),
        GROWTH: (after - before) / before * 100,
    }
    print(f"{START:<36}{found[START]:>8.2f} s")
    print(f"{REST:<36}{found[REST]:>8.1f} MB")
    print(f"{f'memory, {TOKENS:,} tokens seen':<36}{before:>8.1f} MB")
    print(f"{f'{CHECKS:,} Checks later':<36}{after:>8.1f} MB    {found[GROWTH]:+.1f} %")
    kept = [promised(name, found[name], bound, unit=unit) for name, (bound, unit) in PROMISED.items()]
    return int(not all(kept))


if __name__ == "__main__":
    sys.exit(main())
