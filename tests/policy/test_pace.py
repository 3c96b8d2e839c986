"""A load lets others run between two of what it works on."""

from collections.abc import Iterator
from threading import Thread

from extauthz.policy.pace import paced


def test_the_same_things_come_in_their_order() -> None:
    assert list(paced(iter("abc"))) == ["a", "b", "c"]
    assert list(paced([])) == []


def test_another_thread_runs_between_two_things() -> None:
    """However long all of them take."""
    seen: list[int] = []
    other = Thread(target=lambda: seen.append(1))

    def things() -> Iterator[int]:
        other.start()
        while not seen:
            yield 0

    assert not any(paced(things()))
    other.join()
