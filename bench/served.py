"""A server of the benchmarks in a process of its own: one transport, one kind of Check. Started by ``bench.load``.

    python -m bench.served TRANSPORT KIND ADDRESS MESSAGE

Writes the Check that it expects to the file ``MESSAGE``, framed as gRPC does, and its token and key set beside it. Says
its address when it serves, and its CPU seconds whenever it gets a line. ``KIND`` is

- ``constant``: the least that an authorizer can do: parse the CheckRequest and write an allow with two headers;
- ``warm``: a token that was seen before, and a policy with roles;
- ``cel``: the same, with a condition over a claim and the headers;
- ``first``: a token that is verified each time (RS256), as nothing is remembered;
- ``denied``: no token at all.
"""

import asyncio
import gc
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

import jwt

from bench.identity import CALL, Endpoint, check, claims, empty_handler, jwt_provider, key_set, signers
from extauthz.check import Check, RequestRules
from extauthz.identity import Authenticator, CacheLimits, InlineKeys
from extauthz.policy import PolicySettings, PolicyText, load
from extauthz.serving import CheckHandler, GrpcOptions, Listener, check_server, parse_address
from extauthz.serving.health import Health
from extauthz.telemetry import DecisionSettings, Metrics, TraceSettings, open_telemetry
from extauthz.wire import INTERNAL_ERROR_ANSWER, Encoder
from extauthz.workbench.given import Unused

KINDS = ("constant", "warm", "cel", "first", "denied")

_POLICY = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {{name: orders}}
spec:
  rules:
  - {{role: user, to: [{{methods: [GET], paths: ["/orders/{{id}}"]}}]{when}}}
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
    policy = _POLICY.format(when=_WHEN if kind == "cel" else "")
    snapshot = load([PolicyText("bench", policy)], PolicySettings(providers=frozenset({"corporate"})), 1)
    numbers = itertools.count()
    remembered = CacheLimits(max_entries=0) if kind == "first" else CacheLimits()
    authenticator = Authenticator([jwt_provider(keys)], {}, fetcher=Endpoint(), now=time.time, token_cache=remembered)
    telemetry = open_telemetry(
        TraceSettings("none"), DecisionSettings("none"), Metrics(), version="bench", now=time.time
    )
    checks = Check(authenticator, snapshot, RequestRules(), limiter=Unused(), new_id=lambda: f"{next(numbers):024x}")
    return CheckHandler(checks, Encoder(), telemetry, deadline=1.0, max_in_flight=512, clock=time.monotonic)


def main(transport: Any, kind: str, address: str, file: str) -> None:
    """Write the Check, and serve it until standard input ends."""
    made, keys = token()
    message = check("" if kind == "denied" else made)
    Path(file).write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
    Path(f"{file}.token").write_text(made)
    Path(f"{file}.jwks").write_text(json.dumps(dict(keys.jwks)))
    asyncio.run(serve(transport, handler_of(kind, keys), address, message))


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
        print(time.process_time(), flush=True)
    await server.stop(0)


if __name__ == "__main__":
    main(*sys.argv[1:5])
