"""A development issuer: throw-away keys, real discovery over HTTP, tokens for whoever asks.

Model: an `Issuer` holds one or two key pairs made at start and never written to disk. In the local mesh and in tests
it serves from a thread of the calling process, so `issuer.mint(...)` and the HTTP endpoints share the keys; in compose
it is a process of its own (`python -m mesh.issuer`).

    GET  /.well-known/openid-configuration, /jwks       what a JWT provider with discovery fetches
    GET  /partner/jwks                                  the keys of the second provider
    GET  /mint?sub=alice&roles=user&tenant=acme         a token as plain text, for `curl $(curl ...)`;
                                                        also aud, lifetime and issuer=partner
    GET  /livez

Two identities are enough to show the boundary between providers: `dev` (RS256, found by discovery) and `partner`
(EdDSA, configured with its keys), each with an issuer name of its own.

Keys of `dev` rotate as an issuer should do it: `prepare` publishes the next key, `activate` signs with it once verifiers
have had the time to fetch it, `retire` withdraws the others once their last tokens have ended.

Trade-off: /mint asks nobody who they are, which is the point of a development issuer and the reason it refuses to
listen beyond loopback unless told to (in compose, where the port is published on loopback only). The standard
library's threaded HTTP server is enough, and spares the calling process another event loop.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any as Json
from typing import ClassVar, Self
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from typing_extensions import override

from mesh.address import LOOPBACK, parse_address

AUDIENCE = "orders"
PARTNER = "https://partner.example.com/"
NOT_CLAIMS = frozenset({"subject", "audience", "lifetime", "key", "header"})
"""Parameter names of `Issuer.mint`, which a query must not reach."""

PrivateKey = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key, the algorithm it signs with and the key id under which its public half is published."""

    kid: str
    algorithm: str
    private: PrivateKey

    @classmethod
    def rsa(cls) -> Self:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return cls(f"dev-{secrets.token_hex(4)}", "RS256", key)

    @classmethod
    def ed25519(cls) -> Self:
        return cls(f"partner-{secrets.token_hex(4)}", "EdDSA", ed25519.Ed25519PrivateKey.generate())

    def public_jwk(self) -> dict[str, Json]:
        """The public half as a JWK with kid, alg and use."""
        public = self.private.public_key()
        if isinstance(public, rsa.RSAPublicKey):
            encoded = jwt.algorithms.RSAAlgorithm.to_jwk(public, as_dict=True)
        else:
            encoded = jwt.algorithms.OKPAlgorithm.to_jwk(public, as_dict=True)
        encoded.pop("key_ops", None)
        return {**encoded, "kid": self.kid, "alg": self.algorithm, "use": "sig"}


