"""Access tokens and errors of the token endpoint, as the RFCs have them."""

import pytest

from extauthz.tokens.errors import OAuthError, error_answer
from tests.tokens.parts import EXCHANGE, ISSUER, NOW, Desk, body, claims_of, error, settings


class TestAccessTokens:
    async def test_client_credentials(self, desk: Desk) -> None:
        """RFC 6749 section 4.4.3, RFC 9068 section 2 (O2, O10)."""
        answer = await desk.credentials()
        told = body(answer)
        assert answer.status == 200
        assert {("content-type", "application/json"), ("cache-control", "no-store"), ("pragma", "no-cache")} <= set(
            answer.headers
        )
        assert (told["token_type"], told["expires_in"], told["scope"]) == ("Bearer", 300, "read write")
        assert told.keys() == {"access_token", "token_type", "expires_in", "scope"}
        claims = claims_of(told["access_token"])
        assert len(claims.pop("jti")) == 22
        assert claims == {
            "iss": ISSUER,
            "sub": "shop",
            "aud": "orders",
            "client_id": "shop",
            "iat": NOW,
            "exp": NOW + 300,
            "auth_time": NOW,
            "scope": "read write",
            "roles": ["user"],
        }

    async def test_no_two_tokens_have_one_name(self, desk: Desk) -> None:
        """128 random bits each (O11)."""
        names = {claims_of(body(await desk.credentials())["access_token"])["jti"] for _ in range(100)}
        assert len(names) == 100

    async def test_scope_is_narrowed_and_never_widened(self, desk: Desk) -> None:
        """What is asked for, or all; more is refused and not cut down silently (O10)."""
        assert body(await desk.credentials(scope="write"))["scope"] == "write"
        assert body(await desk.credentials(scope="write write"))["scope"] == "write"
        for scope in ("admin", "read admin", "READ", "read  write", " read", "read,write", 'read"'):
            assert error(await desk.credentials(scope=scope)) == (400, "invalid_scope")

    async def test_a_client_without_scopes(self, desk: Desk) -> None:
        """Its tokens have none, and can't have any."""
        assert "scope" not in body(await desk.credentials("watcher"))
        assert error(await desk.credentials("watcher", scope="read")) == (400, "invalid_scope")

    async def test_resource(self, desk: Desk) -> None:
        """One or several that the client may ask for (RFC 8707); others are refused."""
        one = claims_of(body(await desk.credentials(resource="https://stock"))["access_token"])
        both = claims_of(body(await desk.credentials(resource=["https://stock", "orders", "orders"]))["access_token"])
        assert one["aud"] == "https://stock"
        assert both["aud"] == ["https://stock", "orders"]
        for other in ("https://other", ["orders", "https://other"], "https://stock/", "*"):
            assert error(await desk.credentials(resource=other)) == (400, "invalid_target")

    async def test_nothing_of_the_request_becomes_a_claim(self, desk: Desk) -> None:
        """Unknown parameters are ignored, whatever they are called (O1, O15)."""
        answer = await desk.credentials(
            roles="admin", sub="root", iss="x", exp="9", audience="a", act="{}", sid="s", cnf="{}"
        )
        claims = claims_of(body(answer)["access_token"])
        assert (claims["sub"], claims["roles"], claims["aud"]) == ("shop", ["user"], "orders")
        assert not {"act", "sid", "cnf"} & claims.keys()

    async def test_signing_that_takes_too_long(self, desk: Desk) -> None:
        """A token that has expired by the time it is signed is not handed out (O16)."""
        sign = desk.signer.sign

        async def slow(claims: dict[str, object], *, typ: str = "at+jwt") -> object:
            desk.clock.time += 301
            return await sign(claims, typ=typ)

        desk.signer.sign = slow  # type: ignore[assignment]
        assert error(await desk.credentials()) == (503, "temporarily_unavailable")


