"""A shared store that can't be used is told at start, whether it is for rates or for records."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from extauthz.app.limiter import rate_limiter
from extauthz.app.token_store import token_store
from extauthz.config import Config, load_config
from extauthz.errors import ConfigError

OPENING: dict[str, Callable[[Config], object]] = {
    "rates": lambda config: rate_limiter(config, time.monotonic),
    "records": token_store,
}

pytestmark = [pytest.mark.parametrize("opened", OPENING.values(), ids=OPENING)]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def config(**environ: str) -> Config:
    """The defaults with these variables."""
    return load_config(None, {f"EXTAUTHZ_{name}": value for name, value in environ.items()})


class NotInstalled:
    """Finds no redis."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "redis":
            message = "No module named 'redis'"
            raise ModuleNotFoundError(message, name=name)


def test_without_the_client_library_people_are_told_what_to_install(
    opened: Callable[[Config], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "redis"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [NotInstalled(), *sys.meta_path])
    with pytest.raises(ConfigError, match="not installed") as caught:
        opened(config(STORE__URL="redis://127.0.0.1"))
    assert 'pip install "extauthz[redis]"' in str(caught.value)


@pytest.mark.parametrize("form", ["rediss", "rediss+sentinel", "rediss+cluster"])
def test_certificates_that_cannot_be_read_are_told(
    opened: Callable[[Config], object], tmp_path: Path, form: str
) -> None:
    (tmp_path / "bad.pem").write_text("no certificate")
    name = "/main" if form.endswith("sentinel") else ""
    with pytest.raises(ConfigError, match="store"):
        opened(config(STORE__URL=f"{form}://127.0.0.1{name}", STORE__CAFILE="bad.pem"))
