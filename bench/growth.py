"""What a warm Check costs among many: tokens that are remembered, and connections that are open.

    python -m bench.growth              a minute; needs h2load

Tokens are asked in an order that no cache of the processor can foresee, in this process without a transport; connections
are those of the native transport, with the same number of Checks under way. Sizes take turns in rounds, and ``times`` is the
median of the rounds' ratios to the smallest. How decisions grow with rules is in ``bench.policies``.
"""

import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.identity import CALL, check, handler_of, jwt_provider
from bench.load import CHECK_METHOD, Load, h2load, median, require, served, spread
from bench.memory import hs256
from bench.report import aimed
from extauthz.identity import SecretFile

TOKENS = (1, 1_000, 10_000, 100_000)
CONNECTIONS = (1, 10, 100, 1_000)
UNDER_WAY = 64
ROUNDS = 5
CONNECTED_ROUNDS = 3
CHECKS = 4_000
SECRET = bytes(range(1, 41))
AIM = 1.5


def tokens() -> dict[int, list[float]]:
    """Microseconds of CPU of a Check, by the number of tokens that are remembered, in each round."""
    chance = random.Random(1)  # noqa: S311 - an order, no secret
    with tempfile.TemporaryDirectory() as folder:
        secret = Path(folder) / "secret"
        secret.write_bytes(SECRET)
        messages = [check(hs256(number, SECRET)) for number in range(max(TOKENS))]
        handlers: dict[int, Any] = {}
        for size in TOKENS:
            handlers[size] = handler_of(jwt_provider(SecretFile(str(secret))))
            for message in messages[:size]:
                handlers[size](message, CALL)
        found: dict[int, list[float]] = {size: [] for size in TOKENS}
        for _ in range(ROUNDS):
            for size, handler in handlers.items():
                chosen = [messages[chance.randrange(size)] for _ in range(CHECKS)]
                began = time.process_time()
                for message in chosen:
                    handler(message, CALL)
                found[size].append((time.process_time() - began) / CHECKS * 1e6)
    return found


def connections() -> dict[int, list[float]]:
    """The same by the number of connections."""
    found: dict[int, list[float]] = {size: [] for size in CONNECTIONS}
    for _ in range(CONNECTED_ROUNDS):
        for size in CONNECTIONS:
            load = Load(max(10_000, 10 * size), connections=size, at_a_time=max(1, UNDER_WAY // size))
            with served("native", "warm") as server:
                h2load(server.address, CHECK_METHOD, load, message=server.message)
                before = server.cpu
                measure = h2load(server.address, CHECK_METHOD, load, message=server.message)
                found[size].append((server.cpu - before) / measure.done * 1e6)
                if measure.failed:
                    print(f"{measure.failed} Checks failed at {size:,} connections")
    return found


def table(title: str, found: dict[int, list[float]]) -> None:
    """Print one."""
    print(f"\n{title:<28}{'CPU us':>8}{'times':>8}{'spread':>16}")
    smallest = found[min(found)]
    for size, figures in found.items():
        times = [one / other for one, other in zip(figures, smallest, strict=True)]
        print(f"{size:>20,}{'':<8}{median(figures):>8.1f}{median(times):>8.2f}{spread(times):>16}")
    largest = [one / other for one, other in zip(found[max(found)], smallest, strict=True)]
    aimed(f"CPU of a warm Check, {max(found):,} {title} to {min(found)}", median(largest), AIM)


def main() -> int:
    """Print the tables."""
    require()
    table("tokens remembered", tokens())
    table("connections open", connections())
    return 0


if __name__ == "__main__":
    sys.exit(main())
