"""All benchmarks, one after the other, and what became of the promises in one table.

    python -m bench                     those of Checks; about ten minutes
    python -m bench all                 and those of the token service, two minutes more
    python -m bench stages transports   some of them
    python -m bench --output report.json

Each runs in a process of its own, so that none has to live with the heap of another. Exit code 1 if a promise is broken.

`make bench` runs this with a compiled copy of the package first on the path, as servers have it that are installed from
wheels or images. What a rate and many policies add is measured from the sources all the same: their promises are ratios to
a Check or a decision, and were made for the slower ones.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench.report import COLLECTED, collected
from extauthz.wire.usual import COMPILED

PARTS = {
    "stages": "where each microsecond of a warm Check goes",
    "transports": "CPU of a Check with its transport, by kind",
    "envoy": "what an authorizer costs a real Envoy",
    "growth": "CPU of a Check among many tokens and connections",
    "workers": "one process and two",
    "overload": "three times more than can be answered",
    "identity": "CPU of a Check by kind of credential, memory of tokens",
    "policies": "many policies: decisions, loading, memory, reload (from the sources)",
    "limits": "a charge among many callers, memory",
    "rates": "a Check with a rate: in memory, by Redis (from the sources)",
    "tokens_store": "the token service's records: rotate, revoke, poll, keep",
    "tokens": "tokens issued and refreshed, and Checks beside them",
    "revocations": "how long a revoked token lives at another replica",
    "signing": "CPU of a token's signature, by algorithm",
    "replay": "a decision log against other policies",
    "lasting": "start, memory at rest and after a million Checks",
}

TOKEN_SERVICE = frozenset(["tokens_store", "tokens", "revocations", "signing"])
FROM_SOURCES = frozenset(["policies", "rates"])


def main() -> int:
    """Run them."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure extauthz on this machine.")
    told = "\n".join(f"{name}: {what}" for name, what in PARTS.items())
    parser.add_argument("parts", nargs="*", choices=[*PARTS, "all", []], metavar="PART", help=f"which, or all: {told}")
    parser.add_argument("--output", type=Path, help="write the promises and aims to this file, as JSON")
    asked = parser.parse_args()
    began = time.monotonic()
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report"
        environment = {**os.environ, COLLECTED: str(file)}
        for name in _chosen(asked.parts):
            print(f"\n── {name}: {PARTS[name]}", flush=True)
            started = time.monotonic()
            chosen = _from_sources(environment) if name in FROM_SOURCES else environment
            run = subprocess.run([sys.executable, "-m", f"bench.{name}"], env=chosen, check=False)
            if run.returncode:
                failed.append(name)
            print(f"   {time.monotonic() - started:.0f} s", flush=True)
        verdicts = collected(file)
    form = "compiled" if COMPILED else "from sources"
    print(f"\n── promised and aimed at (Python {platform.python_version()}, {form}, {os.cpu_count()} cores)")
    for verdict in verdicts:
        print(verdict)
    print(f"{time.monotonic() - began:.0f} s" + (f"; failed: {', '.join(failed)}" if failed else ""))
    if asked.output:
        asked.output.write_text(json.dumps([asdict(one) | {"kept": one.kept} for one in verdicts], indent=2) + "\n")
    return 1 if failed else 0


def _chosen(parts: Sequence[str]) -> list[str]:
    """Those that are asked for; without any, those of Checks."""
    if "all" in parts:
        return [*PARTS]
    return [*parts] or [name for name in PARTS if name not in TOKEN_SERVICE]


def _from_sources(environment: dict[str, str]) -> dict[str, str]:
    """The same, without what puts the compiled copy first."""
    return {name: text for name, text in environment.items() if name not in {"PYTHONPATH", "PYTHONSAFEPATH"}}


if __name__ == "__main__":
    sys.exit(main())
