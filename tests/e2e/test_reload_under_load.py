"""The files of a running server change every 100 ms while clients ask it: every answer belongs to one generation (I3)."""

import asyncio
import sys
from collections import Counter
from pathlib import Path

import grpc
import pytest

from extauthz._pb.envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from extauthz.serving import CHECK_METHOD
from mesh.address import free_addresses
from mesh.processes import Process, answers
from tests.conftest import PROJECT
from tests.invariants.test_reload_under_load import EVERY, generation_of_answer, generation_of_policies, replace
from tests.journey import check_request

pytestmark = pytest.mark.timeout(60)

CHANGES = 40
SENDERS = 4


def anybodys(number: int) -> str:
    """The policies of a generation, for callers without credentials."""
    text = generation_of_policies(number).replace('"role": "user"', '"role": "anonymous"')
    return text.replace('"spec": {', '"spec": {"authentication": {"optional": true}, ')


async def send(address: str, method: str, seen: Counter[int], last: asyncio.Event) -> None:
    """Ask without a pause until cancelled; tell when the last generation has answered."""
    message = check_request(method)
    async with grpc.aio.insecure_channel(address) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, CheckResponse] = channel.unary_unary(
            CHECK_METHOD, response_deserializer=CheckResponse.FromString
        )
        while True:
            number = generation_of_answer(await call(message, timeout=10))
            seen[number] += 1
            if number > CHANGES:
                last.set()


async def change(file: Path) -> None:
    """Replace the file, again and again."""
    for number in range(2, CHANGES + 2):
        await asyncio.sleep(EVERY)
        replace(file, anybodys(number))


async def test_every_answer_of_a_server_belongs_to_one_generation(tmp_path: Path) -> None:
    """Over gRPC, with the files followed as in production."""
    (tmp_path / "policies").mkdir()
    file = tmp_path / "policies" / "all.yaml"
    replace(file, anybodys(1))
    check, admin = free_addresses(0, 0)
    environment = {
        "EXTAUTHZ_LISTEN__CHECK__ADDRESS": check,
        "EXTAUTHZ_LISTEN__ADMIN__ADDRESS": admin,
        "EXTAUTHZ_CHECK__DRAINDELAY": "0s",
        "EXTAUTHZ_CHECK__DEADLINE": "5s",
        "PYTHONPATH": str(PROJECT),
    }
    server = Process(
        "extauthz",
        [sys.executable, "-m", "extauthz", "serve"],
        log=tmp_path / "log",
        ready=[answers(f"http://{admin}/readyz")],
        environment=environment,
        directory=tmp_path,
    )
    seen: Counter[int] = Counter()
    last = asyncio.Event()
    await asyncio.to_thread(server.start)
    try:
        await asyncio.to_thread(server.wait_ready)
        async with asyncio.TaskGroup() as group:
            senders = [group.create_task(send(check, "POST" if n == 0 else "GET", seen, last)) for n in range(SENDERS)]
            await change(file)
            await asyncio.wait_for(last.wait(), 10)
            for sender in senders:
                sender.cancel()
    finally:
        await asyncio.to_thread(server.stop)
    assert len(seen) > CHANGES / 10, seen
    assert min(seen) == 1
