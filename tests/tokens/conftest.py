"""What the tests of the token service share."""

import pytest

from tests.tokens.parts import Desk


@pytest.fixture
def desk() -> Desk:
    return Desk()
