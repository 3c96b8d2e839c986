"""``POST /refresh``: as a shell loop calls it."""

import json
from dataclasses import replace
from typing import Any

import pytest

from extauthz.tokens.door import Rates
from tests.tokens.parts import NOW, SECRET, Desk, basic, body, claims_of, error, settings

DEAD = (400, "invalid_grant")


async def access(desk: Desk, client: str = "plain-loop") -> str:
    token: str = body(await desk.credentials(client))["access_token"]
    return token


async def test_an_access_token(desk: Desk) -> None:
    """A fresh one that says the same, with the auth_time of the first."""
    token = await access(desk)
    desk.clock.time += 200
    answer = await desk.renew(token)
    told = body(answer)
    assert (answer.status, set(told)) == (200, {"token", "token_type", "expires_in"})
    assert (told["token_type"], told["expires_in"]) == ("Bearer", 300)
    assert ("cache-control", "no-store") in answer.headers
    before, after = claims_of(token), claims_of(told["token"])
    assert before.pop("jti") != after.pop("jti")
    assert (after.pop("iat"), after.pop("exp")) == (NOW + 200, NOW + 500)
    assert (before.pop("iat"), before.pop("exp")) == (NOW, NOW + 300)
    assert after == before
    assert (desk.log.last().action, desk.log.last().client_id) == ("renew", "plain-loop")
    assert desk.counts.asked_for[-1] == ("renew", "issued")


async def test_a_loop(desk: Desk) -> None:
    """For a day after the client has authenticated, and then it must again."""
    token = await access(desk)
    for _ in range(86_400 // 250 - 1):
        desk.clock.time += 250
        token = body(await desk.renew(token))["token"]
    desk.clock.time = NOW + 86_399 - 100
    token = body(await desk.renew(token))["token"]
    assert claims_of(token)["exp"] == NOW + 86_400
    assert claims_of(token)["auth_time"] == NOW
    desk.clock.time = NOW + 86_399
    assert body(await desk.renew(token))["expires_in"] == 1
    desk.clock.time = NOW + 86_400
    assert error(await desk.renew(token)) == DEAD


async def test_the_end_is_told(desk: Desk) -> None:
    """Where access tokens live longer than they can be renewed."""
    client = replace(desk.clients["plain-loop"], lifetime=86_400)
    desk = Desk(desk.clock, settings=settings(renew_for=100), clients={"plain-loop": client})
    token = await access(desk)
    desk.clock.time += 100
    answer = await desk.renew(token)
    assert error(answer) == DEAD
    assert "renewal ends 100 s after auth_time" in body(answer)["error_description"]


async def test_a_refresh_token(desk: Desk) -> None:
    """Comes back as an access token, and with the refresh token that follows it, which the next call needs."""
    first = body(await desk.credentials("loop"))["refresh_token"]
    told = body(await desk.renew(first))
    assert told.keys() == {"token", "token_type", "expires_in", "refresh_token"}
    assert claims_of(told["token"])["client_id"] == "loop"
    assert body(await desk.renew(first))["refresh_token"] == told["refresh_token"]
    again = body(await desk.renew(told["refresh_token"]))
    desk.clock.time += 31
    assert error(await desk.renew(first)) == DEAD
    assert error(await desk.renew(again["refresh_token"])) == DEAD
    assert desk.counts.reuses == 1


async def test_only_for_clients_that_may_renew(desk: Desk) -> None:
    """Whoever has a token is believed here: so a client without renew: true must prove itself at the token endpoint (O4)."""
    told = body(await desk.credentials("worker"))
    assert error(await desk.renew(told["access_token"])) == DEAD
    assert error(await desk.renew(told["refresh_token"])) == DEAD
    assert error(await desk.renew(await access(desk, "shop"))) == DEAD
    assert (await desk.refresh(told["refresh_token"])).status == 200


async def test_what_is_never_renewed(desk: Desk) -> None:
    """Exchanged tokens, those bound to their sender, those without a session: signed by us, and refused all the same."""
    claims = claims_of(await access(desk))
    for changed in ({"act": {"sub": "gateway"}}, {"cnf": {"jkt": "x"}}, {"sid": ""}, {"auth_time": None}):
        signed = await desk.signer.sign(
            {name: value for name, value in (claims | changed).items() if value is not None}
        )
        assert error(await desk.renew(signed.token)) == DEAD
    assert (await desk.renew((await desk.signer.sign(claims)).token)).status == 200


async def test_tokens_that_are_not_good(desk: Desk) -> None:
    """Expired, revoked, forged, or of a client that is gone."""
    token = await access(desk)
    assert error(await desk.renew(token[:-4] + "AAAA")) == DEAD
    assert error(await desk.renew(await access(Desk()))) == DEAD
    desk.registry.configure({})
    assert error(await desk.renew(token)) == DEAD
    desk.registry.configure(desk.clients)
    desk.signer.revoked = {("family", claims_of(token)["sid"])}
    assert error(await desk.renew(token)) == DEAD
    desk.signer.revoked = set()
    desk.clock.time += 300
    assert error(await desk.renew(token)) == DEAD


async def test_less_where_the_client_may_have_less(desk: Desk) -> None:
    """Roles, scopes and audiences go with the configuration."""
    token = body(await desk.credentials("loop"))["access_token"]
    loop = desk.clients["loop"]
    desk.registry.configure({"loop": replace(loop, roles=(), scopes=("write",))})
    claims = claims_of(body(await desk.renew(token))["token"])
    assert claims["roles"] == []
    assert "scope" not in claims
    desk.registry.configure({"loop": replace(loop, audiences=("elsewhere",))})
    assert error(await desk.renew(token)) == DEAD


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "application/json", "text/plain", ""])
async def test_the_content_type_is_not_looked_at(desk: Desk, kind: str) -> None:
    """curl -d says that it is a form."""
    token = await access(desk)
    answer = await desk.renew(token, headers={"content-type": (kind,)} if kind else {})
    assert answer.status == 200


