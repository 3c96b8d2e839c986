"""Refresh tokens: each is good once, whoever loses the answer gets it again, and a thief ends them (O22 to O28)."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.stores import SqliteTokenStore
from extauthz.tokens.encoding import base64url, base64url_bytes
from extauthz.tokens.families import RefreshTimes
from extauthz.tokens.refresh_token import (
    FAMILY_SIZE,
    KEY_SIZE,
    PREFIX,
    new_refresh_token,
    opened,
    read_refresh_token,
    sealed,
)
from tests.tokens.parts import NOW, Desk, body, claims_of, error, settings

DEAD = (400, "invalid_grant")


async def first(desk: Desk, client: str = "worker", **form: str) -> str:
    """The first refresh token of a family."""
    token: str = body(await desk.credentials(client, **form))["refresh_token"]
    return token


async def followed(desk: Desk, token: str, **form: str) -> str:
    """The one after it."""
    answer = await desk.refresh(token, **form)
    assert answer.status == 200, body(answer)
    successor: str = body(answer)["refresh_token"]
    return successor


class TestForm:
    @given(
        st.binary(min_size=FAMILY_SIZE, max_size=FAMILY_SIZE),
        st.binary(min_size=KEY_SIZE, max_size=KEY_SIZE),
        st.integers(0, 2**32 - 1),
    )
    def test_what_is_made_is_read(self, family: bytes, key: bytes, generation: int) -> None:
        """A token says its family and generation, and its tag is by the family's key alone."""
        text = new_refresh_token(base64url(family), key, generation, os.urandom)
        token = read_refresh_token(text)
        assert token is not None
        assert (token.family, token.generation) == (base64url(family), generation)
        assert token.is_tagged_by(key)
        assert not token.is_tagged_by(bytes([key[0] ^ 1]) + key[1:])
        assert len(text) == 84
        assert text[4:] not in repr(token)

    @given(st.text(max_size=100) | st.text(max_size=100).map(lambda text: PREFIX + text))
    def test_any_text_is_a_token_or_none(self, text: str) -> None:
        """Nothing is raised, and a token has one spelling."""
        token = read_refresh_token(text)
        assert token is None or PREFIX + base64url(token.body + token.tag) == text

    @given(st.integers(0, 79), st.integers(1, 63))
    def test_one_wrong_letter(self, place: int, step: int) -> None:
        """Any change is a token that was never given out, or none."""
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        key = bytes(KEY_SIZE)
        good = new_refresh_token(base64url(bytes(FAMILY_SIZE)), key, 0, os.urandom)
        at = len(PREFIX) + place
        changed = good[:at] + alphabet[(alphabet.index(good[at]) + step) % 64] + good[at + 1 :]
        token = read_refresh_token(changed)
        assert token is None or not token.is_tagged_by(key)

    @given(st.binary(max_size=100))
    def test_base64url_has_one_spelling(self, raw: bytes) -> None:
        """No padding, no other alphabet, no stray bits."""
        text = base64url(raw)
        assert base64url_bytes(text) == raw
        assert base64url_bytes(text + "=") is None
        assert base64url_bytes(text + "\n") is None

    def test_what_one_token_seals_no_other_opens(self) -> None:
        """The store can't read it either: it has digests."""
        box = sealed("successor", "token", os.urandom)
        assert opened(box, "token") == "successor"
        assert opened(box, "other") is None
        assert opened(box[:-1], "token") is None
        assert opened(b"", "token") is None
        assert b"successor" not in box


