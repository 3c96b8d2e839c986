"""Revocation (RFC 7009): a client ends what it was given (O29 to O33)."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from extauthz.config import Tokens
from extauthz.tokens.families import RefreshTimes
from extauthz.tokens.http import HttpAnswer
from extauthz.tokens.records import Revocation
from tests.tokens.parts import NOW, Desk, body, claims_of, error, settings

OLDEST_LIST = 3_600.0
"""Seconds for which ``tokens.revocationsMaxAge`` may let a replica go on without the store."""
LARGEST_SKEW = 300.0
"""Seconds of ``jwt.clockSkew``."""


async def revoke(desk: Desk, token: str, client: str = "worker", **form: str) -> HttpAnswer:
    return await desk.post("/oauth2/revoke", {"token": token, **form}, client=client)


async def test_an_access_token(desk: Desk) -> None:
    """By its name, until it would have expired and every clock says so; the refresh token stays (O30, O33)."""
    told = body(await desk.credentials("worker"))
    claims = claims_of(told["access_token"])
    answer = await revoke(desk, told["access_token"])
    assert (answer.status, body(answer)) == (200, {})
    assert desk.store.revoked == [Revocation("token", claims["jti"], claims["exp"] + 300, claims["exp"] + 300)]
    assert (await desk.refresh(told["refresh_token"])).status == 200
    event = next(event for event in desk.log.events if event.action == "revoke")
    assert (event.client_id, event.subject, event.jti, event.family) == (
        "worker",
        "worker",
        claims["jti"],
        claims["sid"],
    )


async def test_a_refresh_token(desk: Desk) -> None:
    """With it goes the family, and with that all its access tokens (O30)."""
    told = body(await desk.credentials("worker"))
    assert (await revoke(desk, told["refresh_token"])).status == 200
    assert error(await desk.refresh(told["refresh_token"])) == (400, "invalid_grant")
    (revocation,) = desk.store.revoked[:1]
    assert (revocation.kind, revocation.value) == ("family", claims_of(told["access_token"])["sid"])
    assert revocation.until > NOW + 86_400


async def test_one_that_was_followed_already(desk: Desk) -> None:
    """Ends the family too: a client that lost the answer knows no other."""
    one = body(await desk.credentials("worker"))["refresh_token"]
    two = body(await desk.refresh(one))["refresh_token"]
    assert (await revoke(desk, one)).status == 200
    assert error(await desk.refresh(two)) == (400, "invalid_grant")
    assert desk.counts.reuses == 0


async def test_an_access_token_that_can_be_renewed(desk: Desk) -> None:
    """Others may have followed from it, in whoever's hands: all of the grant ends."""
    told = body(await desk.credentials("loop"))
    renewed = body(await desk.renew(told["access_token"]))["token"]
    assert (await revoke(desk, told["access_token"], "loop")).status == 200
    assert {(one.kind, one.value) for one in desk.store.revoked} == {
        ("token", claims_of(told["access_token"])["jti"]),
        ("family", claims_of(renewed)["sid"]),
    }
    assert error(await desk.refresh(told["refresh_token"], client="loop")) == (400, "invalid_grant")


async def test_a_token_that_has_expired_and_was_renewed(desk: Desk) -> None:
    """A thief who has renewed it goes on from his own; the client ends the grant with the one that it has, good or not."""
    told = body(await desk.credentials("loop"))
    stolen = body(await desk.renew(told["access_token"]))["token"]
    desk.clock.time += 301
    stolen_again = claims_of(stolen)
    assert (await revoke(desk, told["access_token"], "loop")).status == 200
    assert [(one.kind, one.value) for one in desk.store.revoked] == [("family", stolen_again["sid"])]
    desk.store.revoked.clear()
    assert (await revoke(desk, told["access_token"], "worker")).status == 200
    kept = body(await desk.credentials("worker"))["access_token"]
    desk.clock.time += 301
    assert (await revoke(desk, kept)).status == 200
    assert (await revoke(desk, told["access_token"][:-4] + "AAAA", "loop")).status == 200
    assert desk.store.revoked == []


async def test_hints_mislead_nobody(desk: Desk) -> None:
    """A wrong or unknown one: the token is found nevertheless (O29)."""
    for hint in ("refresh_token", "access_token", "pigeon", ""):
        for kind in ("access_token", "refresh_token"):
            told = body(await desk.credentials("worker"))
            desk.store.revoked.clear()
            assert (await revoke(desk, told[kind], token_type_hint=hint)).status == 200
            assert len(desk.store.revoked) == 1


