"""A slapd that all tests of the room share; tests that stop it or need another one start their own."""

from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from extauthz.ldap import LdapDirectory, LdapSettings
from tests.ldap.slapd import Slapd, running

Open = Callable[[LdapSettings], LdapDirectory]


@pytest.fixture(scope="session")
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    """Not to be stopped or changed."""
    with running(tmp_path_factory.mktemp("slapd")) as server:
        yield server


@pytest.fixture
def own_slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    """For this test alone."""
    with running(tmp_path_factory.mktemp("slapd")) as server:
        yield server


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    """Opens directories and lets go of them at the end."""
    directories: list[LdapDirectory] = []

    def open_(settings: LdapSettings) -> LdapDirectory:
        directories.append(LdapDirectory(settings))
        return directories[-1]

    yield open_
    for directory in directories:
        await directory.close()
