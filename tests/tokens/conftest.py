"""What the tests of the token service share."""

import pytest

from extauthz.tokens.signing import SigningKeys
from tests.tokens.parts import Desk
from tests.tokens.signing import Clock, MemoryBackend, signing_keys


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
def keys(backend: MemoryBackend, clock: Clock) -> SigningKeys:
    return signing_keys(backend, clock)
