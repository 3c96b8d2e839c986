"""Three times more Checks than can be answered, sent by the clock: how many right answers still come in time.

    python -m bench.overload            half a minute; needs h2load

First what the server answers as fast as it can is measured, then three times as many are due each second, each with the
deadline that Envoy would give it. A Check whose turn comes too late is answered ``overloaded`` at a fraction of the cost:
what counts is how many others are allowed, and come within the deadline.
"""

import sys

from bench.load import CHECK_METHOD, Load, h2load, median, require, served, spread
from bench.report import aimed

ROUNDS = 2
DEADLINE = 0.25
SECONDS = 3
TIMES = 3
CONNECTIONS, AT_A_TIME = 40, 64
AIM = 0.9


def main() -> int:
    """Print the table."""
    require()
    print(
        f"{'right answers a second':<34}{'at capacity':>12}{f'{TIMES} times it':>12}{'share':>8}{'p50':>8}{'p99':>8} ms"
    )
    for transport in ("native", "grpcio"):
        shares, rows = [], []
        for _ in range(ROUNDS):
            with served(transport, "counted") as server:
                calm = Load(3_000, connections=CONNECTIONS, at_a_time=4)
                h2load(server.address, CHECK_METHOD, calm, message=server.message)
                full = h2load(server.address, CHECK_METHOD, Load(12_000, CONNECTIONS, 4), message=server.message)
                due = full.per_second * TIMES
                before = server.allowed
                flood = Load(int(due * SECONDS), CONNECTIONS, AT_A_TIME, due)
                seen = h2load(server.address, CHECK_METHOD, flood, message=server.message, deadline=DEADLINE)
                took = seen.done / seen.per_second
                right = (server.allowed - before) / took
            shares.append(right / full.per_second)
            rows.append((full.per_second, right, seen.p50, seen.p99))
        calm_rate, right, p50, p99 = (median(column) for column in zip(*rows, strict=True))
        print(
            f"{transport:<34}{calm_rate:>12,.0f}{right:>12,.0f}{median(shares):>8.2f}{p50:>8.0f}{p99:>8.0f}   {spread(shares)}"
        )
        aimed(f"right answers at {TIMES} times capacity, {transport}", median(shares), AIM, at_least=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
