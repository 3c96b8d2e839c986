"""What a rate adds to a Check: counted in memory, asked of a real Redis each time, and leased from it.

``python -m bench.rates`` runs the whole handler on a remembered JWT, with the same policy without and with a rate, in rounds
that take turns, so that other work on the machine meets all of them. Shared counters are asked by 64 Checks at a time, as
concurrent requests do. The Redis is Debian's, on a unix socket of a folder that is thrown away; where there is none these
rows are left out. Last comes the Check as it is served, transport included, counted in memory.

The promises are 3.0 where each Check asks Redis and 1.20 with leases; the aim in memory is 1.10.
"""

import asyncio
import contextlib
import itertools
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import jwt

from bench.identity import CALL, ISSUER, Endpoint, Handler, Key, check, jwt_provider, key_set, signers
from bench.load import CHECK_METHOD, Load, h2load, served, spread
from bench.report import aimed, promised
from extauthz._pb.envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from extauthz.canonical import charge_key
from extauthz.check import Check, RequestRules
from extauthz.identity import Authenticator, InlineKeys
from extauthz.limits import Limiter, MemoryLimiter, SharedLimiter
from extauthz.model import Charge, Rate
from extauthz.policy import PolicySettings, PolicyText, load
from extauthz.serving import CheckHandler
from extauthz.stores import RedisCounters, StoreSettings
from extauthz.telemetry import DecisionSettings, Metrics, TraceSettings, open_telemetry
from extauthz.wire import Encoder
from extauthz.workbench.given import Unused

ROUNDS = 9
CHECKS = 2_048
AT_A_TIME = 64
MOST = 1_000_000
"""Requests a minute: enough that none is refused."""
PROMISED = {"Redis, exact": 3.0, "Redis, leased": 1.20}
AIMS = {"in memory": 1.10}
SERVED_ROUNDS = 3

POLICY = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {{name: orders}}
spec:
  rules:
  - {{role: user, {rate}to: [{{methods: [GET], paths: ["/orders/{{id}}"]}}]}}
  response:
    headers: {{x-auth-subject: identity.subject, x-auth-roles: identity.roles}}