class TestRotation:
    async def test_each_is_good_once(self, desk: Desk) -> None:
        """A new one each time, in one family, which access tokens name (O23)."""
        answer = body(await desk.credentials("worker"))
        session = claims_of(answer["access_token"])["sid"]
        tokens = [answer["refresh_token"]]
        for number in range(1, 5):
            answer = body(await desk.refresh(tokens[-1]))
            tokens.append(answer["refresh_token"])
            assert claims_of(answer["access_token"])["sid"] == session
            read = read_refresh_token(tokens[-1])
            assert read is not None
            assert (read.family, read.generation) == (session, number)
        assert len(set(tokens)) == 5

    async def test_the_store_never_has_the_token(self, desk: Desk) -> None:
        """A digest, and what only the token before it opens (O12)."""
        one = await first(desk)
        two = await followed(desk, one)
        for family in desk.store._families.values():
            assert one not in repr(family)
            kept = [value for name in family.__slots__ if isinstance(value := getattr(family, name), bytes)]
            assert not any(two.encode() in value or (base64url_bytes(two[4:]) or b"") in value for value in kept)

    async def test_what_it_says_stays(self, desk: Desk) -> None:
        """Subject, audience, scope, roles, auth_time (O22)."""
        token = await first(desk, scope="read", resource="stock")
        desk.clock.time += 1000
        claims = claims_of(body(await desk.refresh(token))["access_token"])
        assert (claims["sub"], claims["aud"], claims["scope"], claims["roles"]) == ("worker", "stock", "read", ["user"])
        assert (claims["auth_time"], claims["iat"]) == (NOW, NOW + 1000)

    async def test_scope_may_narrow_and_never_widen(self, desk: Desk) -> None:
        """Also not beyond what was narrowed at the beginning; and a refusal costs nothing (O22)."""
        token = await first(desk, scope="read")
        assert error(await desk.refresh(token, scope="read write")) == (400, "invalid_scope")
        assert error(await desk.refresh(token, resource="stock")) == (400, "invalid_target")
        token = await followed(desk, token)
        both = await first(desk)
        answer = body(await desk.refresh(both, scope="write"))
        assert answer["scope"] == "write"
        assert body(await desk.refresh(answer["refresh_token"]))["scope"] == "read write"

    async def test_it_is_its_clients_alone(self, desk: Desk) -> None:
        """Another client's proof does not do, and does no harm (O22)."""
        token = await first(desk)
        assert error(await desk.refresh(token, client="loop")) == DEAD
        assert error(await desk.refresh(token, client="shop")) == (400, "unauthorized_client")
        await followed(desk, token)

    async def test_a_client_that_may_have_less_now(self, desk: Desk) -> None:
        """Gets less, and nothing if nothing is left of what was granted."""
        token = await first(desk)
        worker = desk.clients["worker"]
        desk.registry.configure(desk.clients | {"worker": replace(worker, scopes=("read",), roles=())})
        claims = claims_of(body(answer := await desk.refresh(token))["access_token"])
        assert (claims["scope"], claims["roles"]) == ("read", [])
        desk.registry.configure(desk.clients | {"worker": replace(worker, audiences=("elsewhere",))})
        assert error(await desk.refresh(body(answer)["refresh_token"])) == DEAD

    async def test_a_client_that_is_disabled_or_gone(self, desk: Desk) -> None:
        """Its refresh tokens are dead (O27)."""
        token = await first(desk)
        for now in ({"worker": replace(desk.clients["worker"], disabled=True)}, {}):
            desk.registry.configure(now)
            assert error(await desk.refresh(token)) == (401, "invalid_client")

    async def test_lives(self, desk: Desk) -> None:
        """Unused for a week, or a month old: dead. Access tokens don't outlive the month (O27)."""
        token = await first(desk)
        desk.clock.time += 7 * 86_400
        assert error(await desk.refresh(token)) == DEAD
        token = await first(desk)
        for _ in range(5):
            desk.clock.time += 6 * 86_400 - 20
            answer = body(await desk.refresh(token))
            token = answer["refresh_token"]
        assert answer["expires_in"] == 100
        desk.clock.time += 100
        assert error(await desk.refresh(token)) == DEAD

    async def test_what_is_none(self, desk: Desk) -> None:
        """Nothing, something else, a family that there is not, another store's token: one answer."""
        assert error(await desk.token({"grant_type": "refresh_token"}, client="worker")) == (400, "invalid_request")
        strange = new_refresh_token(base64url(bytes(16)), bytes(32), 0, os.urandom)
        answers = {
            (await desk.refresh(text)).body for text in ("x", PREFIX, PREFIX + "A" * 80, strange, await first(Desk()))
        }
        assert len(answers) == 1
        assert error(await desk.refresh(strange)) == DEAD