async def test_what_is_not_there_is_not_there(desk: Desk) -> None:
    """Unknown, forged, expired, and revoked before: 200, since what was asked for is so (RFC 7009 section 2.2)."""
    told = body(await desk.credentials("worker"))
    strange = body(await Desk().credentials("worker"))
    for token in ("x", "a.b.c", "ert_", strange["refresh_token"], strange["access_token"]):
        assert (await revoke(desk, token)).status == 200
    assert desk.store.revoked == []
    for _ in range(2):
        assert (await revoke(desk, told["refresh_token"])).status == 200
    desk.clock.time += 300
    assert (await revoke(desk, told["access_token"])).status == 200
    assert {one.kind for one in desk.store.revoked} == {"family"}


async def test_another_clients(desk: Desk) -> None:
    """Is refused, and stays good (O29)."""
    told = body(await desk.credentials("worker"))
    for token in (told["access_token"], told["refresh_token"]):
        assert error(await revoke(desk, token, "loop")) == (400, "invalid_grant")
    assert desk.store.revoked == []
    assert (await desk.refresh(told["refresh_token"])).status == 200


async def test_who_asks_and_for_what(desk: Desk) -> None:
    """The client proves who it is, and names a token (O29)."""
    told = body(await desk.credentials("worker"))
    assert error(await desk.post("/oauth2/revoke", {"token": told["access_token"]})) == (401, "invalid_client")
    assert error(await desk.post("/oauth2/revoke", {}, client="worker")) == (400, "invalid_request")
    query = await desk.post("/oauth2/revoke", {}, client="worker", query=f"token={told['access_token']}")
    assert error(query) == (400, "invalid_request")


async def test_it_is_durable_or_it_is_not_said(desk: Desk) -> None:
    """503 with Retry-After while the store or the log is down, and the client asks again (O29, O31)."""
    told = body(await desk.credentials("worker"))
    desk.store.down = {"revoke"}
    for token in (told["access_token"], told["refresh_token"]):
        answer = await revoke(desk, token)
        assert error(answer) == (503, "temporarily_unavailable")
        assert "retry-after" in dict(answer.headers)
    desk.store.down = set()
    assert (await revoke(desk, told["refresh_token"])).status == 200
    assert [one.kind for one in desk.store.revoked] == ["family"]
    desk.log.full = True
    assert error(await revoke(desk, told["access_token"])) == (503, "temporarily_unavailable")


async def test_nothing_outlives_the_end_of_a_session() -> None:
    """A thief has the access token of a session that was ended, and asks a replica that can't read the store to renew it, at
    the last moment at which that believes what it read before. What comes of it ends before the revocation is forgotten, by
    the clock of a verifier that allows for the most, too; and so does what the refresh token could give.
    """
    desk = Desk(settings=settings(renew_for=400 * 86_400, refresh=RefreshTimes(400 * 86_400, 400 * 86_400, 300)))
    desk.registry.configure(desk.clients | {"loop": replace(desk.clients["loop"], lifetime=86_400.0)})
    told = body(await desk.credentials("loop"))
    assert (await revoke(desk, told["access_token"], "loop")).status == 200
    ended = next(one for one in desk.store.revoked if one.kind == "family")
    desk.clock.time += OLDEST_LIST  # it knows of nothing: the desk's signer is told of no revocation
    renewed = claims_of(body(await desk.renew(told["access_token"]))["token"])
    assert (renewed["sid"], renewed["exp"]) == (ended.value, NOW + OLDEST_LIST + 86_400)
    assert renewed["exp"] + LARGEST_SKEW < ended.until
    for _ in range(400):
        assert error(await desk.refresh(told["refresh_token"], client="loop")) == (400, "invalid_grant")
        await desk.store.purge(desk.clock.time)
        desk.clock.time += 86_400


async def test_an_old_list_is_believed_no_longer_than_endings_allow_for() -> None:
    """What the configuration lets an operator ask for."""
    written: dict[str, Any] = {"issuer": "https://auth.example.com", "revocationsMaxAge": f"{OLDEST_LIST:.0f}s"}
    assert Tokens.model_validate(written).revocations_max_age == OLDEST_LIST
    with pytest.raises(ValidationError):
        Tokens.model_validate(written | {"revocationsMaxAge": f"{OLDEST_LIST + 1:.0f}s"})
