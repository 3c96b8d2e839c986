"""A running server with a token service, and its clients by Authlib."""

import json
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import requests
from authlib.integrations.requests_client import OAuth2Session
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from extauthz.model import EMPTY
from mesh.address import free_addresses
from mesh.processes import Process, accepts, answers
from tests import canaries
from tests.tokens.parts import public_jwk

SECRET = "0123456789abcdef0123456789abcdef01234567"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
RATE = 100_000


@dataclass(frozen=True)
class Running:
    """A server."""

    issuer: str
    folder: Path
    client_key: Any
    provider_key: Any
    process: Process
    admin: str

    def get(self, path: str) -> dict[str, Any]:
        """A document."""
        with urllib.request.urlopen(self.issuer + path, timeout=10) as answer:
            document: dict[str, Any] = json.loads(answer.read())
            return document

    def session(self, client: str = "billing", secret: Any = SECRET, **options: Any) -> OAuth2Session:
        """A client by Authlib, which finds the endpoints as any client does."""
        found = self.get("/.well-known/oauth-authorization-server")
        made = OAuth2Session(client, secret, token_endpoint=found["token_endpoint"], **options)
        made.hooks["response"].append(_given_out)
        return made

    def foreign(self, **claims: Any) -> str:
        """A token of the configured provider."""
        now = int(time.time())
        usual = {"iss": "https://login.example.com/", "aud": "gateway", "sub": "alice", "iat": now, "exp": now + 60}
        return jwt.encode(usual | claims, self.provider_key, "ES256", {"kid": "p"})


def _given_out(answer: requests.Response, *_: object, **__: object) -> None:
    """No token of an answer is to be seen anywhere else."""
    with suppress(ValueError):
        told = answer.json()
        for name in ("access_token", "refresh_token", "token"):
            if isinstance(told.get(name), str):
                canaries.secret(told[name], f"the {name} of an answer")


@contextmanager
def running(
    folder: Path, *addresses: str, tokens: Mapping[str, Any] = EMPTY, **sections: Mapping[str, Any]
) -> Iterator[Running]:
    """A server with a client of each kind, in a folder that may have been used before.

    ``tokens`` has more of that section, and ``sections`` others.
    """
    check, http, admin = addresses or free_addresses(0, 0, 0)
    issuer = f"http://{http}"
    client_key, provider_key = generate_private_key(SECP256R1()), generate_private_key(SECP256R1())
    (folder / "secret").write_text(SECRET + "\n")
    (folder / "client.jwks").write_text(json.dumps({"keys": [public_jwk(client_key, "c")]}))
    (folder / "provider.jwks").write_text(json.dumps({"keys": [public_jwk(provider_key, "p")]}))
    proof = {"secretFile": "secret"}
    config: dict[str, Any] = {
        "listen": {"check": {"address": check}, "http": {"address": http}, "admin": {"address": admin}},
        "check": {"drainDelay": "0s", "grace": "1s"},
        "telemetry": {"logs": {"level": "debug"}},
        "store": {"url": "sqlite:state.db"},
        "providers": [
            {"name": "own", "jwt": {"issuer": issuer, "audiences": ["orders"]}, "roles": {"mayGrant": ["user"]}},
            {
                "name": "corporate",
                "jwt": {"issuer": "https://login.example.com/", "audiences": ["gateway"], "jwksFile": "provider.jwks"},
                "roles": {"mayGrant": ["user", "admin"]},
            },
        ],
        "tokens": {
            "issuer": issuer,
            "audiences": ["orders"],
            "audit": {"file": "audit.log", "keyFile": "audit.key"},
            "rates": {"perClient": RATE, "failuresPerAddress": RATE, "refreshPerSession": RATE},
            "clients": [
                {
                    "id": "billing",
                    **proof,
                    "scopes": ["read", "write"],
                    "roles": ["user"],
                    "refresh": True,
                    "renew": True,
                },
                {"id": "steady", **proof, "refresh": True},
                {"id": "form", **proof, "secretIn": "form"},
                {"id": "signer", "jwksFile": "client.jwks"},
                {"id": "orders", **proof},
                {"id": "gateway", **proof, "exchange": {"providers": ["corporate", "own"], "mayGrant": ["user"]}},
            ],
        },
    }
    config["tokens"] |= tokens
    (folder / "extauthz.yaml").write_text(json.dumps(config | sections))
    command = [sys.executable, "-m", "extauthz", "serve"]
    ready = [answers(f"http://{admin}/readyz"), accepts(http)]
    with Process("extauthz", command, log=folder / "log", ready=ready, directory=folder) as process:
        canaries.secret(SECRET, "the secret of a client")
        yield Running(issuer, folder, client_key, provider_key, process, f"http://{admin}")
        canaries.pages_of(admin)


def revoke(session: OAuth2Session, token: str) -> None:
    """By Authlib."""
    answer = session.revoke_token(session.metadata["token_endpoint"].replace("token", "revoke"), token)  # type: ignore[no-untyped-call]
    assert answer.status_code == 200


def introspect(session: OAuth2Session, token: str) -> dict[str, Any]:
    """By Authlib."""
    told: dict[str, Any] = session.introspect_token(
        session.metadata["token_endpoint"].replace("token", "introspect"), token
    ).json()
    return told