class TestTheft:
    async def test_a_second_use_ends_the_family(self, desk: Desk) -> None:
        """Thief and victim both lose, access tokens included, and the log says so (O23)."""
        stolen = await first(desk)
        current = await followed(desk, stolen)
        desk.clock.time += 31
        assert error(await desk.refresh(stolen)) == DEAD
        assert error(await desk.refresh(current)) == DEAD
        read = read_refresh_token(stolen)
        assert read is not None
        (revocation,) = [one for one in desk.store.revoked if one.value == read.family][:1]
        assert (revocation.kind, revocation.before) == ("family", revocation.until)
        assert revocation.until > desk.clock.time + 86_400
        assert desk.counts.reuses == 1
        event = next(event for event in desk.log.events if event.reason == "refresh-token-reused")
        assert read.family in event.detail
        assert (event.client_id, event.outcome) == ("worker", "refused")

    async def test_two_steps_back_is_reuse_within_the_grace_too(self, desk: Desk) -> None:
        """The grace is for the immediate predecessor alone (O25)."""
        one = await first(desk)
        two = await followed(desk, one)
        three = await followed(desk, two)
        assert error(await desk.refresh(one)) == DEAD
        assert error(await desk.refresh(three)) == DEAD

    async def test_a_wrong_half_burns_nothing(self, desk: Desk) -> None:
        """Whoever knows the family, from an access token, and a wrong rest can't end it (O28)."""
        token = await first(desk)
        read = read_refresh_token(token)
        assert read is not None
        for key in (os.urandom(32), bytes(32)):
            for generation in (0, 1, 7):
                forged = new_refresh_token(read.family, key, generation, os.urandom)
                assert error(await desk.refresh(forged)) == DEAD
        raw = bytearray(base64url_bytes(token[4:]) or b"")
        for place in range(0, len(raw), 5):
            changed = bytes(raw[:place]) + bytes([raw[place] ^ 1]) + bytes(raw[place + 1 :])
            assert error(await desk.refresh(PREFIX + base64url(changed))) == DEAD
        assert desk.counts.reuses == 0
        await followed(desk, token)

    async def test_the_retry_gets_the_same_answer(self, desk: Desk) -> None:
        """Any number of times within the grace, and the family goes on (O25, O26)."""
        one = await first(desk)
        two = await followed(desk, one)
        desk.clock.time += 29
        assert {await followed(desk, one) for _ in range(3)} == {two}
        assert desk.counts.reuses == 0
        await followed(desk, two)

    async def test_64_at_a_time(self, desk: Desk) -> None:
        """Exactly one new member, which all of them get (O24)."""
        token = await first(desk)
        answers = await asyncio.gather(*(desk.refresh(token) for _ in range(64)))
        assert {answer.status for answer in answers} == {200}
        assert len({body(answer)["refresh_token"] for answer in answers}) == 1
        assert len({body(answer)["access_token"] for answer in answers}) == 64
        (family,) = desk.store._families.values()
        assert (family.generation, family.revoked) == (1, False)

    async def test_64_at_a_time_in_a_file(self, tmp_path: Path) -> None:
        """The same where the store has threads and transactions."""
        store = SqliteTokenStore(str(tmp_path / "state.db"), timeout=20)
        desk = Desk(kept_in=store)
        token = await first(desk)
        answers = await asyncio.gather(*(desk.refresh(token) for _ in range(64)))
        assert {answer.status for answer in answers} == {200}
        (successor,) = {body(answer)["refresh_token"] for answer in answers}
        await followed(desk, successor)
        await store.close()

    async def test_a_chain_under_races(self, desk: Desk) -> None:
        """Each round has one winner, and the generations have no gap (O24)."""
        token = await first(desk)
        for number in range(1, 8):
            answers = await asyncio.gather(*(desk.refresh(token) for _ in range(8)))
            (token,) = {body(answer)["refresh_token"] for answer in answers}
            read = read_refresh_token(token)
            assert read is not None
            assert read.generation == number
        assert not any(family.revoked for family in desk.store._families.values())

    async def test_without_a_grace(self) -> None:
        """Nobody gets an answer twice."""
        desk = Desk(settings=settings(refresh=RefreshTimes(86_400, 86_400, 0)))
        token = await first(desk)
        await followed(desk, token)
        assert error(await desk.refresh(token)) == DEAD


