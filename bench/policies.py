"""What many policies cost: CPU of a decision among 10, 1,000 and 10,000 rules, loading, memory, and Checks during a reload.

    python -m bench.policies            a minute and a half; exit code 1 if a promise is broken
    make bench

A decision is ``select`` and ``decide`` of one request whose caller is known, without transport and token. The sizes of one
shape take turns in rounds of the same run, and ``times`` is the median of the rounds' ratios with the spread of the middle
half: ratios of CPU time travel between machines and hardly know how busy one is; microseconds do. The promise is that a
decision among 10,000 rules costs at most 1.3 times one among 10.

Loading is measured from texts to the snapshot, parsing included, as the server does it; memory and the waits of Checks in fresh processes
(``bench.reloading``).
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from bench.policy_shapes import SETTINGS, SHAPES, Shape, Specs, snapshot, texts
from bench.report import promised
from extauthz.policy import load
from extauthz.serving.heap import unobtrusive

SIZES = (10, 1_000, 10_000)
ROUNDS = 7
ROUND_SECONDS = 0.004
"""CPU time of one size in one round."""
PROMISED_TIMES = 1.3
PROMISED_LOAD = 5.0
PROMISED_WAIT = 0.020


def asked_again(shape: Shape, rules: int) -> Callable[[], object]:
    """One decision of a shape, checked once."""
    policies, asked = snapshot(shape, rules), shape.asked(rules)
    request, caller = asked.request, asked.caller

    def decision() -> object:
        return policies.decide(request, policies.select(request), caller)

    found = policies.decide(request, policies.select(request), caller)
    if found.reason.word != asked.reason:
        raise SystemExit(f"{shape.name}: {found} and not {asked.reason}")
    return decision


def measured(run: Callable[[], object], times: int) -> float:
    """Microseconds of CPU of one call."""
    began = time.process_time()
    for _ in range(times):
        run()
    return (time.process_time() - began) / times * 1e6


def ratios(shape: Shape) -> tuple[list[float], dict[int, list[float]]]:
    """Microseconds by size, the best rounds, and the ratios to the smallest size of each round."""
    runs = {size: asked_again(shape, size) for size in SIZES}
    times = max(int(ROUND_SECONDS / (measured(runs[SIZES[0]], 200) / 1e6)), 1)
    rounds = [[measured(run, times) for run in runs.values()] for _ in range(ROUNDS)]
    best = [min(column) for column in zip(*rounds, strict=True)]
    return best, {size: [row[n] / row[0] for row in rounds] for n, size in enumerate(SIZES)}


def decisions() -> bool:
    """Print the table of decisions; whether the promise holds."""
    print(
        f"{'CPU of one decision among':<28}" + "".join(f"{size:>9,}" for size in SIZES) + f"{'times':>9}   middle half"
    )
    kept = True
    title = ""
    for shape in SHAPES:
        # A name that is indented is that of another request to the policies before it.
        title = f"{title.partition(':')[0]}: {shape.name.strip()}" if shape.name.startswith(" ") else shape.name
        best, by_size = ratios(shape)
        low, middle, high = statistics.quantiles(by_size[SIZES[-1]], n=4)
        over = not promised(f"decision among 10,000 rules to 10, {title}", middle, PROMISED_TIMES)
        kept = kept and not over
        figures = "".join(f"{figure:>9.1f}" for figure in best)
        print(
            f"{shape.name:<28}{figures}{middle:>9.2f}   {low:.2f} to {high:.2f}{'   over' if over else ''}", flush=True
        )
    return kept


def some_rules(count: int, *, conditions: bool) -> Specs:
    """Policies of ten rules each, all conditions different."""
    for policy in range(count // 10):
        rules = [
            {
                "roles": ["user", f"r{number}"],
                "to": [
                    {"methods": ["GET", "HEAD"], "paths": [f"/s{policy}/{number}/{{id}}", f"/t{policy}/{number}/**"]}
                ],
                **({"when": f'has(claims.tenant) && claims.tenant == "t{policy}-{number}"'} if conditions else {}),
            }
            for number in range(10)
        ]
        yield f"p{policy}", {"targets": [{"hosts": [f"s{policy}.example.com"]}], "rules": rules}


def loading() -> bool:
    """Print the table of loading; whether the promise holds."""
    print(f"\n{'CPU seconds of loading':<28}{1_000:>9,}{10_000:>9,}{'times':>9}")
    kept = True
    for name, conditions in (("rules", False), ("rules with conditions", True)):
        figures = []
        for count in SIZES[1:]:
            written = texts(some_rules(count, conditions=conditions), in_files=10)
            began = time.process_time()
            with unobtrusive():
                load(written, SETTINGS, 1)
            figures.append(time.process_time() - began)
        over = not promised(f"loading 10,000 {name}", figures[1], PROMISED_LOAD, unit="s")
        kept = kept and not over
        print(
            f"{name:<28}{figures[0]:>9.2f}{figures[1]:>9.2f}{figures[1] / figures[0]:>9.1f}{'   over' if over else ''}"
        )
    return kept


def fresh(*arguments: str) -> dict[str, float]:
    """What ``bench.reloading`` measures in a process of its own."""
    run = subprocess.run([sys.executable, "-m", "bench.reloading", *arguments], capture_output=True, check=True)
    found: dict[str, float] = json.loads(run.stdout)
    return found


def main() -> int:
    """Print the tables; 1 if a promise is broken."""
    began = time.monotonic()
    kept = decisions()
    kept = loading() and kept
    for name, conditions in (("10,000 rules", "plain"), ("10,000 with conditions", "conditions")):
        found = fresh("memory", conditions)
        print(f"\n{name:<28}{found['MB']:>9.1f} MB of memory, {found['MB'] * 1e6 / 10_000:,.0f} bytes a rule", end="")
    print(f"\n\n{'wait of a Check, ms':<28}{'median':>9}{'99.9 %':>9}{'longest':>9}")
    found = fresh("waits")
    for name in ("undisturbed", "during a reload"):
        print(
            f"{name:<28}" + "".join(f"{found[f'{name} {what}'] * 1e3:>9.2f}" for what in ("median", "p999", "longest"))
        )
    print(f"{'':<28}(of {found['reloads']:.0f} reloads of 10,000 rules with conditions, the median of each figure)")
    added = found["during a reload longest"] - found["undisturbed longest"]
    print(
        f"a reload of 10,000 rules adds at most {added * 1e3:.1f} ms to a Check (promised: {PROMISED_WAIT * 1e3:.0f})"
    )
    print(f"{sys.version.split()[0]} on {os.cpu_count()} cores, {time.monotonic() - began:.0f} s")
    quick = promised("what a reload of 10,000 rules adds to a Check", added * 1e3, PROMISED_WAIT * 1e3, unit="ms")
    return int(not kept or not quick)


if __name__ == "__main__":
    sys.exit(main())
