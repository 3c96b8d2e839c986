from collections.abc import AsyncIterator, Iterator

import pytest

from extauthz.vault import Vault
from tests.vault.openbao import OpenBao, running


@pytest.fixture(scope="session")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """A server that all tests share. Each has engines of its own, and nobody hurts the server."""
    with running(tmp_path_factory.mktemp("bao")) as server:
        yield server


@pytest.fixture(scope="session")
def shared_raft(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """A server that keeps all on disk, and may be sealed, stopped and killed."""
    with running(tmp_path_factory.mktemp("raft"), raft=True) as server:
        yield server


@pytest.fixture
def raft(shared_raft: OpenBao) -> Iterator[OpenBao]:
    """The same, well again after each test."""
    yield shared_raft
    if shared_raft.process is None:
        shared_raft.start()
    shared_raft.unseal()


@pytest.fixture
async def vault(bao: OpenBao) -> AsyncIterator[Vault]:
    """The way to the shared server, as its root."""
    opened = bao.vault()
    yield opened
    await opened.close()
