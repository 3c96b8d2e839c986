"""Where each microsecond of a warm Check goes: what each stage adds to those before it.

    python -m bench.stages              ten seconds; after `make compiled` those of machine code

The stages run on a fresh message each time, one more of them in each row, so that each is measured behind those that come
before it: alone and in a loop a stage looks a third cheaper than it is among the others. CPU time of the process, the best
of several rounds, without the transport (`python -m bench.transports` has that).
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import jwt

from bench.identity import CALL, check, claims, empty_handler, handler_of, jwt_provider, key_set, signers
from extauthz.check import RequestRules, canonical_request
from extauthz.identity import InlineKeys
from extauthz.model import Request
from extauthz.wire import decode
from extauthz.wire.usual import COMPILED

ROUNDS = 15
MESSAGES = 200
TIMES = 5


def best(work: Callable[[bytes], Any], messages: list[bytes]) -> float:
    """Microseconds of CPU for one message; the best round."""
    found = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(TIMES):
            for message in messages:
                work(message)
        found = min(found, time.process_time() - began)
    return found / TIMES / len(messages) * 1e6


def main() -> int:
    """Print the table."""
    keys = {"RS256": signers()["RS256"]}
    messages = [
        check(jwt.encode(claims(number), keys["RS256"], algorithm="RS256", headers={"kid": "RS256"}))
        for number in range(MESSAGES)
    ]
    handler: Any = handler_of(jwt_provider(InlineKeys(key_set(keys))))
    for message in messages:
        handler(message, CALL)
    checks, encoder = handler._check, handler._encoder  # noqa: SLF001 - its stages are what is asked for
    snapshot, authenticator, rules = checks.snapshot, checks.authenticator, RequestRules()

    def canonical(message: bytes) -> Request:
        request = canonical_request(decode(message), rules, snapshot.twins)
        if not isinstance(request, Request):
            raise SystemExit("a request that should be canonical is not")
        return request

    def identified(message: bytes) -> Any:
        request = canonical(message)
        return authenticator.authenticate(request, providers=snapshot.select(request).providers)

    def judged(message: bytes) -> Any:
        request = canonical(message)
        selection = snapshot.select(request)
        found = authenticator.authenticate(request, providers=selection.providers)
        return snapshot.decide(request, selection, found, None)

    def decided(message: bytes) -> Any:
        return checks.decide(decode(message))

    rows: list[tuple[str, Callable[[bytes], Any]]] = [
        ("bytes to attributes (wire)", decode),
        ("canonical request (check, canonical)", canonical),
        ("who is asking (identity)", identified),
        ("what they may do (policy)", judged),
        ("the decision around it (check)", decided),
        ("attributes to bytes (wire)", lambda message: encoder.encode(decided(message))),
        ("deadline, metrics (serving, telemetry)", lambda message: handler(message, CALL)),
    ]
    title = "a warm Check, without transport" + (", compiled" if COMPILED else "")
    print(f"{title:<42}{'adds us':>8}{'so far':>8}")
    before = 0.0
    for name, work in rows:
        reached = best(work, messages)
        print(f"{name:<42}{max(reached - before, 0):>8.1f}{reached:>8.1f}")
        before = reached
    print(
        f"{'for comparison: parse, and write an allow':<42}{'':>8}{best(lambda message: empty_handler(message, CALL), messages):>8.1f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
