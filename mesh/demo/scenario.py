"""What is asked and what must come back: some fifty requests that tell the story of one mesh.

Model: a `Step` is a sentence, a call, the expected status and the expected reason. `by` says who answers: extauthz
decides (the reason is one of its words, found in Envoy's access log), or Envoy itself refuses the request before
anybody is asked (the reason is Envoy's response code detail). A `proof` looks at what the upstream received, where
the status alone would not show that a header was removed or replaced.

Trade-off: the expectations are written out and not computed. A change of behaviour has to be made here as well, which
is exactly when somebody should look at it.
"""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache

from cryptography.hazmat.primitives import serialization

from mesh.demo.clients import Answer, http, rpc, websocket
from mesh.desk import Refused, TokenDesk
from mesh.issuer import Issuer, SigningKey

SAY = "/demo.echo.v1.Echo/Say"
RESET = "/demo.echo.v1.Echo/Reset"
Header = tuple[str, str] | Callable[[], tuple[str, str]]
_WINDOW = 61
"""Seconds after which all of a rate is back."""


@dataclass(frozen=True, slots=True)
class Step:
    """One request of the scenario."""

    chapter: str
    asked: str
    ask: Callable[[], Answer]
    status: str
    reason: str
    by: str = "extauthz"
    proof: Callable[[Answer], bool] | None = None
    proves: str = ""


def _bearer(token: str) -> tuple[str, str]:
    return ("authorization", f"Bearer {token}")


def _issued(ask: Callable[[], str]) -> Header:
    """The header with a token that is asked for when it is needed, once."""
    return cache(lambda: _bearer(ask()))


