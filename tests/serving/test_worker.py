"""One of several workers, as it is told where it is."""

import pytest

from extauthz.serving.listener import Listener, parse_address
from extauthz.serving.worker import WorkerPlace


@pytest.mark.parametrize("http", [None, 12])
def test_its_place_is_an_argument(http: int | None) -> None:
    """Whatever the path of its socket, it reads what was written."""
    place = WorkerPlace(3, 7, "/tmp/a:b/3.sock", http)
    assert WorkerPlace.parse(place.argument) == place
    assert place.descriptors == ((7,) if http is None else (7, 12))


def test_checks_are_answered_beside_each_other() -> None:
    """On the ports, or the sockets, after the first one."""
    place = WorkerPlace(2, 7, "/tmp/2.sock")
    assert str(place.check(Listener(parse_address("127.0.0.1:9000"))).address) == "127.0.0.1:9002"
    assert str(place.check(Listener(parse_address("unix:/run/check.sock"))).address) == "unix:/run/check-2.sock"
