"""A server of the benchmarks in a process of its own: one transport, one kind of Check. Started by ``bench.load``.

    python -m bench.served TRANSPORT KIND ADDRESS FOLDER

Writes the Check that it expects, its token and its key set to files of the folder. Says its address when it serves, and
whenever it gets a line the CPU seconds and the number of Checks that it allowed. ``KIND`` is

- ``constant``: the least that an authorizer can do: parse the CheckRequest and write an allow with two headers;
- ``warm``: a token that was seen before, and a policy with roles;
- ``cel``: the same, with a condition over a claim and the headers;
- ``first``: a token that is verified each time (RS256), as nothing is remembered;
- ``denied``: no token at all;
- ``rated``: as ``warm``, with a rate that is counted in memory;
- ``observed``: as ``warm``, with traces on and a decision log of one in ten allows; asked with a parent that is not sampled;
- ``counted``: as ``warm``, and counts what it allowed.
"""

import asyncio
import gc
import itertools
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import jwt

from bench.identity import CALL, Endpoint, check, claims, empty_handler, jwt_provider, key_set, signers
from extauthz.app.observation import PhaseWatch
from extauthz.check import Check, RequestRules
from extauthz.identity import Authenticator, CacheLimits, InlineKeys
from extauthz.limits import MemoryLimiter
from extauthz.policy import PolicySettings, PolicyText, load
from extauthz.serving import CheckHandler, GrpcOptions, Listener, check_server, parse_address
from extauthz.serving.health import Health
from extauthz.telemetry import DecisionSettings, Metrics, TraceSettings, open_telemetry
from extauthz.wire import INTERNAL_ERROR_ANSWER, Encoder

ALLOWED = b"\x0a\x00"
"""How an allow begins: with a status that is empty (field 1, no bytes)."""

_POLICY = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {{name: orders}}
spec:
  rules:
  - {{role: user, {rate}to: [{{methods: [GET], paths: ["/orders/{{id}}"]}}]{when}}}
  response:
    headers: {{x-auth-subject: identity.subject, x-auth-roles: identity.roles}}
"""
_WHEN = """, when: 'claims.tenant == "north-west-retail" && request.headers["x-forwarded-proto"] == "https"'"""


def token() -> tuple[str, InlineKeys]:
    """A token of about 1 kB, and the keys that verify it."""
    keys = {"RS256": signers()["RS256"]}
    made = jwt.encode(claims(0), keys["RS256"], algorithm="RS256", headers={"kid": "RS256"})
    return made, InlineKeys(key_set(keys))


def handler_of(kind: str, keys: InlineKeys) -> Any:
    """The handler of a kind of Check, as the server builds it."""
    if kind == "constant":
        return empty_handler
    rate = "maxRequestsPerMinute: 1000000, " if kind == "rated" else ""
    policy = _POLICY.format(when=_WHEN if kind == "cel" else "", rate=rate)
    snapshot = load([PolicyText("bench", policy)], PolicySettings(providers=frozenset({"corporate"})), 1)
    numbers = itertools.count()
    remembered = CacheLimits(max_entries=0) if kind == "first" else CacheLimits()
    authenticator = Authenticator([jwt_provider(keys)], {}, fetcher=Endpoint(), now=time.time, token_cache=remembered)
    traces, decisions = TraceSettings("none"), DecisionSettings("none")
    if kind == "observed":
        traces, decisions = TraceSettings("otlp"), DecisionSettings(os.devnull, allow=0.1)
    telemetry = open_telemetry(traces, decisions, Metrics(), version="bench", now=time.time)
    limiter = MemoryLimiter(clock=time.monotonic)
    checks = Check(authenticator, snapshot, RequestRules(), limiter=limiter, new_id=lambda: f"{next(numbers):024x}")
    PhaseWatch(checks, authenticator, limiter, telemetry, None)
    return CheckHandler(checks, Encoder(), telemetry, deadline=1.0, max_in_flight=512, clock=time.monotonic)


class Counting:
    """A handler that counts what it allowed."""

    def __init__(self, handler: Any) -> None:
        """Begin with none."""
        self._handler = handler
        self.allowed = 0

    def __call__(self, message: bytes, call: Any) -> Any:
        """Answer, as it would."""
        answer = self._handler(message, call)
        # An allow has no status but 0, and its answer begins with that.
        self.allowed += isinstance(answer, bytes) and answer.startswith(ALLOWED)
        return answer


def main(transport: Any, kind: str, address: str, folder: str) -> None:
    """Write the Check, and serve it until standard input ends."""
    made, keys = token()
    message = check("" if kind == "denied" else made)
    Path(folder, "message").write_bytes(message)
    Path(folder, "token").write_text(made)
    Path(folder, "jwks").write_text(json.dumps(dict(keys.jwks)))
    handler = handler_of(kind, keys)
    asyncio.run(serve(transport, Counting(handler) if kind == "counted" else handler, address, message))


async def serve(transport: Any, handler: Any, address: str, message: bytes) -> None:
    """Serve until standard input ends."""
    answer = handler(message, CALL)
    if not isinstance(answer, bytes):
        await answer
    health = Health()
    server = check_server(
        transport, Listener(parse_address(address)), handler, INTERNAL_ERROR_ANSWER, health, options=GrpcOptions()
    )
    bound = server.bind("listen.check")
    await server.start()
    health.set(serving=True)
    gc.collect()
    gc.freeze()
    print(bound, flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(time.process_time(), getattr(handler, "allowed", 0), flush=True)
    await server.stop(0)


if __name__ == "__main__":
    main(*sys.argv[1:5])
