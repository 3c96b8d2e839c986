"""What a capture costs a server, and how long a replay of 100,000 of them takes.

    python -m bench.replay              half a minute; exit code 1 if the promise is broken

The log has requests as browsers send them, of callers with roles and claims, and policies with conditions on both. It is
replayed as ``extauthz replay`` does it, from the file to the counts, in this one process. The promise is 30 seconds.
"""

import random
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from bench.report import promised
from extauthz.app.providers import credential_places
from extauthz.app.replaying import replay
from extauthz.app.values import policy_settings, request_rules
from extauthz.app.vault import Secrets
from extauthz.capture import CaptureWriter
from extauthz.config import load_config
from extauthz.model import AttributeContext, Decision, Deny, HttpAttributes, Identity, Peer, Reason, VerifiedClaims
from extauthz.policy import PolicyText, load
from extauthz.telemetry.record import decision_line
from extauthz.telemetry.redaction import is_sensitive, mask
from extauthz.workbench.engine import Engine
from extauthz.workbench.given import Given

RECORDS = 100_000
PROMISED_SECONDS = 30.0
CONFIGURATION = """
providers:
- name: corporate
  jwt: {issuer: "https://login.example.com/", audiences: [orders]}
policies: {files: [policy.yaml]}
"""
POLICY = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: orders}
spec:
  authentication: {optional: true}
  deny:
  - {name: no-internals, to: [{paths: ["/internal/**"]}]}
  rules:
  - {name: health, role: anonymous, to: [{paths: [/healthz]}]}
  - {name: read, role: user, to: [{methods: [GET], paths: ["/orders/**"]}]}
  - {name: write, role: admin, to: [{methods: [POST, PUT], paths: ["/orders/**"]}]}
  - {name: tenant, role: user, to: [{paths: ["/tenants/**"]}], when: 'claims.tenant == request.headers["x-tenant"]'}
"""
CALLERS = (
    None,
    Identity("u1", "i", "corporate", frozenset({"user"}), ("orders",), VerifiedClaims({"sub": "u1", "tenant": "acme"})),
    Identity("u2", "i", "corporate", frozenset({"user", "admin"}), (), VerifiedClaims({"sub": "u2"})),
    Deny(Reason.TOKEN_EXPIRED, "exp has passed", provider="corporate"),
)


def check(chance: random.Random) -> AttributeContext:
    """One of many requests."""
    number = chance.randrange(10**6)
    paths = ("/healthz", f"/orders/{number}", f"/orders/{number}/items/7?page=2", "/internal/x", "/tenants/acme/users")
    path, method = chance.choice(paths), chance.choice(("GET", "GET", "GET", "POST"))
    headers = {
        "authorization": ("Bearer a.b.c",),
        "user-agent": (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140 Safari/537.36",
        ),
        "accept": ("text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8",),
        "accept-language": ("en-GB,en;q=0.5",),
        "x-forwarded-for": ("203.0.113.9",),
        "x-forwarded-proto": ("https",),
        "x-request-id": (f"{chance.getrandbits(128):032x}",),
        "x-tenant": (chance.choice(("acme", "umbrella")),),
    }
    http = HttpAttributes("1", method, path, "orders.example.com", "https", "HTTP/2", headers)
    return AttributeContext(Peer("10.1.2.3", 40000), Peer("10.1.2.4", 8443), 1_700_000_000.0, http)


def main() -> int:
    """Measure and print; gives the exit code."""
    chance = random.Random(1)  # noqa: S311 - the same log each time
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "extauthz.yaml").write_text(CONFIGURATION, "utf-8")
        Path(folder, "policy.yaml").write_text(POLICY, "utf-8")
        narrow = Path(folder, "narrow.yaml")
        narrow.write_text(POLICY.replace('methods: [GET], paths: ["/orders/**"]', 'paths: ["/orders/{id}"]'), "utf-8")
        config = load_config(str(Path(folder, "extauthz.yaml")), {})
        engine = Engine(load([PolicyText("policy.yaml", POLICY)], policy_settings(config), 1), request_rules(config))
        captures = CaptureWriter(credential_places(config), mask=mask, sensitive=is_sensitive)
        checks = [check(chance) for _ in range(RECORDS)]
        decided = [
            replace(engine.decide(sent, Given(chance.choice(CALLERS))), id=f"{n:x}") for n, sent in enumerate(checks)
        ]
        log = Path(folder, "decisions.log")
        plain, lines = written(decided, checks, None), written(decided, checks, captures)
        log.write_bytes(b"".join(lines[1]))
        print(
            f"a record costs {plain[0]:.0f} us, with capture {lines[0]:.0f} us and {log.stat().st_size / RECORDS:.0f} bytes"
        )
        started = time.process_time()
        found = replay(config, Secrets({}), [str(log)], [str(narrow)])
        seconds = time.process_time() - started
    print(
        f"{found.compared:,} records replayed in {seconds:.1f} s of CPU, {found.compared - found.unchanged:,} changed"
    )
    return int(not promised(f"replay of {RECORDS:,} records", seconds, PROMISED_SECONDS, unit="s"))


def written(
    decided: list[Decision], checks: list[AttributeContext], captures: CaptureWriter | None
) -> tuple[float, list[bytes]]:
    """The microseconds of CPU that a line costs, and the lines."""
    started = time.process_time()
    lines = [
        decision_line(decision, sent, now=1_700_000_000, seconds=0, trace=None, captures=captures)
        for decision, sent in zip(decided, checks, strict=True)
    ]
    return (time.process_time() - started) / len(lines) * 1e6, lines


if __name__ == "__main__":
    sys.exit(main())
