"""The tricks of tests/invariants against a real Envoy: what it asks us about is what our reader of its documentation says,
and nothing that any reader serves from below /admin reaches the upstream.
"""

import asyncio
import http.client
import json
import re
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager

import pytest

from extauthz._pb.envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from extauthz.canonical import PathRules
from extauthz.check import RequestRules
from extauthz.serving import Call
from mesh.proxy import EnvoyProcess
from tests.invariants.path_readers import READERS, envoy
from tests.invariants.test_path_tricks import DENY_ADMIN, HARMLESS, below_admin, corpus
from tests.journey import ALLOW_ALL, Journey, policies

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(60)]

StartServer = Callable[..., AbstractAsyncContextManager[str]]
StartEnvoy = Callable[..., AbstractAsyncContextManager[EnvoyProcess]]

SENDABLE = re.compile(r"/[!-~]*\Z")
"""What a client library sends as it stands."""
SAMPLE = [path for path in corpus() if SENDABLE.match(path)]
SAMPLE = SAMPLE[::5]


def answers(address: str, paths: Iterable[str]) -> dict[str, tuple[int, bytes]]:
    """Status and body of a GET of each path, sent as it stands over one connection."""
    found = {}
    connection = http.client.HTTPConnection(address, timeout=10)
    for path in paths:
        connection.putrequest("GET", path)
        connection.endheaders()
        answer = connection.getresponse()
        found[path] = (answer.status, answer.read())
    connection.close()
    return found


def served(found: dict[str, tuple[int, bytes]]) -> dict[str, str]:
    """The path that the upstream got, for each that it got at all."""
    return {path: json.loads(body)["path"] for path, (status, body) in found.items() if status == 200}


async def test_envoy_reads_paths_as_our_reader_says(start_server: StartServer, start_envoy: StartEnvoy) -> None:
    """With normalisation and merged slashes. Where it redirects it asks for nothing."""
    asked: list[str] = []
    journey = Journey(policies(ALLOW_ALL))

    def handler(message: bytes, call: Call) -> object:
        asked.append(CheckRequest.FromString(message).attributes.request.http.path)
        return journey.handler(message, call)

    async with start_server(handler) as authz, start_envoy(authz) as proxy:
        for path in SAMPLE:
            asked.clear()
            status = (await asyncio.to_thread(answers, proxy.options.listen, [path]))[path][0]
            expected = envoy(path.partition("?")[0])
            if expected is None:
                assert (status, asked) == (400, []), path
            elif re.search("%2f|%5c", path.partition("?")[0], re.IGNORECASE):
                assert (status, asked) == (307, []), path
            else:
                assert [target.partition("?")[0] for target in asked] == [expected], path


@pytest.mark.parametrize("edge", [True, False], ids=["normalising", "plain"])
@pytest.mark.parametrize("rules", [PathRules(), PathRules(normalize=True)], ids=["default", "normalize"])
async def test_no_trick_reaches_the_upstream(
    start_server: StartServer, start_envoy: StartEnvoy, rules: PathRules, edge: bool
) -> None:
    """Whatever Envoy does with the path, and whoever reads it behind Envoy."""
    journey = Journey(policies(DENY_ADMIN), rules=RequestRules(rules))
    meant = [reader for reader in READERS if not (rules.normalize and "normalize" in reader.not_for)]
    async with start_server(journey.handler) as authz, start_envoy(authz, edge=edge) as proxy:
        found = served(await asyncio.to_thread(answers, proxy.options.listen, [*SAMPLE, *HARMLESS]))
    assert set(found) >= set(HARMLESS)
    for sent, path in found.items():
        assert [reader.name for reader in meant if below_admin(reader.read(path))] == [], (sent, path)