class TestErrors:
    async def test_grants(self, desk: Desk) -> None:
        """The words of RFC 6749 section 5.2 (O6)."""
        assert error(await desk.token({})) == (400, "invalid_request")
        assert error(await desk.token({"grant_type": "password"})) == (400, "unsupported_grant_type")
        assert error(await desk.token({"grant_type": "authorization_code"})) == (400, "unsupported_grant_type")
        assert error(await desk.token({"grant_type": EXCHANGE})) == (400, "unauthorized_client")
        assert error(await desk.credentials("gateway")) == (400, "unauthorized_client")

    async def test_duplicates(self, desk: Desk) -> None:
        """Of any parameter (O1)."""
        assert error(
            await desk.post(
                "/oauth2/token", b"grant_type=client_credentials&grant_type=client_credentials", client="shop"
            )
        ) == (
            400,
            "invalid_request",
        )

    @pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "OPTIONS", "post"])
    @pytest.mark.parametrize("path", ["/oauth2/token", "/oauth2/revoke", "/oauth2/introspect", "/refresh"])
    async def test_post_alone(self, desk: Desk, method: str, path: str) -> None:
        """Everything else is 405 and says so (O1)."""
        answer = await desk.post(path, {"grant_type": "client_credentials"}, client="shop", method=method)
        assert answer.status == 405
        assert ("allow", "POST") in answer.headers

    async def test_no_such_path(self, desk: Desk) -> None:
        """404, also for what looks like one of them."""
        for path in ("/", "/oauth2/token/", "//oauth2/token", "/oauth2/authorize", "/OAUTH2/token"):
            assert (await desk.post(path, {})).status == 404

    def test_descriptions_hold_no_more_than_they_may(self) -> None:
        """Whatever gets into one: no quotes, backslashes, line ends, controls or letters of other scripts (O2)."""
        answer = error_answer(OAuthError("invalid_request", 'a"b\\c\r\nSet-Cookie: x\x00é~ !'))
        assert body(answer)["error_description"] == "a?b?c??Set-Cookie: x??~ !"

    async def test_headers_can_not_be_injected(self, desk: Desk) -> None:
        """No header of any answer has anything of a request in it."""
        evil = "x\r\nset-cookie: a=b"
        for form in (
            {"grant_type": evil},
            {"grant_type": "client_credentials", "scope": evil},
            {"grant_type": "client_credentials", "resource": evil},
        ):
            answer = await desk.token(form)
            assert answer.status == 400
            assert not any("cookie" in name + value for name, value in answer.headers)

    async def test_the_log_tells_more_than_the_answer(self, desk: Desk) -> None:
        """Who was refused, and why; the client hears what is generic (X3, X11)."""
        await desk.credentials("nobody")
        event = desk.log.last()
        assert (event.action, event.outcome, event.reason, event.address) == (
            "issue",
            "refused",
            "invalid_client",
            "192.0.2.1",
        )
        assert "no client nobody" in event.detail

    async def test_what_is_recorded_of_a_token(self, desk: Desk) -> None:
        """Enough to find it again: and the token itself goes to the log alone, which keeps a digest (X3)."""
        token = body(await desk.credentials())["access_token"]
        event = desk.log.last()
        assert (event.action, event.outcome, event.client_id, event.subject, event.key_id) == (
            "issue",
            "done",
            "shop",
            "shop",
            "k1",
        )
        assert event.jti == claims_of(token)["jti"]
        assert event.token == token
        assert token not in repr(event)
        assert desk.counts.asked_for == [("client_credentials", "issued")]


class TestBasePath:
    async def test_an_issuer_with_a_path(self) -> None:
        """Both with the path, as a proxy may pass it on, and without."""
        desk = Desk(settings=settings(issuer="https://x.example.com/auth"))
        for path in ("/auth/.well-known/openid-configuration", "/.well-known/openid-configuration"):
            assert body(await desk.get(path))["token_endpoint"] == "https://x.example.com/auth/oauth2/token"
        assert (await desk.get("/.well-known/oauth-authorization-server/auth")).status == 200
        assert (await desk.get("/authx/.well-known/openid-configuration")).status == 404
