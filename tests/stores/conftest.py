from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stores.redis_server import RedisServer, running


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """An empty server of this test alone."""
    with running(tmp_path) as server:
        yield server
