"""What all tests share: the real Envoy, and the servers of the system that a test may need.

A test that needs a server says so: `@pytest.mark.system("redis-server")`. Where the program is missing, the test is
skipped and the end of the run lists what was not tested; under REQUIRE_ALL=1, which `.ci/run` sets, it fails instead.
`@pytest.mark.envoy` marks tests that start Envoy, and works in the same way.
"""

import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

from extauthz.wire.usual import COMPILED

# How long one example takes is no property of the code on a machine that does other things as well.
settings.register_profile("project", deadline=None)
settings.load_profile("project")

pytest_plugins = ["tests.canaries"]

PROJECT = Path(__file__).resolve().parent.parent
CAPTURES = PROJECT / "tests" / "captures"

REQUIRE_ALL = os.environ.get("REQUIRE_ALL", "") == "1"

ENVOY = Path(os.environ.get("EXTAUTHZ_ENVOY") or PROJECT / ".venv-envoy" / "bin" / "envoy")
"""The Envoy that `make test` installs, or the one that EXTAUTHZ_ENVOY names."""

SYSTEM_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
"""Where a server may be: Debian puts some where a user's PATH does not look."""

MISSING = pytest.StashKey[dict[str, int]]()


def system_program(name: str) -> Path | None:
    """The path of a program of the system, None where it is not installed."""
    found = shutil.which(name, path=SYSTEM_PATH)
    return Path(found) if found else None


def _missing(item: pytest.Item) -> Iterator[str]:
    if item.get_closest_marker("envoy") and not os.access(ENVOY, os.X_OK):
        yield "envoy"
    for marker in item.iter_markers("system"):
        yield from (name for name in marker.args if system_program(name) is None)


def pytest_report_header() -> str:
    """Which of the two forms is tested: `make compiled` makes the one, `make pure` brings back the other."""
    return f"extauthz: {'compiled' if COMPILED else 'sources'}"


def pytest_configure(config: pytest.Config) -> None:
    config.stash[MISSING] = {}
    # As in a server, and unlike structlog by itself: no values of variables, which may be secrets.
    renderer = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[structlog.processors.add_log_level, renderer])


def pytest_collection_finish() -> None:
    """Put the thousands of tests where garbage collections don't look: each full one would walk them all, and servers and
    clients in this process would stand still for half a second or more, which is longer than Envoy waits for a Check.
    """
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    missing = sorted(set(_missing(item)))
    if not missing:
        return
    if REQUIRE_ALL:
        pytest.fail(f"REQUIRE_ALL=1 and not installed: {', '.join(missing)}", pytrace=False)
    for name in missing:
        item.config.stash[MISSING][name] = item.config.stash[MISSING].get(name, 0) + 1
    pytest.skip(f"not installed: {', '.join(missing)}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if missing := config.stash[MISSING]:
        terminalreporter.section("not tested, because a program is missing")
        for name, count in sorted(missing.items()):
            terminalreporter.line(f"{name}: {count} test{'' if count == 1 else 's'}")
        terminalreporter.line("REQUIRE_ALL=1 makes these failures.")


@pytest.fixture(scope="session")
def envoy() -> Path:
    """The Envoy binary; for tests marked `envoy`."""
    return ENVOY


@pytest.fixture(scope="session")
def captures() -> dict[str, bytes]:
    """Serialised CheckRequests of a real Envoy, by name."""
    return {path.stem: path.read_bytes() for path in sorted(CAPTURES.glob("*.binpb"))}
