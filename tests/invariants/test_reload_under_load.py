"""A reload every 100 ms under load: every answer belongs to one generation, from its first header to its rule (I3)."""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any

import pytest

from extauthz._pb.envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from extauthz.check import Check
from extauthz.model import Deny, Identity, Request
from extauthz.policy import PolicyText, Snapshot, load
from extauthz.serving import Call, PolicyReloader, Readiness
from tests.journey import SETTINGS, Journey, caller, check_request, reason_of

RELOADS = 25
EVERY = 0.1
SENDERS = 8
NAMES = [f"p{number}" for number in range(12)]


def generation_of_policies(number: int) -> str:
    """A dozen policies that together cover one request, each of which says in its headers and names which set it is of."""
    documents = []
    for place, name in enumerate(NAMES):
        spec: dict[str, Any] = {"response": {"headers": {f"x-auth-{name}": f'"{number}"'}}}
        if place == number % len(NAMES):
            spec["rules"] = [{"name": f"rule-{number}", "role": "user"}]
        if place == (number + 5) % len(NAMES):
            spec["deny"] = [{"name": f"deny-{number}", "to": [{"methods": ["POST"]}]}]
        whole = {
            "apiVersion": "security.example.com/v1",
            "kind": "AuthPolicy",
            "metadata": {"name": name},
            "spec": spec,
        }
        documents.append(json.dumps(whole))
    return "\n---\n".join(documents)


def replace(file: Path, text: str) -> None:
    """Another content, all at once."""
    new = file.with_name(f".{file.name}")
    new.write_text(text)
    new.replace(file)


def generation_of_answer(answer: CheckResponse) -> int:
    """The set of policies that an answer is of; fails if it is of several."""
    fields = answer.dynamic_metadata.fields
    rule = fields["rule"].string_value
    told = {rule.partition("-")[2]}
    number = int(rule.partition("-")[2])
    if answer.status.code == 0:
        headers = {option.header.key: _value(option) for option in answer.ok_response.headers}
        assert set(headers) == {f"x-auth-{name}" for name in NAMES}
        told |= set(headers.values())
        place = number
    else:
        assert reason_of(answer) == "denied-by-rule"
        place = number + 5
    assert told == {str(number)}, (rule, told)
    assert fields["policy"].string_value == NAMES[place % len(NAMES)]
    return number


def _value(option: Any) -> str:
    return str(option.header.value or option.header.raw_value.decode())


class Slow:
    """An authenticator that needs some requests to wait, so that policies are replaced while they do."""

    def __init__(self) -> None:
        self._numbers = itertools.count()

    def authenticate(self, request: Request, *, providers: frozenset[str] | None = None, waited: bool = False) -> Any:
        """Each third request waits for one to three reloads."""
        number = 0 if waited else next(self._numbers)
        return _Wait(EVERY * (1 + number % 3)) if number % 3 else caller("user")

    def peer(self, request: Request, names: frozenset[str]) -> Identity | Deny | None:
        """Prove nobody."""
        return None


class _Wait:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def ready(self) -> None:
        await asyncio.sleep(self._seconds)


class Senders:
    """Clients of a handler that ask without a pause, and what they were answered."""

    def __init__(self, journey: Journey) -> None:
        self._journey = journey
        self.seen: Counter[int] = Counter()
        self.waited = 0

    async def send(self, method: str) -> None:
        message = check_request(method)
        while True:
            answer: bytes | Awaitable[bytes] = self._journey.handler(message, Call((), None))
            if not isinstance(answer, bytes):
                answer = await answer
                self.waited += 1
            self.seen[generation_of_answer(CheckResponse.FromString(answer))] += 1
            await asyncio.sleep(0)


async def test_every_answer_belongs_to_one_generation(tmp_path: Path) -> None:
    """Of the policies in force when the request came, also where it had to wait; and every generation is seen."""
    file = tmp_path / "policies.yaml"
    replace(file, generation_of_policies(1))
    journey = Journey(authenticator=Slow(), deadline=10.0)
    check: Check = journey.check

    def compiled(texts: Sequence[PolicyText], generation: int) -> Snapshot:
        return load(texts, SETTINGS, generation)

    def publish(snapshot: Snapshot) -> None:
        check.snapshot = snapshot

    reloader = PolicyReloader([str(tmp_path)], compiled, publish, Readiness(), lambda *_: None)
    await reloader.start()
    senders = Senders(journey)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(senders.send("POST" if number % 4 == 0 else "GET")) for number in range(SENDERS)]
        for number in range(2, RELOADS + 2):
            await asyncio.sleep(EVERY)
            replace(file, generation_of_policies(number))
            await reloader.reload()
        await asyncio.sleep(EVERY)
        for task in tasks:
            task.cancel()
    assert reloader.generation == RELOADS + 1
    assert set(senders.seen) == set(range(1, RELOADS + 2))
    assert senders.waited > RELOADS
    # The handler told the number of the snapshot that judged: a set has one number, and a number one set.
    for decision in journey.watcher.finished:
        assert decision.verdict.rule.endswith(f"-{decision.generation}")


@pytest.mark.parametrize("number", [1, 4])
def test_the_yardstick_notices_a_mixture(number: int) -> None:
    """An answer with one header of another set is told apart."""
    journey = Journey(load([PolicyText("a", generation_of_policies(number))], SETTINGS, number), Slow())
    answer = journey.answer(check_request())
    assert generation_of_answer(answer) == number
    answer.ok_response.headers[3].header.value = str(number + 1)
    answer.ok_response.headers[3].header.raw_value = b""
    with pytest.raises(AssertionError):
        generation_of_answer(answer)
