"""Introspection (RFC 7662): told to whom it concerns, and to nobody else (O34 to O37)."""

from dataclasses import replace
from typing import Any

from extauthz.tokens.clients import MINT
from extauthz.tokens.http import HttpAnswer
from tests.tokens.parts import ISSUER, NOW, Desk, body, claims_of, error

INACTIVE = b'{"active":false}'


async def ask(desk: Desk, token: str, client: str = "worker") -> HttpAnswer:
    return await desk.post("/oauth2/introspect", {"token": token}, client=client)


async def issued(desk: Desk, client: str = "worker", **form: Any) -> dict[str, Any]:
    return body(await desk.credentials(client, **form))


async def test_an_access_token(desk: Desk) -> None:
    """Of the right types, scope as one string (O37)."""
    token = (await issued(desk))["access_token"]
    answer = await ask(desk, token)
    claims = claims_of(token)
    assert ("cache-control", "no-store") in answer.headers
    assert body(answer) == {
        "active": True,
        "token_type": "Bearer",
        "iss": ISSUER,
        "sub": "worker",
        "aud": "orders",
        "client_id": "worker",
        "scope": "read write",
        "roles": ["user"],
        "iat": NOW,
        "exp": NOW + 300,
        "auth_time": NOW,
        "jti": claims["jti"],
        "sid": claims["sid"],
    }


async def test_whom_a_token_concerns(desk: Desk) -> None:
    """Its client, whom it is for, and who may introspect for that audience; for all others it does not exist (O34, O36)."""
    token = (await issued(desk))["access_token"]
    assert body(await ask(desk, token, "orders"))["active"]
    assert body(await ask(desk, token, "watcher"))["active"]
    for other in ("shop", "loop", "gateway"):
        assert (await ask(desk, token, other)).body == INACTIVE
    elsewhere = (await issued(desk, resource="stock"))["access_token"]
    for other in ("orders", "watcher"):
        assert (await ask(desk, elsewhere, other)).body == INACTIVE


async def test_a_refresh_token(desk: Desk) -> None:
    """The current one, to its own client alone."""
    one = (await issued(desk))["refresh_token"]
    told = body(await ask(desk, one))
    assert (told["active"], told["sub"], told["client_id"], told["scope"]) == (True, "worker", "worker", "read write")
    assert told["exp"] == NOW + 7 * 86_400
    for other in ("orders", "watcher", "loop"):
        assert (await ask(desk, one, other)).body == INACTIVE
    two = body(await desk.refresh(one))["refresh_token"]
    assert (await ask(desk, one)).body == INACTIVE
    desk.clock.time += 7 * 86_400
    assert (await ask(desk, two)).body == INACTIVE


async def test_inactive_tokens_are_all_alike(desk: Desk) -> None:
    """Unknown, forged, expired, revoked, of a client that is gone: exactly this (O35)."""
    told = await issued(desk)
    strange = await issued(Desk())
    for token in ("x", "a.b.c", "ert_x", strange["access_token"], strange["refresh_token"]):
        answer = await ask(desk, token)
        assert (answer.status, answer.body) == (200, INACTIVE)
    desk.signer.revoked = {("token", claims_of(told["access_token"])["jti"])}
    assert (await ask(desk, told["access_token"])).body == INACTIVE
    desk.signer.revoked = set()
    desk.registry.configure(desk.clients | {"worker": replace(desk.clients["worker"], disabled=True)})
    assert (await ask(desk, told["access_token"], "orders")).body == INACTIVE
    desk.registry.configure(desk.clients)
    await desk.post("/oauth2/revoke", {"token": told["refresh_token"]}, client="worker")
    assert (await ask(desk, told["refresh_token"])).body == INACTIVE
    desk.clock.time += 300
    assert (await ask(desk, told["access_token"])).body == INACTIVE
    assert desk.counts.told_of.count(("introspect", "inactive")) == 9


async def test_who_asks(desk: Desk) -> None:
    """401 for nobody; a token in the Authorization header is no proof (O34)."""
    token = (await issued(desk))["access_token"]
    assert error(await desk.post("/oauth2/introspect", {"token": token})) == (401, "invalid_client")
    headers = {"content-type": ("application/x-www-form-urlencoded",), "authorization": (f"Bearer {token}",)}
    assert error(await desk.post("/oauth2/introspect", {"token": token}, headers=headers)) == (401, "invalid_client")
    assert error(await desk.post("/oauth2/introspect", {}, client="worker")) == (400, "invalid_request")


async def test_a_token_that_was_made_by_command(desk: Desk) -> None:
    """It is a token of this service like all others, for whoever it is meant for, although nobody can be its client."""
    claims = claims_of((await issued(desk))["access_token"]) | {"client_id": MINT, "sub": "on-call", "jti": "minted"}
    token = (await desk.signer.sign(claims)).token
    for client in ("orders", "watcher"):
        told = body(await ask(desk, token, client))
        assert (told["active"], told["client_id"], told["sub"]) == (True, MINT, "on-call")
    assert (await ask(desk, token, "worker")).body == INACTIVE
    desk.signer.revoked = {("token", "minted")}
    assert (await ask(desk, token, "orders")).body == INACTIVE


async def test_nobody_can_be_the_client_of_tokens_made_by_command(desk: Desk) -> None:
    """Whatever is in the store or the configuration: who could would be told of all of them, and could revoke them."""
    worker = replace(desk.clients["worker"], id=MINT)
    await desk.store.put_client(worker, replace=False)
    assert error(await desk.credentials(MINT)) == (401, "invalid_client")
    desk.registry.configure(desk.clients | {MINT: worker})
    assert error(await desk.credentials(MINT)) == (401, "invalid_client")
