"""What it costs to know who is asking: CPU of one Check by kind of token, and the memory of remembered tokens.

    python -m bench.identity            about half a minute; exit code 1 if a promise is broken
    make bench

Each row is one Check through the ``CheckHandler``, bytes to bytes with metrics, canonical request, policy and answer, in
one thread and without a transport. ``times`` compares it with an *empty handler* in the same run: one that parses the
same CheckRequest and writes an allow with two headers, the least that an authorizer can do. Figures are CPU time of the
process, the best of several rounds, so that a busy machine changes them little; ratios travel between machines, and
microseconds do not.

``first seen`` rows verify each token for the first time; those that are introspected have their answer at hand, so the
network is not in the figure. The memory is the growth of the resident set over 100,000 tokens of 1 kB that are seen
once, in a fresh process; the promise is 200 MB.
"""

import asyncio
import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from bench.report import promised
from extauthz._pb.envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from extauthz.check import Check, RequestRules, canonical_request
from extauthz.errors import UpstreamError
from extauthz.identity import (
    Authenticator,
    ClaimPath,
    ClientSecret,
    FetchSettings,
    InlineKeys,
    IntrospectionProvider,
    JwtProvider,
    RoleRules,
    SecretFile,
)
from extauthz.model import Identity, Request
from extauthz.policy import PolicySettings, PolicyText, load
from extauthz.serving import Call, CheckHandler
from extauthz.telemetry import DecisionSettings, Metrics, TraceSettings, open_telemetry
from extauthz.wire import Encoder, decode
from extauthz.workbench.given import Unused

ISSUER = "https://login.example.com/"
ROUNDS = 7
TOKENS = 300
"""Tokens in a round of a ``first seen`` row."""
REPEATS = 3_000
"""Checks in a round of the other rows."""
REMEMBERED = 100_000
PROMISED_MB = 200.0

POLICY = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: orders}
spec:
  rules:
  - {role: user, to: [{methods: [GET], paths: ["/orders/{id}"]}]}
  response:
    headers: {x-auth-subject: identity.subject, x-auth-roles: identity.roles}
