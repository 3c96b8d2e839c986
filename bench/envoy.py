"""What an authorizer costs a real Envoy: throughput and CPU of both, beside Envoy's own filters with the same policy.

    python -m bench.envoy               about three minutes; needs h2load, and Envoy (make demo installs it)

One Envoy on one core with one worker thread, the authorizer on the other core, a route that Envoy answers itself, so that
nothing else takes part. Rows take turns in rounds; ``times`` is the throughput as a ratio to that of Envoy's own jwt_authn
and rbac filters in the same round. Latency is measured at half the throughput of those, sent by the clock.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.identity import ISSUER
from bench.load import Load, Measure, cpu_seconds, h2load, median, pinned, progress, require, served, spread
from bench.report import aimed
from mesh.address import free_address
from mesh.proxy import require_envoy

ROUNDS = 2
FULL = Load(12_000, connections=8, at_a_time=16)
WARM_UP = Load(1_500, connections=8, at_a_time=16)
PATH = "/orders/4711?fields=all"
HEADERS = ("accept: application/json", "user-agent: Mozilla/5.0 (X11; Linux x86_64)", "host: orders.example.com")

NO_FILTER, OWN = "no filter", "Envoy's jwt_authn + rbac"
AUTHORIZERS = {
    "a constant answer, TCP": ("native", "constant", False),
    "extauthz native, TCP": ("native", "warm", False),
    "extauthz native, unix socket": ("native", "warm", True),
    "extauthz grpcio, TCP": ("grpcio", "warm", False),
    "extauthz grpcio, unix socket": ("grpcio", "warm", True),
}


@dataclass(frozen=True)
class Row:
    """One row in one round."""

    full: Measure
    half: Measure
    envoy: float
    """Microseconds of CPU for a request."""
    authorizer: float


def bootstrap(listen: str, admin: str, filters: list[dict[str, Any]], clusters: list[dict[str, Any]]) -> dict[str, Any]:
    """An Envoy that answers by itself, after these filters."""
    router = {"name": "router", "typed_config": {"@type": _type("filters.http.router.v3.Router")}}
    manager = {
        "@type": _type("filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "bench",
        "codec_type": "HTTP2",
        "normalize_path": True,
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "ok"}}}
                    ],
                }
            ]
        },
        "http_filters": [*filters, router],
    }
    chain = {"filters": [{"name": "manager", "typed_config": manager}]}
    return {
        "admin": {"address": _address(admin)},
        "static_resources": {
            "listeners": [{"name": "http", "address": _address(listen), "filter_chains": [chain]}],
            "clusters": clusters,
        },
    }


def own_filters(jwks: str) -> list[dict[str, Any]]:
    """The same policy in Envoy's own words: a token of the issuer, for this audience, with role user, GET /orders/..."""
    provider = {
        "issuer": ISSUER,
        "audiences": ["orders"],
        "local_jwks": {"inline_string": jwks},
        "payload_in_metadata": "claims",
        "forward": True,
        "claim_to_headers": [{"header_name": "x-auth-subject", "claim_name": "sub"}],
    }
    role = {
        "metadata": {
            "filter": "envoy.filters.http.jwt_authn",
            "path": [{"key": "claims"}, {"key": "roles"}],
            "value": {"list_match": {"one_of": {"string_match": {"exact": "user"}}}},
        }
    }
    allowed = {
        "and_rules": {
            "rules": [
                {"header": {"name": ":method", "string_match": {"exact": "GET"}}},
                {"url_path": {"path": {"safe_regex": {"regex": "/orders/[^/]+"}}}},
            ]
        }
    }
    return [
        {
            "name": "envoy.filters.http.jwt_authn",
            "typed_config": {
                "@type": _type("filters.http.jwt_authn.v3.JwtAuthentication"),
                "providers": {"corporate": provider},
                "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "corporate"}}],
            },
        },
        {
            "name": "envoy.filters.http.rbac",
            "typed_config": {
                "@type": _type("filters.http.rbac.v3.RBAC"),
                "rules": {"policies": {"orders": {"permissions": [allowed], "principals": [role]}}},
            },
        },
    ]