def _segment(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _unsigned(token: str) -> str:
    """The token with its signature taken off and the algorithm set to none."""
    header = _segment(json.dumps({"alg": "none", "typ": "JWT"}).encode())
    return f"{header}.{token.split('.')[1]}."


def _confused(issuer: Issuer, token: str) -> str:
    """The token signed by HMAC with the issuer's public key as the secret, which anybody can do."""
    public = issuer.key.private.public_key()
    secret = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    header = _segment(json.dumps({"alg": "HS256", "typ": "JWT", "kid": issuer.key.kid}).encode())
    signed = f"{header}.{token.split('.')[1]}"
    # By hand, because PyJWT rightly refuses to take a public key for an HMAC secret.
    return f"{signed}.{_segment(hmac.digest(secret, signed.encode(), 'sha256'))}"


def _subject_is(name: str) -> Callable[[Answer], bool]:
    return lambda answer: answer.upstream_header("x-auth-subject") == [name]


def _absent(*names: str) -> Callable[[Answer], bool]:
    return lambda answer: bool(answer.body) and not any(answer.upstream_header(name) for name in names)


@dataclass(frozen=True, slots=True)
class Scenario:
    """The steps against one running mesh."""

    authority: str
    issuer: Issuer
    """Of the employees' tokens."""
    desk: TokenDesk
    """extauthz' own token service."""

    def get(self, path: str, *headers: Header) -> Callable[[], Answer]:
        return self.send("GET", path, *headers)

    def send(self, method: str, path: str, *headers: Header) -> Callable[[], Answer]:
        return lambda: http(
            self.authority, method, path, [header() if callable(header) else header for header in headers]
        )

    def steps(self) -> list[Step]:
        """Every step, in the order of telling."""
        chapters = (
            self.roles,
            self.tokens,
            self.token_service,
            self.headers,
            self.paths,
            self.conditions,
            self.rates,
            self.protocols,
        )
        return [step for chapter in chapters for step in chapter()]

    def roles(self) -> Iterator[Step]:
        """Who may do what."""
        desk = self.desk
        user = _issued(lambda: desk.exchange("gateway", self.issuer.mint("alice")).access_token)
        admin = _issued(lambda: desk.own("backoffice").access_token)
        partner = self.issuer.mint_partner()
        step = Step(
            "Roles",
            "GET /orders/42 as user alice, by exchange",
            self.get("/orders/42", user),
            "200",
            "allowed",
            proof=lambda answer: _subject_is("dev:alice")(answer) and _absent("authorization")(answer),
            proves="upstream sees dev:alice, and no token",
        )
        yield step
        yield replace(
            step,
            asked="DELETE /orders/42 as admin, the back office",
            ask=self.send("DELETE", "/orders/42", admin),
            proof=_subject_is("backoffice"),
            proves="upstream sees backoffice",
        )
        yield Step("Roles", "GET /orders/42 as admin (includes user)", self.get("/orders/42", admin), "200", "allowed")
        yield Step("Roles", "DELETE /orders/42 as user", self.send("DELETE", "/orders/42", user), "403", "role-missing")
        yield Step("Roles", "GET /orders/42 without a token", self.get("/orders/42"), "401", "no-credentials")
        yield Step("Roles", "GET /public/news without a token", self.get("/public/news"), "200", "allowed")
        catalog = self.get("/catalog/7", ("host", "partner.example.com"), _bearer(partner))
        yield Step("Roles", "GET partner.example.com/catalog/7 as partner", catalog, "200", "allowed")
        claims_admin = _bearer(self.issuer.mint_partner("acme-batch", ["partner", "admin"]))
        yield Step(
            "Roles",
            "DELETE /orders/42, a partner's token that says admin",
            self.send("DELETE", "/orders/42", claims_admin),
            "403",
            "role-missing",
        )

    def tokens(self) -> Iterator[Step]:
        """Tokens that must not work."""
        mint = self.issuer.mint
        forged = replace(SigningKey.rsa(), kid=self.issuer.key.kid)
        cases = [
            ("expired an hour ago", mint(lifetime=-3600), "token-expired"),
            ("not valid before tomorrow", mint(nbf=int(time.time()) + 86400), "token-not-yet-valid"),
            ("signed by another key", mint(roles=["admin"], key=forged), "signature-invalid"),
            ("unsigned (alg none)", _unsigned(mint(roles=["admin"])), "algorithm-not-allowed"),
            ("HMAC with the public key", _confused(self.issuer, mint(roles=["admin"])), "algorithm-not-allowed"),
            ("for another audience", mint(audience="payroll"), "audience-mismatch"),
            ("from an unknown issuer", mint(iss="https://evil.example.com/"), "issuer-unknown"),
            ("not a token at all", "not-a-token", "token-malformed"),
        ]
        for what, token, reason in cases:
            yield Step("Tokens", f"GET /orders/42, token {what}", self.get("/orders/42", _bearer(token)), "401", reason)
        yield Step(
            "Tokens",
            "GET /public/news, token expired",
            self.get("/public/news", _bearer(mint(lifetime=-3600))),
            "401",
            "token-expired",
        )
        yield Step(
            "Tokens",
            "GET /orders/42 with two Authorization headers",
            self.get("/orders/42", _bearer(mint("alice")), _bearer(mint("root", ["admin"]))),
            "400",
            "credentials-ambiguous",
        )

    def token_service(self) -> Iterator[Step]:
        """Tokens that extauthz issues, renews and ends."""
        desk = self.desk

        def renewed() -> str:
            return desk.renew(desk.own("shop").access_token)

        def refreshed() -> str:
            return desk.refresh("shop", desk.own("shop").refresh_token).access_token

        def stolen() -> str:
            issued = desk.own("shop")
            desk.refresh("shop", desk.refresh("shop", issued.refresh_token).refresh_token)
            try:
                desk.refresh("shop", issued.refresh_token)
            except Refused:
                return issued.access_token
            return "a thief was given a token"

        def revoked() -> str:
            token = desk.own("shop").access_token
            desk.revoke("shop", token)
            return token

        yield Step(
            "Token service",
            "GET /orders/42 as shop, by its secret",
            self.get("/orders/42", _issued(lambda: desk.own("shop").access_token)),
            "200",
            "allowed",
            proof=_subject_is("shop"),
            proves="upstream sees shop",
        )
        cases = [
            ("renewed by POST /refresh", renewed, "200", "allowed"),
            ("by a refresh token", refreshed, "200", "allowed"),
            ("its refresh token used by a thief too", stolen, "401", "token-revoked"),
            ("its token revoked a moment ago", revoked, "401", "token-revoked"),
        ]
        for what, ask, status, reason in cases:
            asked = f"GET /orders/42 as shop, {what}"
            yield Step("Token service", asked, self.get("/orders/42", _issued(ask)), status, reason)
        yield Step(
            "Token service",
            "DELETE /orders/42 as root, brought by the gateway",
            self.send(
                "DELETE",
                "/orders/42",
                _issued(lambda: desk.exchange("gateway", self.issuer.mint("root", ["admin", "user"])).access_token),
            ),
            "403",
            "role-missing",
        )

    def headers(self) -> Iterator[Step]:
        """Identities that clients claim by header."""
        user = _bearer(self.issuer.mint("alice"))
        yield Step(
            "Headers",
            "GET /orders/42 as alice with x-auth-subject: root",
            self.get("/orders/42", user, ("x-auth-subject", "root")),
            "200",
            "allowed",
            proof=_subject_is("alice"),
            proves="upstream sees alice, once",
        )
        yield Step(
            "Headers",
            "GET /orders/42 as alice with x.auth.subject: root",
            self.get("/orders/42", user, ("x.auth.subject", "root")),
            "200",
            "allowed",
            proof=lambda answer: _subject_is("alice")(answer) and _absent("x.auth.subject")(answer),
            proves="the alias is gone",
        )
        yield Step(
            "Headers",
            "GET /orders/42 as alice with x_auth_subject: root",
            self.get("/orders/42", user, ("x_auth_subject", "root")),
            "400",
            "http1.unexpected_underscore",
            by="envoy",
        )
        yield Step(
            "Headers",
            "GET /public/news, x-auth-subject: root, no token",
            self.get("/public/news", ("x-auth-subject", "root")),
            "200",
            "allowed",
            proof=_absent("x-auth-subject"),
            proves="upstream sees nobody",
        )
        yield Step(
            "Headers",
            "GET /orders/42 with x-http-method-override: DELETE",
            self.get("/orders/42", user, ("x-http-method-override", "DELETE")),
            "200",
            "allowed",
            proof=_absent("x-http-method-override"),
            proves="the override is gone",
        )

    def paths(self) -> Iterator[Step]:
        """Paths that two parsers would read differently."""
        user, admin = _bearer(self.issuer.mint("alice")), _bearer(self.issuer.mint("root", ["admin"]))
        yield Step(
            "Paths",
            "GET /public/..%2fadmin",
            self.get("/public/..%2fadmin", user),
            "307",
            "path_normalization_failed",
            by="envoy",
            proof=lambda answer: answer.headers.get("location") == "/admin",
            proves="sent to /admin, to be judged there",
        )
        yield Step("Paths", "GET //admin as user", self.get("//admin", user), "403", "role-missing")
        yield Step("Paths", "GET /admin;x as admin", self.get("/admin;x", admin), "400", "path-ambiguous")
        yield Step(
            "Paths",
            "GET /orders/../internal/keys as admin",
            self.get("/orders/../internal/keys", admin),
            "403",
            "denied-by-rule",
        )
        yield Step("Paths", "GET /nowhere as user", self.get("/nowhere", user), "403", "no-rule")

    def conditions(self) -> Iterator[Step]:
        """Conditions on claims and headers."""
        user = _bearer(self.issuer.mint("alice", tenant="acme"))
        yield Step(
            "Conditions",
            "GET /tenants/acme/bills, tenant header = claim",
            self.get("/tenants/acme/bills", user, ("x-tenant", "acme")),
            "200",
            "allowed",
        )
        yield Step(
            "Conditions",
            "GET /tenants/acme/bills, another tenant's header",
            self.get("/tenants/acme/bills", user, ("x-tenant", "globex")),
            "403",
            "no-rule",
        )

    def rates(self) -> Iterator[Step]:
        """How often."""
        # Nobody was asked about these callers in the last minute, however often the scenario is told.
        dave, erin = (f"{name}-{time.time_ns()}" for name in ("dave", "erin"))
        user, other = _bearer(self.issuer.mint(dave)), _bearer(self.issuer.mint(erin))
        for count in ("first", "second"):
            asked = f"GET /reports/7 as user dave, {count} in a minute"
            yield Step("Rates", asked, self.get("/reports/7", user), "200", "allowed")
        yield Step(
            "Rates",
            "GET /reports/7 as user dave, third in a minute",
            self.get("/reports/7", user),
            "429",
            "rate-limited",
            proof=lambda answer: 0 < int(answer.headers.get("retry-after", "0")) <= _WINDOW,
            proves="told when to come again",
        )
        yield Step("Rates", "GET /reports/7 as user erin", self.get("/reports/7", other), "200", "allowed")

    def protocols(self) -> Iterator[Step]:
        """gRPC, websocket, CORS."""
        user = _bearer(self.issuer.mint("alice"))
        here = self.authority
        yield Step(
            "Protocols",
            "gRPC Echo/Say as user",
            lambda: rpc(here, SAY, [user]),
            "grpc 0",
            "allowed",
            proof=lambda answer: answer.body.get("subject") == "alice",
            proves="upstream sees alice",
        )
        yield Step("Protocols", "gRPC Echo/Say without a token", lambda: rpc(here, SAY), "grpc 16", "no-credentials")
        yield Step("Protocols", "gRPC Echo/Reset as user", lambda: rpc(here, RESET, [user]), "grpc 7", "role-missing")
        yield Step(
            "Protocols",
            "websocket /live as user",
            lambda: websocket(here, "/live", [user]),
            "101",
            "allowed",
            proof=lambda answer: answer.body == {"greeting": "hello alice", "echoed": "ping"},
            proves="upstream sees alice",
        )
        yield Step(
            "Protocols", "websocket /live without a token", lambda: websocket(here, "/live"), "401", "no-credentials"
        )
        preflight = self.send(
            "OPTIONS",
            "/orders/42",
            ("origin", "https://shop.example.com"),
            ("access-control-request-method", "DELETE"),
        )
        yield Step(
            "Protocols",
            "CORS preflight of DELETE /orders/42",
            preflight,
            "200",
            "allowed",
            proof=_absent("x-auth-subject", "x-auth-roles"),
            proves="upstream sees nobody",
        )
