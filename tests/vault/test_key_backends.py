"""The conformance suite of ``KeyBackend`` over Vault's engines, against a real OpenBao that is sealed where a fault is due."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from extauthz.vault import KvKeys, TransitKeys, Vault
from tests.tokens.key_backend_suite import KeyBackendSuite, Place, mended
from tests.vault.openbao import OpenBao


@pytest.fixture
async def opened(raft: OpenBao) -> AsyncIterator[Vault]:
    """The way to a server that may be sealed, with what notices that it is well again."""
    vault = raft.vault()
    probes = asyncio.create_task(vault.run())
    yield vault
    probes.cancel()
    await asyncio.gather(probes, return_exceptions=True)
    await vault.close()


class TestTransit(KeyBackendSuite):
    """Transit compares nothing by itself, dates keys by its own clock, and parts with no last key."""

    @pytest.fixture
    def place(self, raft: OpenBao, opened: Vault) -> Place:
        mount = raft.mount("transit")
        return Place(
            open=lambda: TransitKeys(opened, "extauthz", mount=mount),
            break_it=raft.seal,
            mend=raft.unseal,
            lacks=frozenset({"compare", "back up", "clock", "last"}),
        )


class TestKv(KeyBackendSuite):
    """What a restored backup does there is in a test of its own: it stops everything."""

    @pytest.fixture
    async def place(self, raft: OpenBao, opened: Vault) -> Place:
        mount = raft.mount("kv", version="2")
        await mended(KvKeys(opened, f"{mount}/auth/signing-keys"))  # an engine on disk takes a moment
        return Place(
            open=lambda: KvKeys(opened, f"{mount}/auth/signing-keys"),
            break_it=raft.seal,
            mend=raft.unseal,
            lacks=frozenset({"back up"}),
        )