def external(address: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The filter that asks an authorizer, and the cluster that it is."""
    authz = {
        "name": "envoy.filters.http.ext_authz",
        "typed_config": {
            "@type": _type("filters.http.ext_authz.v3.ExtAuthz"),
            "transport_api_version": "V3",
            "grpc_service": {
                "envoy_grpc": {"cluster_name": "authz", "authority": "authz.internal"},
                "timeout": "0.25s",
            },
        },
    }
    where = {"pipe": {"path": address.removeprefix("unix:")}} if address.startswith("unix:") else _address(address)
    http2 = {
        "@type": _type("upstreams.http.v3.HttpProtocolOptions"),
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    cluster = {
        "name": "authz",
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
        "load_assignment": {
            "cluster_name": "authz",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _socket(where)}}]}],
        },
    }
    return [authz], [cluster]


def _type(name: str) -> str:
    return f"type.googleapis.com/envoy.extensions.{name}"


def _address(text: str) -> dict[str, Any]:
    host, _, port = text.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}


def _socket(where: Mapping[str, Any]) -> dict[str, Any]:
    return dict(where)


@contextmanager
def envoy(filters: list[dict[str, Any]], clusters: list[dict[str, Any]]) -> Iterator[tuple[str, int]]:
    """Run one; gives its address and its process."""
    listen, admin = free_address(), free_address()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "envoy.json"
        file.write_text(json.dumps(bootstrap(listen, admin, filters, clusters)))
        command = [str(require_envoy()), "-c", str(file), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
        with subprocess.Popen([*pinned(0), *command], stdout=subprocess.DEVNULL) as process:
            try:
                _wait(listen)
                yield listen, process.pid
            finally:
                process.kill()


def _wait(address: str) -> None:
    import socket

    host, _, port = address.rpartition(":")
    for _ in range(200):
        try:
            socket.create_connection((host, int(port)), 0.2).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("Envoy did not start")


def measured(title: str, half: int) -> Row:
    """One row in one round; ``half`` is the rate at which latency is measured."""
    with ExitStack() as stack:
        server = None
        filters: list[dict[str, Any]] = []
        clusters: list[dict[str, Any]] = []
        transport, kind, unix = AUTHORIZERS.get(title, ("native", "warm", False))
        # The row without an authorizer needs its token and its keys all the same.
        server = stack.enter_context(served(transport, kind, unix=unix, core=1))
        token = server.token
        if title == OWN:
            filters = own_filters(server.jwks)
        elif title in AUTHORIZERS:
            filters, clusters = external(server.address)
        address, pid = stack.enter_context(envoy(filters, clusters))
        headers = (*HEADERS, f"authorization: Bearer {token}")
        h2load(address, PATH, WARM_UP, headers=headers)
        before, mine = cpu_seconds(pid), server.cpu
        full = h2load(address, PATH, FULL, headers=headers)
        spent, own = cpu_seconds(pid) - before, server.cpu - mine
        at_half = Load(max(2_000, half), connections=8, at_a_time=64, rate=half) if half else FULL
        # The middle one of three: one moment in which the machine did something else would be all that p99 tells.
        seen = [h2load(address, PATH, at_half, headers=headers) for _ in range(3)]
        calm = sorted(seen, key=lambda one: one.p99)[1]
    if full.failed:
        print(f"\n{title}: {full.failed} requests failed")
    return Row(full, calm, spent / full.done * 1e6, own / full.done * 1e6)


def main() -> int:
    """Print the table."""
    require()
    began = time.monotonic()
    found: dict[str, list[Row]] = {}
    half = 0
    for number in range(ROUNDS):
        for title in (OWN, NO_FILTER, *AUTHORIZERS):
            progress(f"round {number + 1} of {ROUNDS}: {title}")
            row = measured(title, half)
            if not half:
                half = int(row.full.per_second / 2)
                row = measured(title, half)
            found.setdefault(title, []).append(row)
    progress()
    base = [row.full.per_second for row in found[OWN]]
    print(
        f"{'through a real Envoy':<32}{'1/s':>8}{'times':>7}{'spread':>15}{'Envoy us':>9}{'its us':>8}"
        f"{'p50':>7}{'p99':>7}{'p99.9':>7} ms at {half:,}/s"
    )
    for title, rows in found.items():
        times = [row.full.per_second / other for row, other in zip(rows, base, strict=True)]
        latency = "".join(
            f"{median([getattr(row.half, name) for row in rows]):>7.1f}" for name in ("p50", "p99", "p999")
        )
        print(
            f"{title:<32}{median([row.full.per_second for row in rows]):>8,.0f}{median(times):>7.2f}{spread(times):>15}"
            f"{median([row.envoy for row in rows]):>9.0f}"
            f"{median([row.authorizer for row in rows]) if title in AUTHORIZERS else 0:>8.0f}{latency}"
            + (f"   {late:,} failed" if (late := sum(row.half.failed for row in rows)) else "")
        )
    best = max((title for title in AUTHORIZERS if "native" in title), key=lambda title: _rate(found[title]))
    limit = _rate(found["a constant answer, TCP"])
    aimed(f"requests/s of {best}, to a constant answer", _rate(found[best]) / limit, 0.90, at_least=True)
    aimed(f"requests/s of {best}, to Envoy's own filters", _rate(found[best]) / _rate(found[OWN]), 0.75, at_least=True)
    calm = [row.half.p99 / other.half.p99 for row, other in zip(found[best], found[OWN], strict=True)]
    aimed(f"p99 at half of that load, {best}, to Envoy's own filters", median(calm), 2.0)
    print(f"{time.monotonic() - began:.0f} s")
    return 0


def _rate(rows: list[Row]) -> float:
    return median([row.full.per_second for row in rows])


if __name__ == "__main__":
    sys.exit(main())