class TestFaults:
    """Nothing is half done, and an outage is no theft (O26)."""

    async def test_signing_is_down(self, desk: Desk) -> None:
        """For longer than the grace: the token stays good, for signing comes first."""
        token = await first(desk)
        desk.signer.down = True
        for _ in range(3):
            answer = await desk.refresh(token)
            assert error(answer) == (503, "temporarily_unavailable")
            assert "retry-after" in dict(answer.headers)
            desk.clock.time += 60
        desk.signer.down = False
        await followed(desk, token)

    async def test_the_log_is_full(self, desk: Desk) -> None:
        """Without a record nothing is handed out, and nothing is used up (X4)."""
        token = await first(desk)
        desk.log.full = True
        assert error(await desk.refresh(token)) == (503, "temporarily_unavailable")
        assert error(await desk.credentials()) == (503, "temporarily_unavailable")
        assert error(await desk.credentials("nobody")) == (503, "temporarily_unavailable")
        desk.clock.time += 60
        desk.log.full = False
        await followed(desk, token)

    async def test_the_store_is_down(self, desk: Desk) -> None:
        """The signed token is thrown away, and the log says that it came to nothing."""
        token = await first(desk)
        desk.store.down = {"rotate"}
        assert error(await desk.refresh(token)) == (503, "temporarily_unavailable")
        done, refused = desk.log.events[-2:]
        assert (done.outcome, refused.outcome) == ("done", "refused")
        assert done.jti == refused.jti != ""
        desk.store.down = {"begin"}
        assert error(await desk.credentials("worker")) == (503, "temporarily_unavailable")
        desk.store.down = set()
        await followed(desk, token)

    async def test_the_answer_is_lost(self, desk: Desk) -> None:
        """The store has rotated and could not say so: the retry gets what was made, and there is one family."""
        token = await first(desk)
        desk.store.down = {"rotate after"}
        assert error(await desk.refresh(token)) == (503, "temporarily_unavailable")
        desk.store.down = set()
        await followed(desk, await followed(desk, token))
        assert len(desk.store._families) == 1

    async def test_a_crash_between_the_family_and_its_access_tokens(self, desk: Desk) -> None:
        """The family has ended and revoking its access tokens failed: the next try makes up for it, within bounds."""
        one = await first(desk)
        await followed(desk, one)
        desk.clock.time += 31
        desk.store.down = {"revoke"}
        assert error(await desk.refresh(one)) == (503, "temporarily_unavailable")
        assert desk.store.revoked == []
        desk.store.down = set()
        for _ in range(5):
            assert error(await desk.refresh(one)) == DEAD
        assert len(desk.store.revoked) == 1

    @pytest.mark.parametrize("fault", [RuntimeError("x"), KeyError("token"), ValueError()])
    async def test_our_own_faults(self, desk: Desk, monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
        """500, which says nothing of what happened."""

        async def broken(*_: object) -> None:
            raise fault

        monkeypatch.setattr(desk.store, "family", broken)
        answer = await desk.refresh(await first(desk))
        assert error(answer) == (500, "server_error")
        assert str(fault).encode() not in answer.body or not str(fault)
