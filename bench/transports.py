"""What a Check costs with its transport: CPU of the server for each, by transport and by kind of Check.

    python -m bench.transports          about two minutes; needs h2load

Rows take turns in rounds, so that other work on the machine meets all of them; figures are medians, ``times`` is the ratio
to the empty handler on grpcio in the same round, ``own`` to the empty handler on the same transport. The generator runs
on the machine as well and takes a core, so requests a second are those of a server that shares.
"""

import sys
import time

from bench.load import CHECK_METHOD, Load, Measure, h2load, median, progress, require, served, spread
from bench.report import aimed

ROUNDS = 3
LOADS = {"native": Load(20_000), "grpcio": Load(6_000)}
WARM_UP = Load(1_500)
TITLES = {
    "constant": "empty handler",
    "warm": "warm JWT + role policy",
    "cel": "warm JWT + CEL",
    "observed": "warm JWT, traced and logged",
    "first": "first-seen RS256",
    "denied": "denied, no token",
}
UNSAMPLED = ("traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",)
"""What Envoy's tracer sends with a request that it does not sample, whoever is asked."""
OBSERVED = 1.10
AIMS = {("native", "warm"): (0.20, 1.8), ("grpcio", "warm"): (1.25, 1.25)}


def run() -> dict[tuple[str, str], list[tuple[float, Measure]]]:
    """The CPU microseconds of each Check and the measure, by row and round."""
    found: dict[tuple[str, str], list[tuple[float, Measure]]] = {}
    for number in range(ROUNDS):
        for transport, load in LOADS.items():
            for kind in TITLES:
                progress(f"round {number + 1} of {ROUNDS}: {transport} {kind}")
                with served(transport, kind) as server:
                    h2load(server.address, CHECK_METHOD, WARM_UP, message=server.message, headers=UNSAMPLED)
                    before = server.cpu
                    measure = h2load(server.address, CHECK_METHOD, load, message=server.message, headers=UNSAMPLED)
                    cpu = (server.cpu - before) / measure.done * 1e6
                found.setdefault((transport, kind), []).append((cpu, measure))
    progress()
    return found


def main() -> int:
    """Print the table."""
    require()
    began = time.monotonic()
    found = run()
    base = [cpu for cpu, _ in found["grpcio", "constant"]]
    print(
        f"{'a Check':<10}{'':<26}{'CPU us':>8}{'times':>7}{'own':>6}{'spread':>15}{'1/s':>9}{'p50':>7}{'p99':>7}{'p99.9':>7} ms"
    )
    for (transport, kind), runs in found.items():
        cpus = [cpu for cpu, _ in runs]
        own = [cpu for cpu, _ in found[transport, "constant"]]
        times = [cpu / other for cpu, other in zip(cpus, base, strict=True)]
        owns = [cpu / other for cpu, other in zip(cpus, own, strict=True)]
        latency = [median([getattr(one, name) for _, one in runs]) for name in ("p50", "p99", "p999")]
        rate = median([one.per_second for _, one in runs])
        told = "".join(f"{value:>7.1f}" for value in latency)
        print(
            f"{transport:<10}{TITLES[kind]:<26}{median(cpus):>8.1f}{median(times):>7.2f}{median(owns):>6.2f}"
            f"{spread(times):>15}{rate:>9,.0f}{told}"
        )
        if any(one.failed for _, one in runs):
            print(f"  {sum(one.failed for _, one in runs)} failed")
    for (transport, kind), (bound, own_bound) in AIMS.items():
        costs = [cpu for cpu, _ in found[transport, kind]]
        ratio = median([cost / other for cost, other in zip(costs, base, strict=True)])
        mine = median([cost / other for cost, (other, _) in zip(costs, found[transport, "constant"], strict=True)])
        aimed(f"CPU, {TITLES[kind]} on {transport}, to grpcio's empty handler", ratio, bound)
        if transport != "grpcio":
            aimed(f"CPU, {TITLES[kind]} on {transport}, to its own empty handler", mine, own_bound)
    seen = [
        one / other for (one, _), (other, _) in zip(found["native", "observed"], found["native", "warm"], strict=True)
    ]
    aimed("CPU, warm JWT, traced and logged, to one that is not", median(seen), OBSERVED)
    print(f"{sys.version.split()[0]}, {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
