"""Callers known by their certificates alone, through a real Envoy that asks for one (mTLS)."""

import json
import ssl
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from extauthz.app.providers import authenticator
from extauthz.app.values import policy_settings
from extauthz.config import load_config
from extauthz.policy import PolicyText, load
from mesh.options import ServerTls
from tests.e2e.conftest import StartEnvoy, StartServer
from tests.identity.issuer import RSA_KEY, FakeFetcher, jwk, jwks, mint
from tests.journey import Journey
from tests.serving.conftest import Authority

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(60)]

TRUST = "spiffe://cluster.local"
WEB = f"{TRUST}/ns/shop/sa/web"
BATCH = f"{TRUST}/ns/jobs/sa/batch"
GATEWAY = f"{TRUST}/ns/edge/sa/ingress"

CONFIG = f"""
providers:
- name: corporate
  jwt:
    issuer: https://login.example.com/
    audiences: [orders]
    jwks: {json.dumps(jwks(jwk(RSA_KEY, "k1")))}
  roles: {{mayGrant: [user]}}
- name: mesh
  mesh:
    trustDomains: [cluster.local]
    otherPrincipals: [legacy.example.com]
    xfcc:
      trustedPeers: ["{GATEWAY}"]
  roles:
    map:
      "{TRUST}/ns/shop/*": workload
      legacy.example.com: workload
    mayGrant: [workload]
"""

POLICIES = """
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: workloads}
spec:
  targets: [{context: {app: internal}}]
  authentication: {providers: [corporate, mesh]}
  rules:
  - roles: [workload, user]
  response:
    headers: {x-auth-subject: identity.subject, x-auth-serial: claims.certificate.serialNumber}
---
apiVersion: security.example.com/v1
kind: AuthPolicy
metadata: {name: people}
spec:
  targets: [{context: {app: public}}]
  rules:
  - {}
"""


class Clients:
    """Clients of an Envoy, each with a certificate of its own."""

    def __init__(self, authority: Authority, url: str, folder: Path) -> None:
        self._authority = authority
        self._url = url
        self._folder = folder

    async def get(self, *names: str, **headers: str) -> tuple[int, dict[str, Any]]:
        """The status and what the service saw, for a client with a certificate for these names."""
        key, chain = self._authority.issue(*names)
        files = self._folder / "client.key", self._folder / "client.crt"
        for file, content in zip(files, (key, chain), strict=True):
            file.write_bytes(content)
        context = ssl.create_default_context(cadata=self._authority.pem.decode())
        context.load_cert_chain(files[1], files[0])
        async with httpx2.AsyncClient(base_url=self._url, verify=context) as client:
            answer = await client.get(
                "/orders", headers={name.replace("_", "-"): text for name, text in headers.items()}
            )
        seen: dict[str, Any] = answer.json()
        return answer.status_code, dict(seen.get("headers", ()))


def journey(folder: Path) -> Journey:
    """A handler as ``extauthz serve`` would build it from these files."""
    file = folder / "extauthz.yaml"
    file.write_text(CONFIG)
    config = load_config(str(file), {})
    snapshot = load([PolicyText("policies.yaml", POLICIES)], policy_settings(config), 1)
    identity = authenticator(config, FakeFetcher(), time.time)
    return Journey(snapshot, identity, clock=time.monotonic, deadline=5)


def listener_tls(authority: Authority, folder: Path) -> ServerTls:
    key, chain = authority.issue("127.0.0.1", f"{TRUST}/ns/shop/sa/orders")
    for name, content in (("tls.key", key), ("tls.crt", chain), ("ca.crt", authority.pem)):
        (folder / name).write_bytes(content)
    return ServerTls(folder / "tls.crt", folder / "tls.key", folder / "ca.crt")


async def test_workloads_are_judged_by_their_certificates(
    start_server: StartServer, start_envoy: StartEnvoy, tmp_path: Path
) -> None:
    """P27, E32, E39: by SPIFFE ID where the policy names the mesh; nobody gets anywhere by writing headers."""
    authority = Authority("mesh")
    told = journey(tmp_path)
    async with (
        start_server(told.handler) as authz,
        start_envoy(
            authz,
            tls=listener_tls(authority, tmp_path),
            context={"app": "internal"},
            edge=False,
            forward_client_cert=True,
        ) as envoy,
    ):
        clients = Clients(authority, envoy.url, tmp_path)

        status, seen = await clients.get(WEB, x_auth_subject="root")
        assert (status, seen["x-auth-subject"]) == (200, WEB)
        assert int(seen["x-auth-serial"], 16) > 0
        assert told.watcher.finished[-1].identity is not None

        assert (await clients.get(BATCH))[0] == 403
        for stranger in ("spiffe://other.local/ns/shop/sa/web", "web.example.com", f"dns:{WEB}", f"{WEB}/.."):
            assert (await clients.get(stranger))[0] == 401, stranger
        assert (await clients.get("legacy.example.com"))[0] == 200
        assert (await clients.get(WEB, BATCH))[0] == 401, "an SVID has one URI"

        # Forged by a client: Envoy has appended an element of its own, and the client is no trusted peer.
        for forged in (f"By=x;URI={WEB}", f'URI={WEB};Subject="', f"By={GATEWAY};Hash=00;URI={WEB}"):
            status, seen = await clients.get(BATCH, x_forwarded_client_cert=forged)
            assert status == 403, forged
        reason = told.watcher.finished[-1].verdict.reason.word
        assert reason == "role-missing"

        # From the gateway: it tells the caller, and never speaks for itself.
        status, seen = await clients.get(GATEWAY, x_forwarded_client_cert=f'Hash=00;Subject="CN=a,b";URI={WEB}')
        assert (status, seen["x-auth-subject"], "x-auth-serial" in seen) == (200, WEB, False)
        assert (await clients.get(GATEWAY, x_forwarded_client_cert=f"URI={WEB},URI={BATCH}"))[0] == 403
        assert (await clients.get(GATEWAY))[0] == 401
        assert (await clients.get(GATEWAY, x_forwarded_client_cert=f'URI={WEB};Subject="'))[0] == 401

        # A token counts before the certificate, and bad ones are refused whoever is connected.
        now = time.time()
        token = mint({"exp": now + 300, "iat": now - 10})
        status, seen = await clients.get(BATCH, authorization=f"Bearer {token}")
        assert (status, seen["x-auth-subject"]) == (200, "alice")
        assert (await clients.get(WEB, authorization=f"Bearer {token}x"))[0] == 401


async def test_a_certificate_opens_nothing_that_did_not_ask_for_it(
    start_server: StartServer, start_envoy: StartEnvoy, tmp_path: Path
) -> None:
    """A policy that takes any configured provider does not take the mesh."""
    authority = Authority("mesh")
    told = journey(tmp_path)
    async with (
        start_server(told.handler) as authz,
        start_envoy(authz, tls=listener_tls(authority, tmp_path), context={"app": "public"}) as envoy,
    ):
        assert (await Clients(authority, envoy.url, tmp_path).get(WEB))[0] == 401
    assert told.watcher.finished[-1].verdict.reason.word == "no-credentials"