"""
RATE = f"maxRequestsPerMinute: {MOST}, "


def handler_of(authenticator: Authenticator, limiter: Limiter, rate: str) -> Handler:
    """The real handler, as the server builds it."""
    text = POLICY.format(rate=rate)
    snapshot = load([PolicyText("bench", text)], PolicySettings(providers=frozenset({"corporate"})), 1)
    numbers = itertools.count()
    telemetry = open_telemetry(
        TraceSettings("none"), DecisionSettings("none"), Metrics(), version="bench", now=time.time
    )
    checks = Check(authenticator, snapshot, RequestRules(), limiter=limiter, new_id=lambda: f"{next(numbers):024x}")
    return CheckHandler(checks, Encoder(), telemetry, deadline=10.0, max_in_flight=512, clock=time.monotonic)


def messages(key: Key, callers: int) -> list[bytes]:
    """Checks of this many callers, each with a token of their own."""
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": "orders", "exp": now + 3600, "iat": now, "roles": ["user"]}
    headers = {"kid": "ES256", "typ": "at+jwt"}
    return [
        check(jwt.encode({**claims, "sub": f"caller-{number}"}, key, "ES256", headers=headers))
        for number in range(callers)
    ]


async def round_of(handler: Handler, asked: Sequence[bytes]) -> tuple[float, float]:
    """Microseconds of CPU and of waiting for one Check, of a round of them."""
    began, cpu = time.perf_counter(), time.process_time()
    for first in range(0, CHECKS, AT_A_TIME):
        later = []
        for number in range(first, first + AT_A_TIME):
            answer = handler(asked[number % len(asked)], CALL)
            if not isinstance(answer, bytes):
                later.append(answer)
        if later:
            await asyncio.gather(*later)
    return (time.process_time() - cpu) / CHECKS * 1e6, (time.perf_counter() - began) / CHECKS * 1e6


async def compare(handlers: dict[str, Handler], asked: Sequence[bytes], title: str) -> bool:
    """Print a row for each handler, the first being what the others are held against; whether all promises hold."""
    for handler in handlers.values():
        answer = handler(asked[0], CALL)
        said = CheckResponse.FromString(answer if isinstance(answer, bytes) else await answer)
        if said.status.code != 0:
            raise SystemExit(f"a Check that should be allowed is denied: {said.dynamic_metadata}")
        for first in range(0, len(asked), AT_A_TIME):
            answers = [handler(message, CALL) for message in asked[first : first + AT_A_TIME]]
            await asyncio.gather(*(later for later in answers if not isinstance(later, bytes)))
    cpu: dict[str, list[float]] = {name: [] for name in handlers}
    wall: dict[str, list[float]] = {name: [] for name in handlers}
    for _ in range(ROUNDS):
        for name, handler in handlers.items():
            spent, took = await round_of(handler, asked)
            cpu[name].append(spent)
            wall[name].append(took)
    plain = next(iter(handlers))
    held = True
    print(f"\n{title:24}{'CPU us':>8}{'times':>8}{'middle half':>16}{'Checks/s':>10}")
    for name in handlers:
        ratios = sorted(one / other for one, other in zip(cpu[name], cpu[plain], strict=True))
        middle, low, high = statistics.median(ratios), ratios[ROUNDS // 4], ratios[-ROUNDS // 4 - 1]
        over = False
        if name in AIMS:
            over = not aimed(f"the handler with a rate, {name}, {title}", middle, AIMS[name])
        elif name in PROMISED:
            over = not promised(f"the handler with a rate, {name}, {title}", middle, PROMISED[name])
            held &= not over
        print(
            f"{name:24}{statistics.median(cpu[name]):8.1f}{middle:8.2f}{low:8.2f} to {high:4.2f}"
            f"{1e6 / statistics.median(wall[name]):10,.0f}" + ("   over" if over else "")
        )
    return held


@contextlib.contextmanager
def redis() -> Iterator[str | None]:
    """A Redis of our own; gives its URL, or None if there is no redis-server."""
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "redis.sock"
        options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--dir", folder]
        with subprocess.Popen([program, *options], stdout=subprocess.DEVNULL) as process:
            try:
                for _ in range(200):
                    if path.exists():
                        break
                    time.sleep(0.02)
                yield f"redis+unix://{path}"
            finally:
                process.kill()


@contextlib.asynccontextmanager
async def shared(url: str, *, leased: bool) -> AsyncIterator[SharedLimiter]:
    """A limiter on that store, with what must run beside it."""
    counters = RedisCounters(StoreSettings(url, timeout=2.0))
    limiter = SharedLimiter(counters, clock=time.monotonic, timeout=2.0, leased=leased)
    task = asyncio.create_task(limiter.run())
    try:
        yield limiter
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await counters.close()


def crowded(callers: int) -> MemoryLimiter:
    """A memory limiter that counts this many callers already."""
    limiter = MemoryLimiter(clock=time.monotonic, max_keys=callers + 20_000)
    rate = Rate(MOST)
    for number in range(callers):
        limiter.take(Charge(charge_key("somebody", str(number)), rate, "p", "r"))
    return limiter


def with_transport() -> None:
    """The same Check as it is served, by h2load and the native transport, counted in memory."""
    if shutil.which("h2load") is None:
        print("there is no h2load: handlers only", file=sys.stderr)
        return
    cpu: dict[str, list[float]] = {"warm": [], "rated": []}
    for _ in range(SERVED_ROUNDS):
        for kind, figures in cpu.items():
            with served("native", kind) as server:
                h2load(server.address, CHECK_METHOD, Load(2_000), message=server.message)
                before = server.cpu
                measure = h2load(server.address, CHECK_METHOD, Load(20_000), message=server.message)
                figures.append((server.cpu - before) / measure.done * 1e6)
    ratios = [one / other for one, other in zip(cpu["rated"], cpu["warm"], strict=True)]
    middle = statistics.median(ratios)
    print(f"\n{'served by native':24}{'CPU us':>8}{'times':>8}{'spread':>16}")
    print(f"{'no rate':24}{statistics.median(cpu['warm']):8.1f}{1:8.2f}")
    print(f"{'in memory':24}{statistics.median(cpu['rated']):8.1f}{middle:8.2f}{spread(ratios):>16}")
    aimed("a Check with a rate in memory, as it is served", middle, AIMS["in memory"])


async def measure() -> int:
    """Measure and print; 1 if a promise does not hold."""
    keys = signers()
    authenticator = Authenticator([jwt_provider(InlineKeys(key_set(keys)))], {}, fetcher=Endpoint(), now=time.time)
    plain = handler_of(authenticator, Unused(), "")
    held = True
    with redis() as url:
        async with contextlib.AsyncExitStack() as stack:
            limiters: dict[str, Limiter] = {"in memory": MemoryLimiter(clock=time.monotonic)}
            if url is not None:
                limiters["Redis, exact"] = await stack.enter_async_context(shared(url, leased=False))
                limiters["Redis, leased"] = await stack.enter_async_context(shared(url, leased=True))
            else:
                print("there is no redis-server: rates in memory only", file=sys.stderr)
            for callers in (1, 10_000):
                handlers = {"no rate": plain}
                handlers |= {name: handler_of(authenticator, limiter, RATE) for name, limiter in limiters.items()}
                title = "one caller" if callers == 1 else f"{callers:,} callers"
                held &= await compare(handlers, messages(keys["ES256"], callers), title)
            many = {"no rate": plain, "in memory": handler_of(authenticator, crowded(1_000_000), RATE)}
            held &= await compare(many, messages(keys["ES256"], 10_000), "beside 1,000,000")
    with_transport()
    return 0 if held else 1


def main() -> int:
    """Print the tables; 1 if a promise is broken."""
    return asyncio.run(measure())


if __name__ == "__main__":
    sys.exit(main())