@pytest.mark.parametrize("written", ["$TOKEN", "${TOKEN}", "$REFRESH_TOKEN", "$(cat token)"])
async def test_the_shell_did_not_put_it_in(desk: Desk, written: str) -> None:
    """The error says what is wrong with the quotes."""
    answer = await desk.renew(written)
    assert error(answer) == (400, "invalid_request")
    assert f"the token is the text {written} itself: within single quotes" in body(answer)["error_description"]
    assert written not in desk.log.last().detail


async def test_what_the_shell_did_not_put_in_is_not_told_at_length(desk: Desk) -> None:
    """Neither the answer nor the log is the sender's to fill, and what is no name may be a secret (X1, X2)."""
    answer = await desk.renew(f"$({'x' * 30_000})")
    assert error(answer) == (400, "invalid_grant")
    assert len(answer.body) < 200
    assert "xxx" not in repr(desk.log.last())


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"token=x",
        b"[]",
        b'"x"',
        b"{}",
        b'{"token":1}',
        b'{"token":null}',
        b'{"token":""}',
        b'{"token":"a","token":"b"}',
        b"\xff",
        b"[" * 30000,
        b'{"token":"' + b"x" * 40000 + b'"}',
    ],
)
async def test_bodies_that_are_none(desk: Desk, sent: bytes) -> None:
    """One object with one token, within bounds."""
    assert error(await desk.post("/refresh", sent)) == (400, "invalid_request")


async def test_other_members_are_ignored(desk: Desk) -> None:
    """They are of somebody's later version."""
    sent = json.dumps({"token": await access(desk), "scope": "admin"}).encode()
    assert (await desk.post("/refresh", sent)).status == 200


async def test_no_proof_is_asked_for_and_none_counts(desk: Desk) -> None:
    """A client's secret does not make another client's token renewable."""
    told = body(await desk.credentials("worker"))
    headers: dict[str, Any] = {"headers": {"authorization": (basic("loop", SECRET),)}}
    assert error(await desk.renew(told["access_token"], **headers)) == DEAD


async def test_its_own_rate(desk: Desk) -> None:
    """By grant, so that one loop that spins slows no other; and by address for what proves nothing (R16)."""
    desk = Desk(settings=settings(rates=Rates(1000, 2, 3)))
    one, two = await access(desk), await access(desk)
    assert [(await desk.renew(one)).status for _ in range(5)] == [200, 200, 200, 429, 429]
    assert (await desk.renew(two)).status == 200
    assert [(await desk.renew("x")).status for _ in range(3)] == [400, 400, 429]
    assert (await desk.renew(two)).status == 200


async def test_our_faults_are_held_against_nobody() -> None:
    """An address that asks while the store is down has failed at nothing."""
    desk = Desk(settings=settings(rates=Rates(1000, 1, 1000)))
    token = await access(desk)
    desk.signer.ignorant = True
    assert {(await desk.renew(token)).status for _ in range(3)} == {503}


async def test_faults(desk: Desk) -> None:
    """503, and nothing was handed out or used up."""
    told = body(await desk.credentials("loop"))
    desk.signer.down = True
    for token in (told["access_token"], told["refresh_token"]):
        assert error(await desk.renew(token)) == (503, "temporarily_unavailable")
    desk.signer.down, desk.store.down = False, {"rotate"}
    assert error(await desk.renew(told["refresh_token"])) == (503, "temporarily_unavailable")
    desk.store.down, desk.log.full = set(), True
    assert error(await desk.renew(told["access_token"])) == (503, "temporarily_unavailable")
    desk.log.full = False
    desk.clock.time += 60
    assert (await desk.renew(told["refresh_token"])).status == 200


async def test_a_fault_is_not_a_strangers_to_fill_the_log_with(desk: Desk) -> None:
    """While the store is down anybody would cause a line with each request (I7): some say it, the metrics count all."""
    desk.store.down = {"client"}
    for _ in range(200):
        answer = await desk.post("/oauth2/token", {"grant_type": "client_credentials"}, client="nobody")
        assert answer.status == 503
    assert len(desk.log.events) == 60
    assert len(desk.counts.asked_for) == 200
    desk.clock.time += 62
    await desk.post("/oauth2/token", {"grant_type": "client_credentials"}, client="nobody")
    assert len(desk.log.events) == 61
