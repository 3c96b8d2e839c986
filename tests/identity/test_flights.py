"""One question at a time about each thing, and a bounded number of them."""

import asyncio

from extauthz.identity.circuit import FAILURES, Circuit
from extauthz.identity.flights import Flights


class Server:
    """Answers when it is told to, and counts what it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers = asyncio.Event()

    async def ask(self) -> None:
        self.asked += 1
        await self.answers.wait()


async def test_many_wait_for_one_question() -> None:
    """A thousand requests with one new token ask once."""
    server, flights = Server(), Flights("test", 2, Circuit())
    waiting = [asyncio.create_task(flights.join(b"a", server.ask, lambda: True)) for _ in range(1000)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    server.answers.set()
    await asyncio.gather(*waiting)
    assert server.asked == 1
    assert len(flights) == 0


async def test_who_gives_up_harms_nobody() -> None:
    """Cancelling one waiter leaves the question and the other waiter alone."""
    server, flights = Server(), Flights("test", 2, Circuit())
    first, second = (asyncio.create_task(flights.join(b"a", server.ask, lambda: True)) for _ in range(2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    server.answers.set()
    await second
    assert server.asked == 1
    assert first.cancelled()


async def test_the_number_of_questions_is_bounded() -> None:
    """Beyond the limit only what is asked already may be joined."""
    server, flights = Server(), Flights("test", 1, Circuit())
    waiting = asyncio.create_task(flights.join(b"a", server.ask, lambda: True))
    await asyncio.sleep(0)
    assert flights.joinable(b"a", 0.0)
    assert not flights.joinable(b"b", 0.0)
    server.answers.set()
    await waiting
    assert flights.joinable(b"b", 0.0)


async def test_a_question_that_is_not_needed_any_more_is_not_asked() -> None:
    """What was answered meanwhile needs no second question."""
    server, flights = Server(), Flights("test", 1, Circuit())
    await flights.join(b"a", server.ask, lambda: False)
    assert server.asked == 0


async def test_an_open_circuit_lets_nothing_through() -> None:
    """Until its pause is over, and then one at a time."""
    circuit = Circuit()
    flights = Flights("test", 10, circuit)
    for _ in range(FAILURES):
        circuit.fail(100.0)
    assert not flights.admits(100.5)
    assert flights.admits(101.5)


async def test_the_end_cancels_what_is_under_way() -> None:
    """A server that stops leaves no task behind."""
    server, flights = Server(), Flights("test", 1, Circuit())
    waiting = asyncio.create_task(flights.join(b"a", server.ask, lambda: True))
    await asyncio.sleep(0)
    await flights.end()
    await waiting
    assert len(flights) == 0
