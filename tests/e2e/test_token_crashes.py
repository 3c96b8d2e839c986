"""The server is killed in the middle of its work, again and again: clients go on with what they have.

``TOKEN_KILLS=10`` kills it that often; twice is enough for every day.
"""

import os
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from extauthz.tokens.refresh_token import read_refresh_token
from mesh.address import free_addresses
from tests.e2e.token_server import SECRET, introspect, running
from tests.stores.redis_server import running as redis

KILLS = int(os.environ.get("TOKEN_KILLS", "2"))
FAMILIES = 4


def refreshed(issuer: str, token: str) -> dict[str, str] | None:
    """What follows a refresh token; None: no answer, or one that says to ask again."""
    form = {"grant_type": "refresh_token", "refresh_token": token}
    try:
        answer = requests.post(f"{issuer}/oauth2/token", form, auth=("steady", SECRET), timeout=5)
    except requests.RequestException:
        return None
    if answer.status_code == 503:
        return None
    assert answer.status_code == 200, answer.text
    told: dict[str, str] = answer.json()
    return told


def revoked(issuer: str, token: str) -> bool:
    """Whether a revocation was acknowledged."""
    try:
        answer = requests.post(f"{issuer}/oauth2/revoke", {"token": token}, auth=("steady", SECRET), timeout=5)
    except requests.RequestException:
        return False
    return answer.status_code == 200


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.system("redis-server"))])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Where its records are; a Redis goes on while the server is gone."""
    if request.param == "sqlite":
        yield {"url": "sqlite:state.db"}
    else:
        with redis(tmp_path) as started:
            yield {"url": started.url}


@pytest.mark.timeout(120 + 30 * KILLS)
def test_killed_at_any_moment(tmp_path: Path, store: dict[str, str]) -> None:
    """No family forks or counts as stolen, whatever answer was lost, and no acknowledged revocation is (O26, O31)."""
    addresses = free_addresses(0, 0, 0)
    tokens: list[str] = []
    dead: list[str] = []
    chance = random.Random(7)
    for _ in range(KILLS):
        with running(tmp_path, *addresses, store=store) as server:
            session = server.session("steady")
            while len(tokens) < FAMILIES:
                tokens.append(session.fetch_token(grant_type="client_credentials")["refresh_token"])
            kill = threading.Timer(chance.uniform(0.3, 1.0), os.kill, (server.process.pid, signal.SIGKILL))
            kill.start()
            while server.process.returncode is None:
                for place, token in enumerate(tokens):
                    told = refreshed(server.issuer, token)
                    if told is not None:
                        tokens[place] = told["refresh_token"]
                        if revoked(server.issuer, told["access_token"]):
                            dead.append(told["access_token"])
            kill.join()
    with running(tmp_path, *addresses, store=store) as server:
        for token in tokens:
            told = refreshed(server.issuer, token)
            assert told is not None
            before, after = read_refresh_token(token), read_refresh_token(told["refresh_token"])
            assert before is not None
            assert after is not None
            assert (after.family, after.generation) == (before.family, before.generation + 1)
        session = server.session("steady")
        assert dead
        assert all(introspect(session, token) == {"active": False} for token in dead)