class Issuer:
    """Two token issuers and their HTTP endpoints. Use it as a context manager to serve, or only to mint."""

    def __init__(self, listen: str, url: str | None = None) -> None:
        self.listen = listen
        self.url = url or f"http://{listen}"
        self.key = SigningKey.rsa()
        self.published: tuple[SigningKey, ...] = (self.key,)
        self.partner_key = SigningKey.ed25519()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    def mint(
        self,
        subject: str = "alice",
        roles: Sequence[str] = ("user",),
        *,
        audience: str = AUDIENCE,
        lifetime: float = 3600,
        key: SigningKey | None = None,
        header: Mapping[str, Json] | None = None,
        **claims: Json,
    ) -> str:
        """An access token of the `dev` provider; keyword claims are added to or replace the usual ones."""
        now = int(time.time())
        payload = {
            "iss": self.url,
            "sub": subject,
            "aud": audience,
            "iat": now,
            "exp": int(now + lifetime),
            "jti": secrets.token_urlsafe(12),
            "roles": list(roles),
            **claims,
        }
        signer = key or self.key
        return jwt.encode(
            payload, signer.private, algorithm=signer.algorithm, headers={"kid": signer.kid, **(header or {})}
        )

    def mint_partner(self, subject: str = "acme-batch", roles: Sequence[str] = ("partner",), **claims: Json) -> str:
        """An access token of the `partner` provider."""
        return self.mint(subject, roles, key=self.partner_key, **{"iss": PARTNER, **claims})

    def prepare(self) -> SigningKey:
        """Publishes the next key of `dev` beside those that are there."""
        key = SigningKey.rsa()
        self.published = (*self.published, key)
        return key

    def activate(self) -> None:
        """Signs with the key that was published last."""
        self.key = self.published[-1]

    def retire(self) -> None:
        """Withdraws all keys but the one that signs: their tokens end with the verifiers' next fetch."""
        self.published = (self.key,)

    def jwks(self) -> dict[str, Json]:
        """The published keys of the `dev` provider."""
        return {"keys": [key.public_jwk() for key in self.published]}

    def partner_jwks(self) -> dict[str, Json]:
        """The published keys of the `partner` provider."""
        return {"keys": [self.partner_key.public_jwk()]}

    def discovery(self) -> dict[str, Json]:
        """The OpenID Connect discovery document."""
        return {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/jwks",
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self.key.algorithm],
        }

    def respond(self, target: str) -> tuple[HTTPStatus, str, str]:
        """Status, content type and body for one GET."""
        address = urlsplit(target)
        documents: dict[str, Callable[[], Json]] = {
            "/.well-known/openid-configuration": self.discovery,
            "/jwks": self.jwks,
            "/partner/jwks": self.partner_jwks,
        }
        if address.path in documents:
            return HTTPStatus.OK, "application/json", json.dumps(documents[address.path]())
        if address.path == "/mint":
            try:
                return HTTPStatus.OK, "text/plain", self._mint_from(parse_qs(address.query))
            except ValueError as wrong:
                return HTTPStatus.BAD_REQUEST, "text/plain", f"{wrong}\n"
        if address.path == "/livez":
            return HTTPStatus.OK, "text/plain", "ok\n"
        return HTTPStatus.NOT_FOUND, "text/plain", "not found\n"

    def _mint_from(self, query: Mapping[str, Sequence[str]]) -> str:
        values = {name: given[-1] for name, given in query.items()}
        subject = values.pop("sub", "alice")
        roles = [role for role in values.pop("roles", "user").split(",") if role]
        issuer = values.pop("issuer", "dev")
        claims: dict[str, Json] = {"aud": values.pop("aud", AUDIENCE)}
        claims["exp"] = int(time.time() + float(values.pop("lifetime", "3600")))
        claims |= {name: value for name, value in values.items() if name not in NOT_CLAIMS}
        return (
            self.mint_partner(subject, roles, **claims) if issuer == "partner" else self.mint(subject, roles, **claims)
        )

    def start(self) -> Self:
        """Serves from a thread of this process."""
        where = parse_address(self.listen)
        handler = type("BoundHandler", (_Handler,), {"issuer": self})
        self._server = _Server((where.host, where.port), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="issuer", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stops serving; minting goes on working."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    @override
    def handle_error(self, request: Json, client_address: Json) -> None:
        """Keeps silent about callers that hang up, which verifiers with a deadline do."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    issuer: ClassVar[Issuer]

    def do_GET(self) -> None:
        status, content_type, body = self.issuer.respond(self.path)
        data = body.encode()
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(data)))
        self.send_header("cache-control", "no-store" if self.path.startswith("/mint") else "max-age=60")
        self.end_headers()
        self.wfile.write(data)

    @override
    def log_message(self, format: str, *args: Json) -> None:
        """Keeps the log silent: request lines of /mint are of no use, and the parent prints its own progress."""


def main() -> None:
    """`python -m mesh.issuer --listen 0.0.0.0:8089 --url http://issuer:8089 --beyond-loopback`"""
    parser = argparse.ArgumentParser(prog="python -m mesh.issuer", description="A development token issuer.")
    parser.add_argument("--listen", default=f"{LOOPBACK}:8089")
    parser.add_argument("--url", help="the issuer name, as other hosts reach it")
    parser.add_argument("--beyond-loopback", action="store_true", help="hand out tokens to other hosts as well")
    arguments = parser.parse_args()
    if not arguments.beyond_loopback and not parse_address(arguments.listen).host.startswith("127."):
        parser.error("this issuer gives anybody a token: listening beyond loopback needs --beyond-loopback")
    with Issuer(arguments.listen, arguments.url) as issuer:
        print(f"issuer {issuer.url} listens on {issuer.listen}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