"""
CALL = Call((), None)

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
Handler = Callable[[bytes, Call], Any]


@dataclass(frozen=True)
class Answer:
    """What an introspection endpoint would say."""

    body: bytes
    status: int = 200
    media_type: str = "application/json"
    max_age: float | None = None


class Endpoint:
    """An introspection endpoint without a network: every token is active."""

    async def get(self, url: str, settings: FetchSettings) -> Answer:
        """Have nothing to give."""
        raise UpstreamError("there is nothing to fetch here")

    async def post(
        self, url: str, form: Mapping[str, str], headers: Mapping[str, str], settings: FetchSettings
    ) -> Answer:
        """Say that the token is active."""
        return Answer(json.dumps({"active": True, **claims(0), "client_id": "cart", "token_type": "Bearer"}).encode())


def claims(number: int, padding: int = 60) -> dict[str, Any]:
    """What a token of about 1 kB says, with the signature of RS256."""
    now = int(time.time())
    return {
        "iss": ISSUER,
        "aud": ["orders", "account"],
        "sub": f"f1b7c2c0-6a7e-4b8f-9f2c-{number:012d}",
        "exp": now + 3600,
        "iat": now - 10,
        "jti": f"0f3c9a{number:026d}",
        "azp": "storefront",
        "scope": "openid profile orders:read orders:write",
        "roles": ["user"],
        "name": f"Ada Lovelace {number}",
        "email": f"ada.{number}@example.com",
        "tenant": "north-west-retail",
        "padding": "x" * padding,
    }


def signers() -> dict[str, Key]:
    """A throw-away key for each algorithm."""
    return {
        "RS256": rsa.generate_private_key(65537, 2048),
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    }


def key_set(keys: Mapping[str, Key]) -> dict[str, Any]:
    """The public halves."""
    return {
        "keys": [
            jwt.get_algorithm_by_name(name).to_jwk(key.public_key(), as_dict=True)
            | {"kid": name, "key_ops": ["verify"]}
            for name, key in keys.items()
        ]
    }


def check(token: str) -> bytes:
    """A CheckRequest such as Envoy sends."""
    message = CheckRequest()
    message.attributes.source.address.socket_address.address = "10.0.0.9"
    message.attributes.destination.address.socket_address.port_value = 8443
    http = message.attributes.request.http
    http.id, http.method, http.path, http.host = "5436", "GET", "/orders/4711?fields=all", "orders.example.com"
    http.scheme, http.protocol = "https", "HTTP/2"
    for name, value in (
        (":authority", "orders.example.com"),
        (":method", "GET"),
        (":path", "/orders/4711?fields=all"),
        ("accept", "application/json"),
        ("authorization", f"Bearer {token}"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "6a1d5d5e-3d38-4c6c-8a7c-3a7d4f1f6c11"),
    ):
        http.headers[name] = value
    return message.SerializeToString()


def empty_handler(message: bytes, _call: Call) -> bytes:
    """The least that an authorizer can do."""
    CheckRequest.FromString(message)
    response = CheckResponse()
    response.status.code = 0
    for name, value in (("x-auth-subject", "f1b7c2c0-6a7e-4b8f-9f2c-2f1c6f0f7a11"), ("x-auth-roles", "user")):
        option = response.ok_response.headers.add()
        option.header.key, option.header.value = name, value
    return response.SerializeToString()


def handler_of(provider: JwtProvider | IntrospectionProvider) -> Handler:
    """The real handler, as the server builds it, with this provider."""
    snapshot = load([PolicyText("bench", POLICY)], PolicySettings(providers=frozenset({provider.name})), 1)
    numbers = itertools.count()
    authenticator = Authenticator([provider], {}, fetcher=Endpoint(), now=time.time)
    telemetry = open_telemetry(
        TraceSettings("none"), DecisionSettings("none"), Metrics(), version="bench", now=time.time
    )
    checks = Check(authenticator, snapshot, RequestRules(), limiter=Unused(), new_id=lambda: f"{next(numbers):024x}")
    return CheckHandler(checks, Encoder(), telemetry, deadline=10.0, max_in_flight=512, clock=time.monotonic)


def jwt_provider(keys: InlineKeys | SecretFile) -> JwtProvider:
    """A provider of signed tokens."""
    algorithms = frozenset({"HS256"} if isinstance(keys, SecretFile) else {"RS256", "ES256", "EdDSA"})
    roles = RoleRules((ClaimPath.parse("roles"),))
    return JwtProvider("corporate", ISSUER, frozenset({"orders"}), keys, algorithms, roles=roles)


async def answered(handler: Handler, message: bytes) -> None:
    """One Check that must be allowed."""
    answer = handler(message, CALL)
    allowed = CheckResponse.FromString(answer if isinstance(answer, bytes) else await answer)
    if allowed.status.code != 0:
        raise SystemExit(f"a Check that should be allowed is denied: {allowed.dynamic_metadata}")


async def first_seen(new_handler: Callable[[], Handler], messages: Sequence[bytes]) -> float:
    """Microseconds of CPU for one Check whose token was never seen; the best round."""
    await answered(new_handler(), messages[0])
    best = float("inf")
    for _ in range(ROUNDS):
        handler = new_handler()
        began = time.process_time()
        for message in messages:
            answer = handler(message, CALL)
            if not isinstance(answer, bytes):
                await answer
        best = min(best, time.process_time() - began)
    return best / len(messages) * 1e6


async def repeated(handler: Handler, message: bytes) -> float:
    """Microseconds of CPU for one Check that is the same as before; the best round."""
    await answered(handler, message)
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(REPEATS):
            handler(message, CALL)
        best = min(best, time.process_time() - began)
    return best / REPEATS * 1e6


def alone(keys: InlineKeys, message: bytes) -> float:
    """Microseconds of CPU that the authenticator takes of a Check whose token it remembers; the best round."""
    request = canonical_request(decode(message), RequestRules())
    authenticator = Authenticator([jwt_provider(keys)], {}, fetcher=Endpoint(), now=time.time)
    if not isinstance(request, Request) or not isinstance(authenticator.authenticate(request), Identity):
        raise SystemExit("a caller who should be known is not")
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(REPEATS):
            authenticator.authenticate(request)
        best = min(best, time.process_time() - began)
    return best / REPEATS * 1e6


async def rows(folder: Path) -> dict[str, float]:
    """The figures by the name of the row."""
    keys = signers()
    inline = InlineKeys(key_set(keys))

    def minted(algorithm: str, count: int) -> list[bytes]:
        return [
            check(jwt.encode(claims(number), keys[algorithm], algorithm=algorithm, headers={"kid": algorithm}))
            for number in range(count)
        ]

    def verifying() -> Handler:
        return handler_of(jwt_provider(inline))

    secret = folder / "secret"
    secret.write_text("of the introspection endpoint's client")
    client = ClientSecret("extauthz", str(secret))
    endpoint = IntrospectionProvider(
        "corporate",
        "https://login.example.com/introspect",
        client,
        issuer=ISSUER,
        audiences=frozenset({"orders"}),
        roles=RoleRules((ClaimPath.parse("roles"),)),
    )

    def introspecting() -> Handler:
        return handler_of(endpoint)

    opaque = [check(hashlib.sha256(b"%d" % number).hexdigest()) for number in range(TOKENS)]
    samples = {algorithm: minted(algorithm, TOKENS) for algorithm in keys}
    figures = {
        "empty handler": await repeated(empty_handler, samples["RS256"][0]),
        **{f"first seen, {name}": await first_seen(verifying, messages) for name, messages in samples.items()},
        "remembered JWT": await repeated(verifying(), samples["RS256"][0]),
        "  of which: who is asking": alone(inline, samples["RS256"][0]),
        "first seen, introspected": await first_seen(introspecting, opaque),
        "remembered, introspected": await repeated(introspecting(), opaque[0]),
    }
    # The smallest figure is the one that a busy moment harms most, and all others are compared with it.
    again = await repeated(empty_handler, samples["RS256"][0])
    return figures | {"empty handler": min(again, figures["empty handler"])}


def main() -> int:
    """Print the table; 1 if the memory is over what is promised."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(rows(Path(folder)))
    base = figures["empty handler"]
    print(f"{'CPU of one Check':<28}{'us':>8}{'times':>8}")
    for name, figure in figures.items():
        print(f"{name:<28}{figure:>8.1f}{figure / base:>8.1f}")
    run = subprocess.run([sys.executable, "-m", "bench.memory"], capture_output=True, check=True)
    found = json.loads(run.stdout)
    growth, before = found["growth"], found["before"]
    print(f"\n{'memory':<28}{'MB':>8}{'times':>8}")
    print(f"{'empty handler':<28}{before:>8.1f}{1:>8.1f}")
    print(f"{f'{REMEMBERED:,} tokens remembered':<28}{before + growth:>8.1f}{(before + growth) / before:>8.1f}")
    print(
        f"\n{REMEMBERED:,} tokens of {found['token bytes']:.0f} bytes grow the process by {growth:.1f} MB "
        f"(promised: below {PROMISED_MB:.0f}), {growth * 1e6 / REMEMBERED:.0f} bytes each; "
        f"the empty handler by {found['empty handler']:.1f} MB"
    )
    print(f"{sys.version.split()[0]} on {os.cpu_count()} cores, {time.monotonic() - began:.0f} s")
    return int(not promised(f"{REMEMBERED:,} tokens remembered", growth, PROMISED_MB, unit="MB"))


if __name__ == "__main__":
    sys.exit(main())
